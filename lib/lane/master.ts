/** Asks connection masters who they are, and ends them. */
import { removePath } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { readMaster, retire } from "./lane.ts";
import type { Lane } from "./layout.ts";
import { liveLeases } from "./lease.ts";
import { MuxConnection } from "./mux_client.ts";
import { isMuxTrouble } from "./mux_protocol.ts";
import { isSameProcess } from "./process.ts";

/**
 * Returns the pid of the master at a control socket: "gone" if nobody listens there, "silent" if whoever does
 * is none that answers within `deadline` (ms), or is exiting. It says nothing of the network.
 */
export async function masterAt(
  socket: string,
  deadline = 1000,
): Promise<number | "silent" | "gone"> {
  const until = performance.now() + deadline;
  try {
    using connection = await MuxConnection.connect(socket, deadline);
    return await connection.alive(until - performance.now());
  } catch (error) {
    if (!isMuxTrouble(error)) throw error;
    return error.kind === "absent" ? "gone" : "silent";
  }
}

/** How long a master may take to exit, ms, before it is killed: it may hang if its link is dead. */
const END_DEADLINE = 300;

/**
 * Closes a lane: no call finds it any more, its sessions stay, and its master exits with the last of them,
 * or at once if there are none. With `now` it ends the sessions too.
 */
export async function closeLane(
  lane: Lane,
  system: Pick<System, "births" | "isAlive" | "kill">,
  options: { now?: boolean } = {},
): Promise<void> {
  const master = readMaster(lane);
  retire(lane);
  const end = options.now || liveLeases(lane, system).length === 0;
  try {
    using connection = await MuxConnection.connect(lane.socket);
    if (!end) return await connection.stopListening();
    const pid = await connection.alive();
    await connection.terminate();
    if (!await closes(connection)) await endMaster(connection, pid, system);
  } catch (error) {
    if (!isMuxTrouble(error)) throw error;
    removePath(lane.socket);
    if (end && master && await isSameProcess(master, system)) endStopped(master.pid, system);
  }
}

/**
 * Ends a master and all its sessions, by force if necessary. While the connection to it is open, its pid
 * cannot belong to another process.
 */
export async function endMaster(
  connection: MuxConnection,
  pid: number,
  system: Pick<System, "kill">,
): Promise<void> {
  system.kill(pid, "SIGTERM");
  if (await closes(connection)) return;
  system.kill(pid, "SIGKILL");
  await connection.closed;
}

/** Ends a process that may be stopped: it takes SIGTERM only once it continues. */
export function endStopped(pid: number, system: Pick<System, "kill">): void {
  system.kill(pid, "SIGTERM");
  system.kill(pid, "SIGCONT");
}

/** Whether a connection closes within END_DEADLINE. */
async function closes(connection: MuxConnection): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(resolve, END_DEADLINE, false);
  try {
    return await Promise.race([connection.closed.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
