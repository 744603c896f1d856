/** The lanes as they are now: read from their files, without asking anybody. */
import { exists, statOf } from "../os/files.ts";
import {
  identityDirs,
  isOpen,
  isVerified,
  type Lane,
  type LaneRecord,
  lanesOf,
  readRecord,
  roundTripOf,
} from "../lane/lane.ts";
import { liveLeases, placesTaken } from "../lane/lease.ts";
import { openStateDir, stateDirPath } from "../lane/state_dir.ts";
import { births, type System } from "../os/system.ts";

/**
 * - `open`: takes sessions
 * - `full`: so many are on it that the next call opens another lane
 * - `unverified`: the far end has not answered lately; the next call asks it first
 * - `retired`: takes no more sessions, and goes with the last of those on it
 * - `dead`: its master is gone, and its files are about to go
 */
export type LaneState = "open" | "full" | "unverified" | "retired" | "dead";

export interface SeenLane {
  readonly lane: Lane;
  readonly record: LaneRecord;
  readonly state: LaneState;
  /** Live leases. */
  readonly sessions: number;
  /** Seconds since its login. */
  readonly age: number;
  /** Seconds since its last session; `undefined` while there is one. */
  readonly idle?: number;
  /** Seconds until it is let go if nobody uses it: Infinity for never, `undefined` while in use. */
  readonly goesIn?: number;
  /** Milliseconds to the far end and back, as last asked. */
  readonly roundTrip?: number;
}

export type SeeSystem = Pick<System, "env" | "isAlive" | "now" | "run" | "uid">;

/**
 * All lanes, oldest first. One that goes meanwhile is left out.
 *
 * @throws {StateDirError} where the state directory must not be trusted.
 */
export async function seeLanes(system: SeeSystem): Promise<SeenLane[]> {
  if (!exists(stateDirPath(system))) return [];
  const found = identityDirs(openStateDir(system)).flatMap(lanesOf).flatMap((lane) => {
    const record = readRecord(lane);
    return record ? [{ lane, record }] : [];
  });
  const born = await births(found.map(({ record }) => record.pid), system);
  return found.map(({ lane, record }) => {
    const birth = born.get(record.pid);
    // A reused pid is no master; where births cannot be had the pid must do.
    const alive = system.isAlive(record.pid) &&
      (!record.birth || !birth || birth === record.birth);
    return see(lane, record, alive, system);
  }).sort((a, b) => a.record.started - b.record.started);
}

function see(
  lane: Lane,
  record: LaneRecord,
  alive: boolean,
  system: Pick<System, "isAlive" | "now">,
): SeenLane {
  const now = system.now();
  const leases = alive ? liveLeases(lane, system) : [];
  const open = isOpen(lane);
  // The directory changes with each lease that comes and that the sleeper sweeps out.
  const touched = statOf(open ? lane.leases : lane.retired)?.mtime?.getTime() ?? record.started;
  const idle = leases.length > 0 ? undefined : Math.max(0, now - touched) / 1000;
  const held = Math.max(0, (record.holdUntil ?? 0) - now) / 1000;
  return {
    lane,
    record,
    state: !alive
      ? "dead"
      : !open
      ? "retired"
      : placesTaken(leases) >= record.maxSessions
      ? "full"
      : isVerified(lane, now)
      ? "open"
      : "unverified",
    sessions: leases.length,
    age: Math.max(0, now - record.started) / 1000,
    idle,
    goesIn: idle === undefined || !alive || !open
      ? undefined
      : Math.max(0, (record.linger ?? Infinity) - idle, held),
    roundTrip: roundTripOf(lane),
  };
}
