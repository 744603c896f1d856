/**
 * `sshs --stop HOST|--all [--now]`: closes shared connections. Their sessions go on, and new calls log in
 * anew; with --now the sessions end too. HOST is a name that --list shows, or the arguments of a call.
 *
 * `sshs --fresh HOST [COMMAND...]`: makes a call over a new login; old connections accept no new sessions.
 */
import { basename } from "@std/path/posix/basename";
import { decide, type DecideSystem } from "../call/decide.ts";
import { closeLane } from "../lane/closing.ts";
import { removeLane } from "../lane/lane.ts";
import { forgetLearned } from "../lane/learned.ts";
import type { LaneRecord } from "../lane/record.ts";
import { identityDir, lanesOf } from "../lane/layout.ts";
import { becomeLauncher } from "../launcher/launcher.ts";
import { pause, type System } from "../os/system.ts";
import { print, say } from "../os/terminal.ts";
import { tellSleeper, type TellSystem } from "../sleeper/sleeper_file.ts";
import { findRealSsh } from "../ssh/real_ssh.ts";
import { seeLanes, type SeenLane, type SeeSystem, stateDirOf } from "./seen.ts";
import { cell, isShownAs } from "./table.ts";
import { commandWords } from "./words.ts";

/** How long a master may take to exit when told to, ms. */
const DEADLINE = 3000;

export type StopSystem = DecideSystem & SeeSystem & TellSystem & Pick<System, "kill">;

/** Stops the lanes that match `argv`, all without it. Returns 1 if none matches, or a master did not exit. */
export async function stop(
  argv: readonly string[] | undefined,
  now: boolean,
  system: StopSystem,
): Promise<number> {
  const all = (await seeLanes(system)).filter(({ state }) => state !== "dead");
  const lanes = argv ? await lanesMeant(argv, all, system) : all;
  if (lanes.length === 0 && argv) {
    say(commandWords.noMatch(argv.join(" "), all.map(({ record }) => record.destination)));
    return 1;
  }
  if (lanes.length === 0) print(commandWords.nothingShared());
  const ends = await Promise.all(lanes.map((seen) => stopLane(seen, now, system)));
  // The sleeper removes what is left of them.
  const left = lanes.filter((_, i) => ends[i] !== "gone").map(({ lane }) => stateDirOf(lane));
  for (const stateDir of new Set(left)) await tellSleeper({ stateDir }, system);
  return ends.includes("stuck") ? 1 : 0;
}

/** Stops one lane and says so. "stuck": its master did not exit. */
async function stopLane(
  { lane, record, sessions, pid }: SeenLane,
  now: boolean,
  system: StopSystem,
): Promise<"gone" | "retired" | "stuck"> {
  const host = cell(record.destination);
  await closeLane(lane, system, { now });
  if (sessions > 0 && !now) {
    print(commandWords.retired(host, sessions));
    return "retired";
  }
  if (pid !== undefined && !await isGone(pid, system)) {
    say(commandWords.notStopped(host, pid));
    return "stuck";
  }
  removeLane(lane);
  print(commandWords.stopped(host, sessions));
  return "gone";
}

/** Waits for a process to exit. Returns false if it does not in time. */
async function isGone(pid: number, system: Pick<System, "isAlive">): Promise<boolean> {
  const end = performance.now() + DEADLINE;
  while (system.isAlive(pid)) {
    if (performance.now() > end) return false;
    await pause(20);
  }
  return true;
}

/**
 * Closes the lanes of a call, then makes the call. Only a new login sees new groups, another shell or changed
 * settings of sshd; a session on an old lane does not.
 */
export async function fresh(argv: readonly string[], system: System): Promise<never> {
  const ssh = findRealSsh(system);
  const decision = ssh === undefined ? undefined : await decide(argv, ssh, system);
  if (decision?.kind === "share") {
    const dir = identityDir(decision);
    forgetLearned(dir);
    const lanes = lanesOf(dir);
    await Promise.all(lanes.map((lane) => closeLane(lane, system)));
  }
  return await becomeLauncher(argv, system);
}

/**
 * Whether a lane goes by this name: its destination as typed or as resolved, the host or user@host of the
 * latter, or what --list shows, where control characters are visible and long names are cut.
 */
export function isNamed({ destination, resolved }: LaneRecord, name: string): boolean {
  const [login] = resolved.split(/:\d+$/);
  const host = login.slice(login.lastIndexOf("@") + 1);
  return [login, host].includes(name) ||
    [destination, resolved].some((text) => text === name || isShownAs(text, name));
}

/** Returns the lanes that a call with these arguments could use, and those that go by a single argument. */
export async function lanesMeant(
  argv: readonly string[],
  lanes: readonly SeenLane[],
  system: DecideSystem,
): Promise<SeenLane[]> {
  // Nothing to choose from: no need to ask ssh, or to make a state directory.
  if (lanes.length === 0) return [];
  const ssh = findRealSsh(system);
  const decision = ssh === undefined ? undefined : await decide(argv, ssh, system);
  const identity = decision?.kind === "share" ? decision.identity : undefined;
  return lanes.filter(({ lane, record }) =>
    basename(lane.dir) === identity || (argv.length === 1 && isNamed(record, argv[0]))
  );
}
