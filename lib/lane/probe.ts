/** What stands behind a control socket: the first question about a lane, asked of the path alone. */
import { DeadlineExceeded, MuxClosed, MuxConnection, MuxRefused } from "./mux_client.ts";
import { MuxProtocolError } from "./mux_protocol.ts";

/**
 * What stands behind a control socket's path: a master that answers, a socket that nobody listens
 * on any more, nothing at all, or something that is not ours to use and not ours to remove.
 */
export type Probe =
  | { kind: "alive"; pid: number }
  | { kind: "stale" }
  | { kind: "absent" }
  | { kind: "foreign"; reason: string };

/**
 * Finds out what stands behind a control socket. All of it is local: it says nothing of the network,
 * which is what `MuxConnection.ping` is for.
 *
 * @param options.deadline ms for everything together, 1000 unless given; what has not answered by
 * then is foreign
 */
export async function probe(socket: string, options: { deadline?: number } = {}): Promise<Probe> {
  const until = performance.now() + (options.deadline ?? 1000);
  try {
    return await probeOnce(socket, until);
  } catch (error) {
    if (!(error instanceof MuxClosed)) throw error;
  }
  // It took the connection and hung up: a master that was on its way out. By now it is gone, and the
  // second look says stale or absent; whoever hangs up twice is no master.
  try {
    return await probeOnce(socket, until);
  } catch (error) {
    if (error instanceof MuxClosed) return { kind: "foreign", reason: error.message };
    throw error;
  }
}

/** @throws {MuxClosed} when the other side hangs up */
async function probeOnce(socket: string, until: number): Promise<Probe> {
  try {
    // connect(2) refuses a plain file just as it refuses a stale socket, so the entry is looked at
    // first. Whether somebody listens only connecting can tell.
    const entry = await Deno.lstat(socket);
    if (!entry.isSocket) return { kind: "foreign", reason: "Not a socket" };
    if (entry.uid !== Deno.uid()) {
      return { kind: "foreign", reason: `Socket belongs to user ${entry.uid}` };
    }
    using connection = await MuxConnection.connect(socket, { deadline: until - performance.now() });
    return { kind: "alive", pid: await connection.alive({ deadline: until - performance.now() }) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { kind: "absent" };
    if (error instanceof Deno.errors.ConnectionRefused) return { kind: "stale" };
    if (
      error instanceof Deno.errors.PermissionDenied || error instanceof DeadlineExceeded ||
      error instanceof MuxProtocolError || error instanceof MuxRefused
    ) {
      return { kind: "foreign", reason: error.message };
    }
    throw error;
  }
}
