/**
 * `sshs --stop HOST|--all [--now]`: closes shared connections. Their sessions go on, and new calls log in
 * anew; with --now the sessions end too. HOST is a name that --list shows, or the arguments of a call.
 *
 * `sshs --fresh HOST [COMMAND...]`: makes a call over a new login; old connections accept no new sessions.
 */
import { decide, type DecideSystem } from "../call/decide.ts";
import type { Shared } from "../call/decision.ts";
import { removeLane } from "../lane/lane.ts";
import { identityDir, lanesOf } from "../lane/layout.ts";
import { forgetLearned } from "../lane/learned.ts";
import { closeLane } from "../lane/master.ts";
import type { Given } from "../os/given.ts";
import { pause, type System } from "../os/system.ts";
import { print, say } from "../os/terminal.ts";
import { tellSleeper } from "../sleeper/sleeper_file.ts";
import { count, NOTHING_SHARED } from "./phrases.ts";
import { laneOf, seeLanes, type SeenLane, type SeeSystem, stateDirOf } from "./seen.ts";
import { cell, isShownAs } from "./table.ts";

/** How long a master may take to exit when told to, ms. */
const DEADLINE = 3000;

export type StopSystem = DecideSystem & SeeSystem & Pick<System, "kill">;

/** Stops the lanes that match `argv`, all without it. Returns 1 if none matches, or a master did not exit. */
export async function stop(
  argv: readonly string[] | undefined,
  now: boolean,
  given: Given,
  system: StopSystem,
): Promise<number> {
  const all = (await seeLanes(given, system)).filter(({ state }) => state !== "dead");
  const lanes = argv ? await lanesMeant(argv, all, given, system) : all;
  if (lanes.length === 0 && argv) {
    const names = [...new Set(all.map(({ destination }) => destination))].join(", ");
    const others = names === "" ? "nothing is shared now" : `shared now: ${names}`;
    say({ fault: `no shared connection matches "${argv.join(" ")}"; ${others}` });
    return 1;
  }
  if (lanes.length === 0) print(NOTHING_SHARED);
  const ends = await Promise.all(lanes.map((seen) => stopLane(seen, now, system)));
  // The sleeper removes what is left of them.
  const left = lanes.filter((_, i) => ends[i] !== "gone").map(laneOf).map(stateDirOf);
  for (const stateDir of new Set(left)) await tellSleeper(stateDir, given, system);
  return ends.includes("stuck") ? 1 : 0;
}

/** Stops one lane and says so. "stuck": its master did not exit. */
async function stopLane(
  seen: SeenLane,
  now: boolean,
  system: StopSystem,
): Promise<"gone" | "retired" | "stuck"> {
  const { sessions, pid } = seen;
  const lane = laneOf(seen);
  const host = cell(seen.destination);
  const open = count(sessions, "session");
  await closeLane(lane, system, { now });
  if (sessions > 0 && !now) {
    print(`${host}: accepts no new sessions; closes after the last one (${open})`);
    return "retired";
  }
  if (pid !== null && !await isGone(pid, system)) {
    say({ fault: `${host}: its connection master did not exit`, hint: `kill -KILL ${pid}` });
    return "stuck";
  }
  removeLane(lane);
  print(sessions > 0 ? `${host}: stopped, with ${open}` : `${host}: stopped`);
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
 * Prepares a call that must log in anew: closes the lanes that it could use, and forgets what was learned of
 * its server. The launcher then makes the call. Only a new login sees new groups, another shell or changed
 * settings of sshd; a session on an old lane does not. Returns the exit status.
 */
export async function fresh(
  argv: readonly string[],
  given: Given,
  system: StopSystem,
): Promise<number> {
  const decision = given.ssh === "" ? undefined : await decide(argv, given, system);
  if (decision?.kind === "share") {
    const { stateDir } = decision;
    const dirs = identitiesOf(decision).map((identity) => identityDir({ stateDir, identity }));
    dirs.forEach(forgetLearned);
    await Promise.all(dirs.flatMap(lanesOf).map((lane) => closeLane(lane, system)));
  }
  return 0;
}

/**
 * Whether a lane goes by this name: its destination as typed or as resolved, the host or user@host of the
 * latter, or what --list shows, where control characters are visible and long names are cut.
 */
export function isNamed(
  { destination, resolved }: Pick<SeenLane, "destination" | "resolved">,
  name: string,
): boolean {
  const [login] = resolved.split(/:\d+$/);
  const host = login.slice(login.lastIndexOf("@") + 1);
  return [login, host].includes(name) ||
    [destination, resolved].some((text) => text === name || isShownAs(text, name));
}

/** Returns the lanes that a call with these arguments could use, and those that go by a single argument. */
export async function lanesMeant(
  argv: readonly string[],
  lanes: readonly SeenLane[],
  given: Given,
  system: DecideSystem,
): Promise<SeenLane[]> {
  // Nothing to choose from: no need to ask ssh.
  if (lanes.length === 0) return [];
  const decision = given.ssh === "" ? undefined : await decide(argv, given, system);
  const identities = decision?.kind === "share" ? identitiesOf(decision) : [];
  return lanes.filter((lane) =>
    identities.includes(lane.identity) || (argv.length === 1 && isNamed(lane, argv[0]))
  );
}

/** Returns the identity of a call, and that of copies if they have one of their own. */
function identitiesOf({ identity, copies }: Shared): string[] {
  return copies === undefined ? [identity] : [identity, copies];
}
