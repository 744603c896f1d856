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
import { endOf, keptUntil, readRecord, startOf } from "../lane/record.ts";
import { startersOf } from "../lane/starter.ts";
import { allStateDirs } from "../lane/state_dir.ts";
import { exists, namesIn, readText, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import type { Here } from "./command.ts";
import { clock } from "./phrases.ts";

/** The state of a lane; or a call logs in, or those of an identity go direct. sshs.1 describes each. */
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
export type SeenLane = Seen & { destination: string; lane: string; socket: string };

function identities({ given, system }: Here): string[] {
  return allStateDirs(given, system).flatMap(identityDirs);
}

/**
 * Returns the lanes of all state directories, oldest first. A lane that disappears meanwhile is left out.
 *
 * @throws {StateDirError} if the state directory must not be trusted
 */
export async function seeLanes(here: Here): Promise<SeenLane[]> {
  const lanes = identities(here).flatMap(lanesOf)
    .map((lane) => ({ lane, started: startOf(lane) ?? 0 }))
    .sort((a, b) => a.started - b.started);
  const seen = lanes.map(({ lane, started }) => see(lane, started, here.system));
  return (await Promise.all(seen)).filter((lane) => lane !== undefined);
}

/** Returns the lanes, then who logs in and what goes direct. Throws as seeLanes() does. */
export async function seeAll(here: Here): Promise<Seen[]> {
  const others = identities(here).flatMap((dir) => seeIdentity(dir, here.system));
  return [...await seeLanes(here), ...others];
}

async function see(lane: Lane, started: number, system: System): Promise<SeenLane | undefined> {
  const record = readRecord(lane);
  if (!record) return undefined;
  const { destination, resolved, maxSessions, linger, maxAge = null } = record;
  // The sleeper notes the master; if it has not yet, ask the master itself. A stopped one does not answer; one
  // that no longer listens lives as long as there are sessions.
  const noted = readMaster(lane);
  const found = noted ? undefined : await masterAt(lane.socket);
  const live = liveLeases(lane, system);
  const isAlive = noted
    ? await isSameProcess(noted, system)
    : typeof found === "number" || found === "silent" || live.length > 0;
  const leases = isAlive ? live : [];
  const now = system.now();
  const open = isOpen(lane);
  const idle = leases.length > 0 ? null : idleFor(open ? lane.leases : lane.retired, now);
  const kept = Math.max(0, keptUntil(lane) - now) / 1000;
  const left = (endOf(lane, record) - now) / 1000;
  const goesIn = idle === null || !isAlive || !open
    ? Infinity
    : Math.max(0, Math.min(left, Math.max((linger ?? Infinity) - idle, kept)));
  const stateOf = (): State => {
    if (!isAlive) return "dead";
    if (!open) return "retired";
    if (leases.filter(({ kind }) => kind === "running").length >= maxSessions) return "full";
    return isVerified(lane, now) ? "open" : "unverified";
  };
  return {
    ...{ ...UNKNOWN, destination, resolved, maxSessions, linger, maxAge },
    identity: basename(lane.dir),
    lane: lane.name,
    socket: lane.socket,
    pid: noted?.pid ?? (typeof found === "number" ? found : null),
    state: stateOf(),
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

/** Returns who logs in for an identity, and why its calls go direct. */
function seeIdentity(dir: string, system: System): Seen[] {
  const about = readText(`${dir}/about`) ?? "";
  const value = (key: string) => new RegExp(`^${key} (.+)$`, "m").exec(about)?.[1] ?? "?";
  const resolved = `${value("user")}@${value("hostname")}:${value("port")}`;
  const identity = { ...UNKNOWN, resolved, identity: basename(dir) };
  const seen: Seen[] = [];
  const starter = startersOf(dir, system).at(-1);
  // Without a pid it has only just begun, and the pid is not written yet.
  if (starter?.state === "running" && starter.pid !== 0) {
    const begun = statOf(starter.path)?.mtime?.getTime() ?? system.now();
    const age = Math.round(Math.max(0, system.now() - begun) / 1000);
    const { name: lane, socket } = laneAt(dir, `${starter.number}`);
    seen.push({ ...identity, state: "logging-in", lane, socket, pid: starter.pid, age });
  }
  const note = learnedOf(dir, system);
  return note ? [...seen, { ...identity, state: "direct", note }] : seen;
}

/** Returns why calls of an identity go direct, if that was learned. */
export function learnedOf(dir: string, system: Pick<System, "now">): string | undefined {
  const direct = directOf(dir, system.now());
  if (direct) return `not shared until ${clock(direct.until * 1000)}: ${direct.why}`;
  if (exists(`${dir}/terminal`)) return "not shared: its ProxyCommand asks on the terminal";
}

/** Returns the lane with the files of what is seen. */
export function laneOf({ lane, socket }: SeenLane): Lane {
  return laneAt(dirname(socket), lane);
}
