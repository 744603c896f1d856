/** Closes lanes, and ends masters. */
import { removePath } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { readMaster, retire } from "./lane.ts";
import type { Lane } from "./layout.ts";
import { liveLeases } from "./lease.ts";
import { isMuxTrouble, MuxConnection } from "./mux_client.ts";
import { isSameProcess } from "./process.ts";

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
    await endMaster(connection, pid, system, { hasBeenTold: true });
  } catch (error) {
    if (!isMuxTrouble(error)) throw error;
    removePath(lane.socket);
    if (end && master && await isSameProcess(master, system)) {
      system.kill(master.pid, "SIGTERM");
      system.kill(master.pid, "SIGCONT"); // A stopped process takes SIGTERM only once it continues.
    }
  }
}

/**
 * Ends a master and all its sessions, by force if necessary. While the connection to it is open, its pid
 * cannot belong to another process.
 *
 * @param options.hasBeenTold it has agreed to exit by itself
 */
export async function endMaster(
  connection: MuxConnection,
  pid: number,
  system: Pick<System, "kill">,
  options: { hasBeenTold?: boolean } = {},
): Promise<void> {
  if (options.hasBeenTold && await closes(connection)) return;
  system.kill(pid, "SIGTERM");
  if (await closes(connection)) return;
  system.kill(pid, "SIGKILL");
  await connection.closed;
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
