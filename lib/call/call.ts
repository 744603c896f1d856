/** A call of ssh: the one thing that most runs of this program are. */
import { decide, type Shared } from "./decide.ts";
import { restoreFileLimit } from "../os/deno_environment.ts";
import { become } from "../os/exec.ts";
import type { Lane } from "../lane/lane.ts";
import { wantsQuiet } from "./decision.ts";
import { findRealSsh, INSIDE, insideMark } from "../ssh/real_ssh.ts";
import { remember } from "./remember.ts";
import { route } from "../lane/route.ts";
import { parseSshArgs } from "../ssh/arguments.ts";
import { realSystem } from "../os/system.ts";
import { say, words } from "../os/terminal.ts";
import { wakeSleeper } from "../sleeper/sleeper_start.ts";

/** Runs ssh with the user's words, and ends as it does, shared or not. */
export async function callSsh(argv: readonly string[]): Promise<never> {
  const ssh = findRealSsh(realSystem);
  if (ssh === undefined) {
    say(words.noSsh());
    Deno.exit(127);
  }
  if (realSystem.env(INSIDE)) return await becomeSsh(ssh, argv);
  // What a timer throws, or a promise that nobody waits for, would end this process, and the call.
  for (const type of ["error", "unhandledrejection"] as const) {
    addEventListener(type, (event) => {
      event.preventDefault();
      complain("reason" in event ? event.reason : event.error, argv);
      becomeSsh(ssh, argv);
    });
  }
  try {
    const decision = await decide(argv, ssh, realSystem);
    if (decision.notice) say(decision.notice);
    if (decision.kind === "share") await share(decision, argv);
  } catch (error) {
    complain(error, argv);
  }
  return await becomeSsh(ssh, argv);
}

/** Says what has gone wrong with us, unless the user wants no words. */
function complain(error: unknown, argv: readonly string[]): void {
  const args = parseSshArgs(argv);
  const quiet = args.kind === "call" && wantsQuiet(args.options);
  if (!quiet) say(words.notShared(`${(error as Error).name}: ${(error as Error).message}`));
}

/** Runs a call over a lane. Comes back only where there is none to be had. */
async function share(shared: Shared, argv: readonly string[]): Promise<void> {
  const place = await route(shared, realSystem);
  switch (place.kind) {
    case "lane":
      await wakeSleeper(shared.stateDir, realSystem);
      remember(shared, argv, place.lane, realSystem);
      return await becomeSsh(shared.ssh, argv, over(place.lane));
    case "refused":
      return Deno.exit(place.code);
    case "plain":
      if (!shared.quiet && !place.expected) say(words.notShared(place.reason));
      return;
    default:
      return place satisfies never;
  }
}

/** What is put before the user's own words to run them over a lane. */
export function over(lane: Lane): string[] {
  return ["-S", lane.socket, "-o", "ControlMaster=no"];
}

async function becomeSsh(
  ssh: string,
  argv: readonly string[],
  before: readonly string[] = [],
): Promise<never> {
  Deno.env.set(INSIDE, insideMark(ssh, realSystem));
  restoreFileLimit();
  // Its absolute path as argv[0] keeps us out of what ssh runs again by it: a ProxyJump.
  return await become(ssh, before, argv);
}
