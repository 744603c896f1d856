/**
 * Finds what is shared now, and what keeps calls from being shared. Looks only at this machine; no far end
 * is asked.
 */
import { dirname } from "@std/path/posix/dirname";
import { directOf } from "../lane/learned.ts";
import { forwardOption, forwardsOn } from "../lane/forwards.ts";
import { probe } from "../lane/probe.ts";
import { isBornAs } from "../lane/process.ts";
import { isOpen, isVerified, readMaster, roundTripOf } from "../lane/lane.ts";
import { aboutPath, identityDirs, type Lane, lanesOf, terminalPath } from "../lane/layout.ts";
import { liveLeases } from "../lane/lease.ts";
import { keptUntil, type LaneRecord, readRecord, startOf } from "../lane/record.ts";
import { latestStarter } from "../lane/starter.ts";
import { allStateDirs, stateDirPath } from "../lane/state_dir.ts";
import { exists, readText, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { commandWords } from "./words.ts";

/**
 * - `open`: accepts sessions
 * - `full`: has no room; the next call opens another lane
 * - `unverified`: the far end has not answered lately; the next call asks it first
 * - `retired`: accepts no new sessions, and closes after the last one
 * - `dead`: its master is gone, and its files are about to be removed
 */
export type LaneState = "open" | "full" | "unverified" | "retired" | "dead";

export interface SeenLane {
  readonly kind: "lane";
  readonly lane: Lane;
  readonly record: LaneRecord;
  readonly state: LaneState;
  /** The master's pid; `undefined` if unknown. */
  readonly pid?: number;
  /** The number of live sessions. */
  readonly sessions: number;
  /** What the sessions have forwarded, as ssh options. */
  readonly forwards: readonly string[];
  /** Seconds since its login. */
  readonly age: number;
  /** Seconds since its last session; `undefined` while there is one. */
  readonly idle?: number;
  /** Seconds until it closes if nobody uses it: Infinity for never, `undefined` while in use. */
  readonly closesIn?: number;
  /** --hold is in effect. */
  readonly isHeld: boolean;
  /** Milliseconds to the far end and back, as last measured. */
  readonly roundTrip?: number;
}

/** A call that is logging in; others wait for it. */
export interface SeenLogin {
  readonly kind: "login";
  readonly dir: string;
  /** The name that its lane will have. */
  readonly name: string;
  /** The call's pid. */
  readonly pid: number;
  /** Seconds since it began. */
  readonly age: number;
}

/** An identity whose calls go direct, for a reason that was learned. */
export interface SeenDirect {
  readonly kind: "direct";
  readonly dir: string;
  readonly reason: string;
}

export type Seen = SeenLane | SeenLogin | SeenDirect;

export type SeeSystem = Pick<System, "births" | "env" | "isAlive" | "now" | "uid">;

/**
 * Returns the lanes of all state directories, oldest first. A lane that disappears meanwhile is left out.
 *
 * @throws {StateDirError} if the state directory must not be trusted
 */
export async function seeLanes(system: SeeSystem): Promise<SeenLane[]> {
  const lanes = allDirs(system).flatMap(lanesOf).flatMap((lane) => {
    const record = readRecord(lane);
    const started = startOf(lane);
    return record && started !== undefined ? [{ lane, record, started }] : [];
  });
  const masters = await seeMasters(lanes.map(({ lane }) => lane), system);
  return lanes.sort((a, b) => a.started - b.started)
    .map(({ lane, record, started }) => see(lane, record, started, masters.get(lane)!, system));
}

/** Returns the lanes, then calls that are logging in, then what goes direct. Throws as seeLanes() does. */
export async function seeAll(system: SeeSystem): Promise<Seen[]> {
  const dirs = allDirs(system);
  return [
    ...await seeLanes(system),
    ...dirs.flatMap((dir) => seeLogin(dir, system)),
    ...dirs.flatMap((dir) => seeDirect(dir, system)),
  ];
}

/** `user@host:port` of an identity, as ssh resolved it. */
export function resolvedOf(dir: string): string {
  const about = readText(aboutPath(dir)) ?? "";
  const value = (key: string) => new RegExp(`^${key} (.+)$`, "m").exec(about)?.[1] ?? "?";
  return `${value("user")}@${value("hostname")}:${value("port")}`;
}

function allDirs(system: SeeSystem): string[] {
  return allStateDirs({ stateDir: stateDirPath(system) }, system).flatMap(identityDirs);
}

/** A master's process: whether it lives, and its pid where that is known. */
interface SeenMaster {
  readonly isAlive: boolean;
  readonly pid?: number;
}

/** Finds each lane's master as the sleeper noted it; if it has not yet, asks the master itself. */
async function seeMasters(
  lanes: readonly Lane[],
  system: SeeSystem,
): Promise<Map<Lane, SeenMaster>> {
  const noted = new Map(lanes.map((lane) => [lane, readMaster(lane)]));
  const births = await system.births(
    Array.from(noted.values(), (m) => m?.pid ?? 0).filter(Boolean),
  );
  return new Map(
    await Promise.all(Array.from(noted, async ([lane, master]): Promise<[Lane, SeenMaster]> => {
      if (!master) return [lane, await askMaster(lane, system)];
      const isSame = isBornAs(master, births.get(master.pid)); // A reused pid is no master.
      return [lane, { isAlive: system.isAlive(master.pid) && isSame, pid: master.pid }];
    })),
  );
}

async function askMaster(lane: Lane, system: SeeSystem): Promise<SeenMaster> {
  const found = await probe(lane.socket);
  if (found.kind === "alive") return { isAlive: true, pid: found.pid };
  // A stopped master does not answer; one that no longer listens lives as long as there are sessions.
  return { isAlive: found.kind === "foreign" || liveLeases(lane, system).length > 0 };
}

function see(
  lane: Lane,
  record: LaneRecord,
  started: number,
  master: SeenMaster,
  system: SeeSystem,
): SeenLane {
  const now = system.now();
  const leases = master.isAlive ? liveLeases(lane, system) : [];
  const open = isOpen(lane);
  // The directory's mtime changes with each lease that is added, and that the sleeper removes.
  const touched = statOf(open ? lane.leases : lane.retired)?.mtime?.getTime() ?? started;
  const idle = leases.length > 0 ? undefined : Math.max(0, now - touched) / 1000;
  const kept = Math.max(0, keptUntil(lane) - now) / 1000;
  const state = (): LaneState => {
    if (!master.isAlive) return "dead";
    if (!open) return "retired";
    const running = leases.filter(({ kind }) => kind === "running").length;
    if (running >= record.maxSessions) return "full";
    return isVerified(lane, now) ? "open" : "unverified";
  };
  return {
    kind: "lane",
    lane,
    record,
    state: state(),
    pid: master.pid,
    sessions: leases.length,
    forwards: master.isAlive ? forwardsOn(lane).map(forwardOption) : [],
    age: Math.max(0, now - started) / 1000,
    idle,
    closesIn: idle === undefined || !master.isAlive || !open
      ? undefined
      : Math.max(0, (record.linger ?? Infinity) - idle, kept),
    isHeld: kept > 0,
    roundTrip: roundTripOf(lane),
  };
}

function seeLogin(dir: string, system: SeeSystem): SeenLogin[] {
  const starter = latestStarter(dir, system);
  // Without a pid it has only just begun, and the pid is not written yet.
  if (starter?.state !== "running" || starter.pid === 0) return [];
  const begun = statOf(starter.path)?.mtime?.getTime() ?? system.now();
  const age = Math.max(0, system.now() - begun) / 1000;
  return [{ kind: "login", dir, name: `${starter.number}`, pid: starter.pid, age }];
}

function seeDirect(dir: string, system: SeeSystem): SeenDirect[] {
  const reason = learnedOf(dir, system);
  return reason === undefined ? [] : [{ kind: "direct", dir, reason }];
}

/** Returns why calls of an identity go direct, if that was learned. */
export function learnedOf(dir: string, system: Pick<System, "now">): string | undefined {
  const direct = directOf(dir, system.now());
  if (direct) return commandWords.directUntil(direct.why, new Date(direct.until * 1000));
  return exists(terminalPath(dir)) ? commandWords.asksOnTerminal() : undefined;
}

/** Returns the state directory that a lane is in. */
export function stateDirOf(lane: Lane): string {
  return dirname(lane.dir);
}
