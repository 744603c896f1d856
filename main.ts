/**
 * sshs - ssh with opportunistic connection sharing
 *
 *     sshs [ssh's own arguments]     runs ssh over a shared connection, starting one if need be
 *     sshs --list [--json]           shows what is shared
 *     sshs --why ARGS...             says what would be done with a call, and why
 *     sshs --help                    shows all commands
 *
 * The first call to a host starts a detached connection master, runs its own session over it and
 * exits when that session exits; later calls ride the same connection; when the last session is gone
 * the master lingers for a while. Whatever is odd or broken: this process becomes plain ssh with the
 * user's own arguments. Exits as ssh does; 2 for wrong use of a command of ours, 126 or 127 where ssh
 * cannot be run.
 *
 *     argv -> decide -> direct -----------------> exec ssh "$@"
 *                    -> share  -> route (a lane) -> exec ssh -S <socket> -o ControlMaster=no "$@"
 */
import { decide, type Shared } from "./lib/decide.ts";
import { become } from "./lib/exec.ts";
import { Interrupt } from "./lib/interrupt.ts";
import type { Lane } from "./lib/lane.ts";
import { askpass } from "./lib/prompt.ts";
import { findRealSsh, INSIDE } from "./lib/real_ssh.ts";
import { remember } from "./lib/remember.ts";
import { route } from "./lib/route.ts";
import { realSystem } from "./lib/system.ts";
import { say, words } from "./lib/ui.ts";
import { wakeSleeper } from "./lib/wake.ts";

/** The launchers put it before the user's words: `ssh --list` is for ssh to refuse, not for us. */
const AS_SSH = "--as=ssh";

async function main(argv: readonly string[]): Promise<never> {
  const [first, ...rest] = argv;
  if (first === AS_SSH) return await callSsh(rest);
  if (first === "--askpass") Deno.exit(await askpass(rest[0] ?? "", realSystem));
  if (first === "--sleeper") {
    const { Sleeper } = await import("./lib/sleeper.ts");
    Deno.exit(await new Sleeper(rest[0], realSystem).run());
  }
  if (first?.startsWith("--") && first !== "--") {
    const { runCommand } = await import("./lib/commands/mod.ts");
    Deno.exit(await runCommand(argv, realSystem));
  }
  return await callSsh(argv);
}

/** A call of ssh: it ends as the real one, shared or not. */
async function callSsh(argv: readonly string[]): Promise<never> {
  const ssh = findRealSsh(realSystem);
  if (ssh === undefined) {
    say(words.noSsh());
    Deno.exit(127);
  }
  if (realSystem.env(INSIDE)) return await becomeSsh(ssh, argv);
  try {
    const decision = await decide(argv, ssh, realSystem);
    if (decision.kind === "share") await share(decision, argv);
    if (decision.notice) say(decision.notice);
  } catch (error) {
    say(words.notShared(`${(error as Error).name}: ${(error as Error).message}`));
  }
  return await becomeSsh(ssh, argv);
}

/** Runs a call over a lane. Comes back only where there is none to be had. */
async function share(shared: Shared, argv: readonly string[]): Promise<void> {
  using interrupt = new Interrupt();
  const place = await route(shared, realSystem, interrupt);
  switch (place.kind) {
    case "lane":
      await wakeSleeper(shared.stateDir, realSystem);
      remember(shared, argv, place.lane, realSystem);
      await interrupt.dieIfInterrupted();
      interrupt[Symbol.dispose]();
      return await becomeSsh(shared.ssh, [...over(place.lane), ...argv]);
    case "refused":
      return Deno.exit(place.code);
    case "plain":
      if (!shared.quiet && !place.expected) say(words.notShared(place.reason));
      return;
    default:
      return place satisfies never;
  }
}

/** What is put before the user's own words. */
function over(lane: Lane): string[] {
  return ["-S", lane.socket, "-o", "ControlMaster=no"];
}

async function becomeSsh(ssh: string, argv: readonly string[]): Promise<never> {
  Deno.env.set(INSIDE, ssh);
  // An absolute argv[0] keeps us out of what ssh runs again by it: a ProxyJump.
  return await become(ssh, [ssh, ...argv]);
}

if (import.meta.main) await main(Deno.args);
