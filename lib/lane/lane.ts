/**
 * A lane and what its files say: the record, the mark of the far end, and the gate.
 *
 * The gate is rmdir(2), which fails while a lease is in the directory: whoever creates a lease has the
 * lane, and whoever removes the directory has closed it, and no moment lies between the two.
 */
import {
  exists,
  makeWay,
  namesIn,
  overwrite,
  readText,
  removeIfEmpty,
  removePath,
  renamePath,
  setModified,
  statOf,
  writeText,
} from "../os/files.ts";
import type { System } from "../os/system.ts";
import type { OfferRule } from "../ssh/keys.ts";
import type { Lane } from "./layout.ts";
import { dropDeadLeases } from "./lease.ts";

/** What is known of a lane from its start on. */
export interface LaneRecord {
  /** As the user wrote it, and as ssh resolved it: `user@host:port`. */
  readonly destination: string;
  readonly resolved: string;
  /** Seconds that the lane stays after its last session; null: for ever. */
  readonly linger: number | null;
  /** Sessions at the same time. */
  readonly maxSessions: number;
  /** Seconds that the master stays when nobody holds it. */
  readonly grace: number;
  /** The master may forward an agent or a display. */
  readonly forwards: boolean;
  /** The socket of the agent whose keys it may have used. */
  readonly agent: string | null;
  /** Which of the agent's keys ssh offers. */
  readonly offers?: OfferRule;
  /** The pid namespace in which its pids are ("pid:[4026531836]"), where the system has them. */
  readonly pids?: string;
}

/** The master's process. A reused pid is told by its birth, where births can be had. */
export interface Master {
  readonly pid: number;
  readonly birth?: string;
}

/** How long an answer of the far end counts, ms: the sleeper asks every 15 s. */
export const VERIFIED_FOR = 20_000;

/** How often lanes in use are looked after, seconds: `SSHS_LOOK`, else 1. */
export function lookSeconds(system: Pick<System, "env">): number {
  const seconds = Number(system.env("SSHS_LOOK"));
  return seconds >= 0.1 && seconds <= 60 ? seconds : 1;
}

/** The record of a lane; `undefined` where it is gone, or is none: nobody uses such a lane. */
export function readRecord(lane: Lane): LaneRecord | undefined {
  const text = readText(lane.record);
  return text === undefined ? undefined : parseRecord(text);
}

/** A machine that loses its power may leave one empty or torn. */
function parseRecord(text: string): LaneRecord | undefined {
  let record: LaneRecord | null;
  try {
    record = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const isWhole = typeof record?.destination === "string" && record.maxSessions > 0;
  return isWhole ? record! : undefined;
}

/** When the login was done, ms since the epoch. */
export function startOf(lane: Lane): number | undefined {
  return statOf(lane.record)?.mtime?.getTime();
}

/** The master, once the sleeper has taken the lane. */
export function readMaster(lane: Lane): Master | undefined {
  return readProcess(lane.master);
}

/** The process that a file names by its pid and birth. */
export function readProcess(path: string): Master | undefined {
  const [, pid, birth] = /^([1-9]\d*)(?: (.+))?\n/.exec(readText(path) ?? "") ?? [];
  return Number(pid) > 1 ? { pid: Number(pid), birth } : undefined;
}

/** Notes the master; without one, that the sleeper has come and could not learn of it. */
export function writeMaster(lane: Lane, master?: Master): void {
  writeProcess(lane.master, master);
}

/** Notes a process as {@linkcode readProcess} reads it. */
export function writeProcess(path: string, process?: Master): void {
  writeText(path, process ? `${[process.pid, process.birth ?? ""].join(" ").trim()}\n` : "");
}

/** Until when the lane stays whatever its linger, ms since the epoch. */
export function keptUntil(lane: Lane): number {
  const text = readText(lane.keep)?.trim() ?? "";
  return text === "forever" ? Infinity : (Number(text) || 0) * 1000;
}

/** Whether the lane takes sessions. */
export function isOpen(lane: Lane): boolean {
  return exists(lane.leases);
}

/** Closes an idle lane to new sessions. False: it is not idle, and stays open. */
export function withdraw(lane: Lane, system: Pick<System, "isAlive">): boolean {
  dropDeadLeases(lane, system);
  if (!removeIfEmpty(lane.leases)) return false; // A lease has the lane.
  unverify(lane);
  return true;
}

/** Closes a lane to new sessions and keeps those that are on it. */
export function retire(lane: Lane): void {
  unverify(lane);
  renamePath(lane.leases, lane.retired); // Another may have been faster.
}

/** Removes all files of a lane whose master is gone. */
export function removeLane(lane: Lane): void {
  // Closed first, so that no lease is made meanwhile; and an ssh on its way finds no socket rather
  // than a dead one, of which it would complain.
  retire(lane);
  removePath(lane.socket);
  for (const name of namesIn(lane.dir)) {
    if (name.startsWith(`${lane.name}.`)) removePath(`${lane.dir}/${name}`);
  }
}

/** Notes that the far end has answered just now, and how long it took (ms). */
export function verify(lane: Lane, roundTrip: number, now: number): void {
  makeWay(lane.verified);
  // As long as the last one, so that nothing is cut off: ext4 flushes a file that was (4 ms).
  overwrite(lane.verified, `${roundTrip.toFixed(1).padStart(10)}\n`);
  setModified(lane.verified, now + VERIFIED_FOR);
}

/** Notes that the far end has answered just now, and about as fast as before. False: there is no mark. */
export function renew(lane: Lane, now: number): boolean {
  return setModified(lane.verified, now + VERIFIED_FOR);
}

/** Withdraws the mark; the next call asks the far end itself. */
export function unverify(lane: Lane): void {
  removePath(lane.verified);
  // Without it the lane would count as one that has only just logged in.
  if (!exists(lane.master) && exists(lane.record)) writeMaster(lane);
}

/**
 * Whether the far end counts as alive at `now`. A mark too far ahead was made before the clock was
 * set back.
 */
export function isVerified(lane: Lane, now: number): boolean {
  const until = exists(lane.master)
    ? statOf(lane.verified)?.mtime?.getTime()
    : (startOf(lane) ?? -Infinity) + VERIFIED_FOR;
  return until !== undefined && until > now && until <= now + VERIFIED_FOR + 1000;
}

/** The last round trip to the far end in ms, where one is known. */
export function roundTripOf(lane: Lane): number | undefined {
  return Number(readText(lane.verified)) || undefined;
}
