/**
 * The state of a lane: whether it takes sessions, its master, and the mark that the far end is alive.
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
} from "../os/files.ts";
import type { System } from "../os/system.ts";
import type { Lane } from "./layout.ts";
import { parseLease } from "./lease.ts";
import { type Process, readProcess, writeProcess } from "./process.ts";
import { startOf } from "./record.ts";

/** How long an answer from the far end is valid, ms: the sleeper asks every 15 s. */
export const VERIFIED_FOR = 20_000;

/** Returns how often lanes in use are checked, in seconds: `SSHS_LOOK`, else 1. */
export function lookSeconds(system: Pick<System, "env">): number {
  const seconds = Number(system.env("SSHS_LOOK"));
  return seconds >= 0.1 && seconds <= 60 ? seconds : 1;
}

/** Returns the master, once the sleeper has taken the lane and could identify it. */
export function readMaster(lane: Lane): Process | undefined {
  return readProcess(lane.master);
}

/** Whether the lane takes sessions. */
export function isOpen(lane: Lane): boolean {
  return exists(lane.leases);
}

/** Closes an idle lane to new sessions. Returns false if it is not idle: it then stays open. */
export function withdraw(lane: Lane, system: Pick<System, "isAlive">): boolean {
  // Leases of dead processes, and files that are none, would keep the lane forever.
  for (const name of namesIn(lane.leases)) {
    const lease = parseLease(name);
    if (!lease || !system.isAlive(lease.pid)) removePath(`${lane.leases}/${name}`);
  }
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

/** Records that the far end has just answered, how long it took, and how long that is valid (ms). */
export function verify(
  lane: Lane,
  roundTrip: number,
  now: number,
  validFor: number = VERIFIED_FOR,
): void {
  removeUnless(lane.verified, "isFile");
  // The length is constant, so that the file is not truncated: ext4 flushes a truncated file (4 ms).
  overwrite(lane.verified, `${roundTrip.toFixed(1).padStart(10)}\n`);
  setModified(lane.verified, now + validFor);
}

/** Removes the mark, so that the next call waits for an answer. */
export function unverify(lane: Lane): void {
  removePath(lane.verified);
  // Without this file the lane would count as just logged in.
  if (!exists(lane.master) && exists(lane.record)) writeProcess(lane.master);
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
