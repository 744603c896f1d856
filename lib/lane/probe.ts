/** Finds out what is behind a control socket. A local check, which says nothing about the network. */
import { isDenied, linkStatOf } from "../os/files.ts";
import { realSystem } from "../os/system.ts";
import { NoConnection } from "../os/unix_socket.ts";
import { isMuxTrouble, MuxClosed, MuxConnection } from "./mux_client.ts";

/**
 * What is at a control socket's path: a master that answers, a socket on which nobody listens any more,
 * nothing at all, or something that is not ours to use or to remove.
 */
export type Probe =
  | { kind: "alive"; pid: number }
  | { kind: "stale" }
  | { kind: "absent" }
  | { kind: "foreign"; reason: string };

/**
 * Connects to a control socket and asks who is there.
 *
 * @param options.deadline ms for everything together, 1000 by default; what has not answered by then is
 * foreign
 */
export async function probe(socket: string, options: { deadline?: number } = {}): Promise<Probe> {
  const until = performance.now() + (options.deadline ?? 1000);
  try {
    return await probeOnce(socket, until);
  } catch (error) {
    if (!(error instanceof MuxClosed)) throw error;
  }
  // It accepted the connection and hung up, as a master does that is exiting. By now it is gone, and a
  // second try says stale or absent; what hangs up twice is no master.
  try {
    return await probeOnce(socket, until);
  } catch (error) {
    if (error instanceof MuxClosed) return { kind: "foreign", reason: error.message };
    throw error;
  }
}

/** @throws {MuxClosed} if the other side hangs up */
async function probeOnce(socket: string, until: number): Promise<Probe> {
  try {
    // connect(2) refuses a plain file as it refuses a stale socket, so we look at the entry first. Only
    // connecting can tell whether anybody listens.
    const info = linkStatOf(socket);
    if (!info) return { kind: "absent" };
    if (!info.isSocket) return { kind: "foreign", reason: "Not a socket" };
    if (info.uid !== realSystem.uid()) {
      return { kind: "foreign", reason: `Socket belongs to user ${info.uid}` };
    }
    using connection = await MuxConnection.connect(socket, { deadline: until - performance.now() });
    return { kind: "alive", pid: await connection.alive({ deadline: until - performance.now() }) };
  } catch (error) {
    if (error instanceof NoConnection) {
      return { kind: error.why === "absent" ? "absent" : "stale" };
    }
    if (error instanceof MuxClosed || !(isMuxTrouble(error) || isDenied(error))) throw error;
    return { kind: "foreign", reason: (error as Error).message };
  }
}
