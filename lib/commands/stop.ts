/**
 * `sshs --stop HOST|--all [--now]`: closes shared connections. Their sessions go on, and new calls log in
 * anew; with --now the sessions end too. HOST is a name that --list shows, or the arguments of a call.
 *
 * `sshs --fresh HOST [COMMAND...]`: makes a call over a new login; old connections accept no new sessions.
 */
import { basename } from "@std/path/posix/basename";
import { dirname } from "@std/path/posix/dirname";
import { decide } from "../call/decide.ts";
import { removeLane } from "../lane/lane.ts";
import { identityDir, type Lane, lanesOf } from "../lane/layout.ts";
import { forgetLearned } from "../lane/learned.ts";
import { closeLane } from "../lane/master.ts";
import { exists } from "../os/files.ts";
import { pause, type System } from "../os/system.ts";
import { Complaint, print, say } from "../os/terminal.ts";
import { tellSleeper } from "../sleeper/sleeper_file.ts";
import { type Here, takeCall, takeHost, type Words, WrongUse } from "./command.ts";
import { count, NOTHING_SHARED } from "./phrases.ts";
import { laneOf, seeLanes, type SeenLane } from "./seen.ts";
import { cell } from "./table.ts";

/** How long a master may take to exit when told to, ms. */
const DEADLINE = 3000;

/** Stops the lanes of a host, or all. Returns 1 if a master did not exit. */
export async function stop(words: Words, here: Here): Promise<number> {
  const [all, now] = ["all", "now"].map((option) => option in words.options);
  if (!all) takeHost(words);
  else if (words.argv.length > 0) throw new WrongUse("--stop takes a host or --all, not both");
  const lanes = await lanesMeant(here, all ? undefined : words.argv);
  if (lanes.length > 0 || all) return await stopLanes(lanes, now, here);
  const names = new Set((await lanesMeant(here)).map(({ destination }) => destination));
  const others = names.size > 0 ? `shared now: ${[...names].join(", ")}` : `${NOTHING_SHARED} now`;
  throw new Complaint(`no shared connection matches "${words.argv.join(" ")}"; ${others}`);
}

/** Stops lanes, and ends their sessions if `now`. Returns 1 if a master did not exit. */
export async function stopLanes(lanes: SeenLane[], now: boolean, here: Here): Promise<number> {
  if (lanes.length === 0) print(NOTHING_SHARED);
  const haveEnded = await Promise.all(lanes.map((lane) => stopLane(lane, now, here.system)));
  // The sleeper removes what is left of them.
  await tellSleepers(lanes.map(laneOf).filter(({ record }) => exists(record)), here);
  return haveEnded.includes(false) ? 1 : 0;
}

/** Stops one lane and says so. Returns false if its master did not exit. */
async function stopLane(seen: SeenLane, now: boolean, system: System): Promise<boolean> {
  const { sessions, pid } = seen;
  const lane = laneOf(seen);
  const host = cell(seen.destination);
  const open = count(sessions, "session");
  await closeLane(lane, system, { now });
  if (sessions > 0 && !now) {
    print(`${host}: accepts no new sessions; closes after the last one (${open})`);
    return true;
  }
  const end = performance.now() + DEADLINE;
  while (pid !== null && system.isAlive(pid)) {
    if (performance.now() > end) {
      say({ fault: `${host}: its connection master did not exit`, hint: `kill -KILL ${pid}` });
      return false;
    }
    await pause(20);
  }
  removeLane(lane);
  print(sessions > 0 ? `${host}: stopped, with ${open}` : `${host}: stopped`);
  return true;
}

/**
 * Prepares a call that must log in anew: closes the lanes that it could use, and forgets what was learned of
 * its server. The launcher then makes the call. Only a new login sees new groups, another shell or changed
 * settings of sshd; a session on an old lane does not.
 */
export async function fresh(words: Words, here: Here): Promise<void> {
  takeCall(words);
  const dirs = await identitiesOf(words.argv, here);
  dirs.forEach(forgetLearned);
  await Promise.all(dirs.flatMap(lanesOf).map((lane) => closeLane(lane, here.system)));
}

/** Returns the lanes that a call could use, and those that go by a single argument; all without a call. */
export async function lanesMeant(here: Here, argv?: readonly string[]): Promise<SeenLane[]> {
  const lanes = (await seeLanes(here)).filter(({ state }) => state !== "dead");
  // With nothing to choose from there is no need to ask ssh.
  if (lanes.length === 0 || !argv) return lanes;
  const identities = (await identitiesOf(argv, here)).map((dir) => basename(dir));
  return lanes.filter(({ identity, destination, resolved }) =>
    identities.includes(identity) || argv.length === 1 && isNamed(argv[0], destination, resolved)
  );
}

/** Returns the directories of a call's identity, and of that of copies if they have one of their own. */
async function identitiesOf(argv: readonly string[], { given, system }: Here): Promise<string[]> {
  const decision = given.ssh === "" ? undefined : await decide(argv, given, system);
  if (decision?.kind !== "share") return [];
  const { stateDir, identity, copies = identity } = decision;
  return [...new Set([identity, copies])].map((identity) => identityDir({ stateDir, identity }));
}

/**
 * Whether a lane goes by this name: its destination as typed or as resolved, the host or user@host of the
 * latter, or what --list shows, where control characters are visible and long names are cut.
 */
export function isNamed(name: string, destination: string, resolved: string): boolean {
  const [login] = resolved.split(/:\d+$/);
  const host = login.slice(login.lastIndexOf("@") + 1);
  const start = /^(.+)…$/.exec(name)?.[1];
  return [login, host, destination, resolved, cell(destination)].includes(name) ||
    start !== undefined && cell(destination).startsWith(start);
}

/** Makes the sleepers of lanes look at what a command has changed. */
export async function tellSleepers(lanes: readonly Lane[], { given, system }: Here): Promise<void> {
  const stateDirs = new Set(lanes.map(({ dir }) => dirname(dir)));
  for (const stateDir of stateDirs) await tellSleeper(stateDir, given, system);
}
