/**
 * A lane and what its files say: the record, the mark that the far end is alive, and the gate.
 *
 * The gate is rmdir(2), which fails while a lease is in the directory: creating a lease takes the lane,
 * removing the directory closes it, and there is no moment between the two.
 */
import {
  exists,
  namesIn,
  overwrite,
  readText,
  removeIfEmpty,
  removePath,
  removeUnless,
  renameIfThere,
  setModified,
  statOf,
  writeText,
} from "../os/files.ts";
import type { System } from "../os/system.ts";
import type { OfferRule } from "../ssh/keys.ts";
import type { Lane } from "./layout.ts";
import { dropDeadLeases } from "./lease.ts";

/** What is known about a lane from its start. */
export interface LaneRecord {
  /** As the user wrote it, and as ssh resolved it: `user@host:port`. */
  readonly destination: string;
  readonly resolved: string;
  /** Seconds that the lane stays after its last session; null: forever. */
  readonly linger: number | null;
  /** Maximum concurrent sessions. */
  readonly maxSessions: number;
  /** Seconds that the master stays when nobody holds it. */
  readonly grace: number;
  /** The master may forward an agent or a display. */
  readonly forwards: boolean;
  /** The socket of the agent whose keys the master may have used. */
  readonly agent: string | null;
  /** Which of the agent's keys ssh offers. */
  readonly offers?: OfferRule;
  /** The pid namespace of its pids ("pid:[4026531836]"), if the system has pid namespaces. */
  readonly pids?: string;
}

/** The master's process. The birth, if the system reports one, reveals a reused pid. */
export interface Master {
  readonly pid: number;
  readonly birth?: string;
}

/** How long an answer from the far end is valid, ms: the sleeper asks every 15 s. */
export const VERIFIED_FOR = 20_000;

/** Returns how often lanes in use are checked, in seconds: `SSHS_LOOK`, else 1. */
export function lookSeconds(system: Pick<System, "env">): number {
  const seconds = Number(system.env("SSHS_LOOK"));
  return seconds >= 0.1 && seconds <= 60 ? seconds : 1;
}

/** Returns the record of a lane; `undefined` if it is gone or invalid: nobody uses such a lane. */
export function readRecord(lane: Lane): LaneRecord | undefined {
  const text = readText(lane.record);
  return text === undefined ? undefined : parseRecord(text);
}

/** Parses a record. A power failure may leave one empty or truncated. */
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

/** Returns when the login was completed, ms since the epoch. */
export function startOf(lane: Lane): number | undefined {
  return statOf(lane.record)?.mtime?.getTime();
}

/** Returns the master, once the sleeper has taken the lane. */
export function readMaster(lane: Lane): Master | undefined {
  return readProcess(lane.master);
}

/** Returns the process that a file names by its pid and birth. */
export function readProcess(path: string): Master | undefined {
  const [, pid, birth] = /^([1-9]\d*)(?: (.+))?\n/.exec(readText(path) ?? "") ?? [];
  return Number(pid) > 1 ? { pid: Number(pid), birth } : undefined;
}

/** Records the master; without one, that the sleeper came but could not identify it. */
export function writeMaster(lane: Lane, master?: Master): void {
  writeProcess(lane.master, master);
}

/** Writes a process as {@linkcode readProcess} reads it. */
export function writeProcess(path: string, process?: Master): void {
  writeText(path, process ? `${[process.pid, process.birth ?? ""].join(" ").trim()}\n` : "");
}

/** Returns until when the lane stays regardless of its linger, ms since the epoch. */
export function keptUntil(lane: Lane): number {
  const text = readText(lane.keep)?.trim() ?? "";
  return text === "forever" ? Infinity : (Number(text) || 0) * 1000;
}

/** Whether the lane takes sessions. */
export function isOpen(lane: Lane): boolean {
  return exists(lane.leases);
}

/** Closes an idle lane to new sessions. Returns false if it is not idle: it then stays open. */
export function withdraw(lane: Lane, system: Pick<System, "isAlive">): boolean {
  dropDeadLeases(lane, system);
  if (!removeIfEmpty(lane.leases)) return false; // A lease holds the lane.
  unverify(lane);
  return true;
}

/** Closes a lane to new sessions and keeps those that are on it. */
export function retire(lane: Lane): void {
  unverify(lane);
  renameIfThere(lane.leases, lane.retired); // Another process may have been faster.
}

/** Removes all files of a lane whose master is gone. */
export function removeLane(lane: Lane): void {
  // Close it first, so that no lease is created meanwhile. Remove the socket next: an ssh on its way would
  // complain about a dead one.
  retire(lane);
  removePath(lane.socket);
  for (const name of namesIn(lane.dir)) {
    if (name.startsWith(`${lane.name}.`)) removePath(`${lane.dir}/${name}`);
  }
}

/** Records that the far end has just answered, and how long it took (ms). */
export function verify(lane: Lane, roundTrip: number, now: number): void {
  removeUnless(lane.verified, "isFile");
  // The length is constant, so that the file is not truncated: ext4 flushes a truncated file (4 ms).
  overwrite(lane.verified, `${roundTrip.toFixed(1).padStart(10)}\n`);
  setModified(lane.verified, now + VERIFIED_FOR);
}

/** Records that the far end has just answered, about as fast as before. Returns false if there is no mark. */
export function renew(lane: Lane, now: number): boolean {
  return setModified(lane.verified, now + VERIFIED_FOR);
}

/** Removes the mark, so that the next call asks the far end itself. */
export function unverify(lane: Lane): void {
  removePath(lane.verified);
  // Without this file the lane would count as just logged in.
  if (!exists(lane.master) && exists(lane.record)) writeMaster(lane);
}

/**
 * Whether the far end counts as alive at `now`. A mark too far in the future was made before the clock
 * was set back.
 */
export function isVerified(lane: Lane, now: number): boolean {
  const until = exists(lane.master)
    ? statOf(lane.verified)?.mtime?.getTime()
    : (startOf(lane) ?? -Infinity) + VERIFIED_FOR;
  return until !== undefined && until > now && until <= now + VERIFIED_FOR + 1000;
}

/** Returns the last round trip to the far end in ms, if known. */
export function roundTripOf(lane: Lane): number | undefined {
  return Number(readText(lane.verified)) || undefined;
}
