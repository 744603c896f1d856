/**
 * A lane is one connection master of an identity, and the files that say all of it:
 *
 *     <identity>/<lane>.sock      the control socket
 *                <lane>.log       what the master says
 *                <lane>.lane      what is known of it: LaneRecord
 *                <lane>.verified  its mtime is the time until which the far end counts as alive
 *                <lane>.leases/   the lane takes sessions exactly while this directory is there
 *                <lane>.retired/  what it was called before, once the lane takes no more
 *
 * The gate is rmdir(2), which fails while a lease is in it: whoever creates a lease has the lane, and
 * whoever removes the directory has closed it, and no moment lies between the two.
 */
import {
  exists,
  makeWay,
  namesIn,
  readText,
  removeIfEmpty,
  removePath,
  statOf,
} from "../os/files.ts";
import { dropDeadLeases, type LeaseDirs, placesTaken } from "./lease.ts";
import type { System } from "../os/system.ts";

export interface Lane extends LeaseDirs {
  /** The directory of the lane's identity. */
  readonly dir: string;
  readonly name: string;
  readonly socket: string;
  readonly log: string;
  readonly record: string;
  readonly verified: string;
}

/** What is known of a lane; JSON in `<lane>.lane`. */
export interface LaneRecord {
  /** The master's process. */
  readonly pid: number;
  /** When it was born, so that a reused pid is told; the sleeper notes it. */
  readonly birth?: string;
  /** As the user wrote it, and as ssh resolved it: `user@host:port`. */
  readonly destination: string;
  readonly resolved: string;
  /** Milliseconds since the epoch. */
  readonly started: number;
  /** Seconds that the lane stays after its last session; null: for ever. */
  readonly linger: number | null;
  readonly maxSessions: number;
  /** Milliseconds since the epoch until which the lane stays whatever its linger: `--hold`. */
  readonly holdUntil?: number;
  /** The master can forward an agent or a display. */
  readonly forwards: boolean;
}

/** How long an answer of the far end counts, in ms: the sleeper asks every 15 s. */
export const VERIFIED_FOR = 20_000;

/** A lane by its name. Nothing need be there yet. */
export function laneAt(dir: string, name: string): Lane {
  const base = `${dir}/${name}`;
  return {
    dir,
    name,
    socket: `${base}.sock`,
    log: `${base}.log`,
    record: `${base}.lane`,
    verified: `${base}.verified`,
    leases: `${base}.leases`,
    retired: `${base}.retired`,
  };
}

/**
 * A lane with a name that none has had: a master that was stopped for long would remove the socket of
 * a later one that bears its name.
 */
export function newLane(dir: string): Lane {
  const digits = crypto.getRandomValues(new Uint8Array(4));
  return laneAt(dir, Array.from(digits, (digit) => (digit % 36).toString(36)).join(""));
}

/** The lanes of an identity that have a record, open or retired. */
export function lanesOf(dir: string): Lane[] {
  return lanesAmong(dir, namesIn(dir));
}

/** Likewise, from the names in its directory. */
export function lanesAmong(dir: string, names: readonly string[]): Lane[] {
  return names.filter((name) => name.endsWith(".lane"))
    .map((name) => laneAt(dir, name.slice(0, -".lane".length)));
}

/** The identities in a state directory. */
export function identityDirs(stateDir: string): string[] {
  return namesIn(stateDir).filter((name) => /^[0-9a-f]{16}$/.test(name))
    .map((name) => `${stateDir}/${name}`);
}

/** The record of a lane; `undefined` where it is gone, or is none: no call uses such a lane, and the sleeper removes it. */
export function readRecord(lane: Lane): LaneRecord | undefined {
  const text = readText(lane.record);
  return text === undefined ? undefined : parseRecord(text);
}

/** Records are written whole, but a machine that loses its power may leave one empty or torn. */
function parseRecord(text: string): LaneRecord | undefined {
  let record: LaneRecord | null;
  try {
    record = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  // The pid is one that may be signalled.
  const whole = Number.isSafeInteger(record?.pid) && record!.pid > 1 && record!.maxSessions > 0;
  return whole ? record! : undefined;
}

/** Writes the record whole or not at all. */
export function writeRecord(lane: Lane, record: LaneRecord): void {
  const draft = `${lane.record}.${Deno.pid}`;
  Deno.writeTextFileSync(draft, JSON.stringify(record), { mode: 0o600 });
  Deno.renameSync(draft, lane.record);
}

/** Opens a new lane with this process's lease in it, so that it is never seen without one. */
export function openLane(lane: Lane, record: LaneRecord, lease: string): void {
  writeRecord(lane, record);
  const draft = `${lane.leases}.${Deno.pid}`;
  Deno.mkdirSync(draft, { mode: 0o700 });
  Deno.writeTextFileSync(`${draft}/${lease}`, "", { mode: 0o600 });
  Deno.renameSync(draft, lane.leases);
}

/** Whether the lane takes sessions. */
export function isOpen(lane: Lane): boolean {
  return exists(lane.leases);
}

/** Whether a lane has room for these leases, that of the call which asks among them. */
export function hasRoom(record: LaneRecord, leases: readonly string[], now: number): boolean {
  if (placesTaken(leases) > record.maxSessions) return false;
  // With no linger a lane is used only while somebody else is on it, or while it is held.
  return record.linger !== 0 || leases.length > 1 || (record.holdUntil ?? 0) > now;
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
  try {
    Deno.renameSync(lane.leases, lane.retired);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error; // Another call was faster.
  }
}

/** Removes all files of a lane whose master is gone. */
export function removeLane(lane: Lane): void {
  // Closed first, so that no lease is made meanwhile; and an ssh on its way finds no socket rather
  // than a dead one, of which it would complain.
  retire(lane);
  removeSocket(lane);
  for (const name of namesIn(lane.dir)) {
    if (name.startsWith(`${lane.name}.`)) removePath(`${lane.dir}/${name}`);
  }
}

/** Removes the socket of a master that does not do so itself. */
export function removeSocket(lane: Lane): void {
  removePath(lane.socket);
}

/** Notes that the far end has answered just now, and how long it took (ms). */
export function verify(lane: Lane, roundTrip: number, now: number): void {
  makeWay(lane.verified);
  using mark = Deno.openSync(lane.verified, { write: true, create: true, mode: 0o600 });
  // As long as the last one, so that nothing is cut off: ext4 flushes a file that was (4 ms).
  mark.writeSync(new TextEncoder().encode(`${roundTrip.toFixed(1).padStart(10)}\n`));
  mark.utimeSync(new Date(now), new Date(now + VERIFIED_FOR));
}

/**
 * Notes that the far end has answered just now, and about as fast as before: one call of the system in
 * place of five. False: there is no mark, and it makes none.
 */
export function renew(lane: Lane, now: number): boolean {
  try {
    Deno.utimeSync(lane.verified, new Date(now), new Date(now + VERIFIED_FOR));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

export function unverify(lane: Lane): void {
  removePath(lane.verified);
}

/** Whether the far end counts as alive at `now`. A mark too far ahead was made before the clock was set back. */
export function isVerified(lane: Lane, now: number): boolean {
  const until = statOf(lane.verified)?.mtime?.getTime() ?? 0;
  return until > now && until <= now + VERIFIED_FOR + 1000;
}

/** The last round trip to the far end in ms, where one is known. */
export function roundTripOf(lane: Lane): number | undefined {
  const text = readText(lane.verified);
  return text ? Number(text) || undefined : undefined;
}
