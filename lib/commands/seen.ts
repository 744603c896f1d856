/**
 * Finds what is shared now, and what keeps calls from being shared. Looks only at this machine; no far end
 * is asked.
 */
import { basename } from "@std/path/posix/basename";
import { dirname } from "@std/path/posix/dirname";
import { forwardOption, forwardsOn } from "../lane/forwards.ts";
import { isOpen, isVerified, readMaster, roundTripOf } from "../lane/lane.ts";
import { identityDirs, type Lane, laneAt, lanesOf } from "../lane/layout.ts";
import { directOf } from "../lane/learned.ts";
import { liveLeases } from "../lane/lease.ts";
import { masterAt } from "../lane/master.ts";
import { isSameProcess } from "../lane/process.ts";
import { endOf, keptUntil, type LaneRecord, readRecord, startOf } from "../lane/record.ts";
import { startersOf } from "../lane/starter.ts";
import { allStateDirs } from "../lane/state_dir.ts";
import { exists, namesIn, readText, statOf } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { clock } from "./phrases.ts";

/**
 * What is seen of a lane, of a login or of an identity:
 *
 * - `open`: accepts sessions
 * - `full`: has no room; the next call opens another lane
 * - `unverified`: the far end has not answered lately; the next call asks it first
 * - `retired`: accepts no new sessions, and closes after the last one
 * - `dead`: its master is gone, and its files are about to be removed
 * - `logging-in`: a call logs in, and others wait for it
 * - `direct`: calls of this identity go direct, for a reason that was learned
 */
export type State = "open" | "full" | "unverified" | "retired" | "dead" | "logging-in" | "direct";

/** What `--list --json` prints of each: sshs.1 describes the keys. */
const UNKNOWN = {
  destination: null as string | null,
  resolved: "",
  identity: "",
  lane: null as string | null,
  socket: null as string | null,
  pid: null as number | null,
  state: "direct" as State,
  sessions: 0,
  maxSessions: null as number | null,
  forwards: [] as readonly string[],
  age: null as number | null,
  idle: null as number | null,
  linger: null as number | null,
  maxAge: null as number | null,
  goesIn: null as number | null,
  held: false,
  roundTrip: null as number | null,
  note: null as string | null,
};

/** What is shared, or why not. Times are in seconds, the round trip in ms. */
export type Seen = Readonly<typeof UNKNOWN>;

/** What is seen of a lane. */
export interface SeenLane extends Seen {
  readonly destination: string;
  readonly lane: string;
  readonly socket: string;
}

export type SeeSystem = Pick<System, "births" | "env" | "isAlive" | "now" | "uid">;

/**
 * Returns the lanes of all state directories, oldest first. A lane that disappears meanwhile is left out.
 *
 * @throws {StateDirError} if the state directory must not be trusted
 */
export async function seeLanes(given: Given, system: SeeSystem): Promise<SeenLane[]> {
  const lanes = allDirs(given, system).flatMap(lanesOf)
    .map((lane) => ({ lane, record: readRecord(lane), started: startOf(lane) ?? 0 }))
    .sort((a, b) => a.started - b.started);
  const seen = lanes.map(({ lane, record, started }) =>
    record && see(lane, record, started, system)
  );
  return (await Promise.all(seen)).filter((lane) => lane !== undefined);
}

/** Returns the lanes, then calls that are logging in, then what goes direct. Throws as seeLanes() does. */
export async function seeAll(given: Given, system: SeeSystem): Promise<Seen[]> {
  const dirs = allDirs(given, system);
  return [
    ...await seeLanes(given, system),
    ...dirs.flatMap((dir) => seeLogin(dir, system)),
    ...dirs.flatMap((dir) => seeDirect(dir, system)),
  ];
}

function allDirs(given: Given, system: SeeSystem): string[] {
  return allStateDirs(given, system).flatMap(identityDirs);
}

/** Returns what is seen of an identity, without a lane. */
function seeIdentity(dir: string, state: State): Seen {
  const about = readText(`${dir}/about`) ?? "";
  const value = (key: string) => new RegExp(`^${key} (.+)$`, "m").exec(about)?.[1] ?? "?";
  const resolved = `${value("user")}@${value("hostname")}:${value("port")}`;
  return { ...UNKNOWN, resolved, identity: basename(dir), state };
}

/** Finds a lane's master as the sleeper noted it; if it has not yet, asks the master itself. */
async function masterOf(
  lane: Lane,
  system: SeeSystem,
): Promise<{ isAlive: boolean; pid: number | null }> {
  const noted = readMaster(lane);
  if (noted) return { isAlive: await isSameProcess(noted, system), pid: noted.pid };
  const found = await masterAt(lane.socket);
  if (typeof found === "number") return { isAlive: true, pid: found };
  // A stopped master does not answer; one that no longer listens lives as long as there are sessions.
  return { isAlive: found === "silent" || liveLeases(lane, system).length > 0, pid: null };
}

async function see(
  lane: Lane,
  record: LaneRecord,
  started: number,
  system: SeeSystem,
): Promise<SeenLane> {
  const { isAlive, pid } = await masterOf(lane, system);
  const { destination, resolved, maxSessions, linger, maxAge = null } = record;
  const now = system.now();
  const leases = isAlive ? liveLeases(lane, system) : [];
  const open = isOpen(lane);
  const idle = leases.length > 0 ? null : idleFor(open ? lane.leases : lane.retired, now);
  const kept = Math.max(0, keptUntil(lane) - now) / 1000;
  const state = (): State => {
    if (!isAlive) return "dead";
    if (!open) return "retired";
    if (leases.filter(({ kind }) => kind === "running").length >= maxSessions) return "full";
    return isVerified(lane, now) ? "open" : "unverified";
  };
  const left = (endOf(lane, record) - now) / 1000;
  const goesIn = idle === null || !isAlive || !open
    ? Infinity
    : Math.max(0, Math.min(left, Math.max((linger ?? Infinity) - idle, kept)));
  return {
    ...{ ...UNKNOWN, destination, resolved, maxSessions, linger, maxAge, pid },
    identity: basename(lane.dir),
    lane: lane.name,
    socket: lane.socket,
    state: state(),
    sessions: leases.length,
    forwards: isAlive ? forwardsOn(lane).map(forwardOption) : [],
    age: Math.round(Math.max(0, now - started) / 1000),
    idle: idle && Math.round(idle),
    goesIn: isFinite(goesIn) ? Math.round(goesIn) : null,
    held: kept > 0,
    roundTrip: roundTripOf(lane) ?? null,
  };
}

/** Returns the seconds since the last session, by the directory of a lane's leases, none of which is live. */
function idleFor(dir: string, now: number): number {
  // A session has just ended: the sleeper has not removed its lease yet.
  if (namesIn(dir).length > 0) return 0;
  // The mtime changes with each lease that is added, and that the sleeper removes.
  return Math.max(0, now - (statOf(dir)?.mtime?.getTime() ?? now)) / 1000;
}

function seeLogin(dir: string, system: SeeSystem): Seen[] {
  const starter = startersOf(dir, system).at(-1);
  // Without a pid it has only just begun, and the pid is not written yet.
  if (starter?.state !== "running" || starter.pid === 0) return [];
  const begun = statOf(starter.path)?.mtime?.getTime() ?? system.now();
  const age = Math.round(Math.max(0, system.now() - begun) / 1000);
  const { name, socket } = laneAt(dir, `${starter.number}`);
  return [{ ...seeIdentity(dir, "logging-in"), lane: name, socket, pid: starter.pid, age }];
}

function seeDirect(dir: string, system: SeeSystem): Seen[] {
  const note = learnedOf(dir, system);
  return note === undefined ? [] : [{ ...seeIdentity(dir, "direct"), note }];
}

/** Returns why calls of an identity go direct, if that was learned. */
export function learnedOf(dir: string, system: Pick<System, "now">): string | undefined {
  const direct = directOf(dir, system.now());
  if (direct) return `not shared until ${clock(new Date(direct.until * 1000))}: ${direct.why}`;
  if (exists(`${dir}/terminal`)) return "not shared: its ProxyCommand asks on the terminal";
}

/** Returns the lane with the files of what is seen. */
export function laneOf({ lane, socket }: SeenLane): Lane {
  return laneAt(dirname(socket), lane);
}

/** Returns the state directory that a lane is in. */
export function stateDirOf({ dir }: Lane): string {
  return dirname(dir);
}
