/**
 * Is a lane fit for a session, and how one that is not comes to its end. The alive check of a master
 * is local; only the ping tells of the far end.
 */
import { isAbsence } from "../os/files.ts";
import { DeadlineExceeded, MuxClosed, MuxConnection, MuxRefused } from "./mux_client.ts";
import { MuxProtocolError } from "./mux_protocol.ts";
import {
  isVerified,
  type Lane,
  readRecord,
  removeSocket,
  retire,
  roundTripOf,
  verify,
} from "./lane.ts";
import { liveLeases } from "./lease.ts";
import { births, type System } from "../os/system.ts";

/** How long a master may take to answer what it answers by itself, ms. */
const LOCAL_DEADLINE = 1000;
/** How long the far end may take, ms; four times the last round trip where that is longer. */
const PING_DEADLINE = 3000;

/** Whether the far end of a lane answers, or has done so lately. Renews the mark. Never throws for a dead lane. */
export async function isFit(lane: Lane, system: Pick<System, "now">): Promise<boolean> {
  try {
    using connection = await MuxConnection.connect(lane.socket, { deadline: LOCAL_DEADLINE });
    if (await connection.alive({ deadline: LOCAL_DEADLINE }) !== readRecord(lane)?.pid) {
      return false;
    }
    if (!isVerified(lane, system.now())) {
      verify(lane, await connection.ping({ deadline: pingDeadline(lane) }), system.now());
    }
    return true;
  } catch (error) {
    if (isMuxTrouble(error)) return false;
    throw error;
  }
}

/** How long to wait for the far end of a lane, ms. */
export function pingDeadline(lane: Lane): number {
  return Math.max(PING_DEADLINE, 4 * (roundTripOf(lane) ?? 0));
}

/**
 * Closes a lane: no call finds it any more, the sessions on it live on, and its master goes with the
 * last of them, or at once where there is none. With `now` the sessions end too.
 */
export async function closeLane(
  lane: Lane,
  system: Pick<System, "isAlive" | "kill" | "run">,
  options: { now?: boolean } = {},
): Promise<void> {
  retire(lane);
  const end = options.now || liveLeases(lane, system).length === 0;
  try {
    using connection = await MuxConnection.connect(lane.socket, { deadline: LOCAL_DEADLINE });
    if (end) await connection.terminate();
    else await connection.stopListening();
  } catch (error) {
    if (!isMuxTrouble(error)) throw error;
    removeSocket(lane);
    if (end) await killMaster(lane, system);
  }
}

/** Ends a master that does not listen to us, once it is known to be the process that was recorded. */
async function killMaster(lane: Lane, system: Pick<System, "kill" | "run">): Promise<void> {
  const record = readRecord(lane);
  if (!record?.birth) return;
  const birth = (await births([record.pid], system)).get(record.pid);
  if (birth !== record.birth) return;
  system.kill(record.pid, "SIGTERM");
  system.kill(record.pid, "SIGCONT"); // A stopped one takes SIGTERM only when it goes on.
}

/** Errors that say something of the master and not of us. */
export function isMuxTrouble(error: unknown): boolean {
  return error instanceof DeadlineExceeded || error instanceof MuxClosed ||
    error instanceof MuxRefused || error instanceof MuxProtocolError ||
    error instanceof Deno.errors.ConnectionRefused || isAbsence(error);
}
