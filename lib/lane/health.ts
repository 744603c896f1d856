/**
 * Checks whether a lane is fit for a session, and closes one that is not. The alive check of a master is
 * local; only the ping reaches the server. A lane is also unfit once the agent has other keys than when the
 * lane logged in: another list may lead to another account.
 */
import { isDenied, readText, removePath, writeText } from "../os/files.ts";
import { realSystem, type System } from "../os/system.ts";
import { NoConnection, socketOwner } from "../os/unix_socket.ts";
import { AGENT_DEADLINE, agentKeys, type Agents, offeredKeys } from "../ssh/keys.ts";
import {
  isOpen,
  isVerified,
  type LaneRecord,
  type Master,
  readMaster,
  readRecord,
  retire,
  roundTripOf,
  verify,
} from "./lane.ts";
import { type Lane, lanesOf } from "./layout.ts";
import { type Lease, liveLeases } from "./lease.ts";
import { DeadlineExceeded, MuxClosed, MuxConnection, MuxRefused } from "./mux_client.ts";
import { MuxProtocolError } from "./mux_protocol.ts";

/** How long a master may take to answer without asking the server, ms. */
const LOCAL_DEADLINE = 1000;
/** How long the far end may take, ms, or four times the last round trip if that is longer. */
const PING_DEADLINE = 3000;
/** How long a master may take to exit, ms, before it is killed: it may hang if its link is dead. */
const END_DEADLINE = 300;

/**
 * "late": the far end has not answered in time, but a session is open on the lane, and the ping may be
 * queued behind its data. Such a lane is left alone.
 */
export type Fitness = "fit" | "late" | "dead";

/**
 * Whether the far end of a lane answers, or has answered lately. Renews the mark. Does not throw for a dead
 * lane.
 *
 * @param options.caller the process that wants to use the lane; its lease is not a session yet
 */
export async function fitnessOf(
  lane: Lane,
  system: Pick<System, "catches" | "isAlive" | "now">,
  options: { caller?: number } = {},
): Promise<Fitness> {
  try {
    using connection = await MuxConnection.connect(lane.socket, { deadline: LOCAL_DEADLINE });
    const pid = await connection.alive({ deadline: LOCAL_DEADLINE });
    if (pid !== (readMaster(lane)?.pid ?? pid)) return "dead";
    if (isVerified(lane, system.now())) return "fit";
    return await askFarEnd(lane, connection, system, options.caller);
  } catch (error) {
    if (isMuxTrouble(error)) return "dead";
    throw error;
  }
}

async function askFarEnd(
  lane: Lane,
  connection: MuxConnection,
  system: Pick<System, "catches" | "isAlive" | "now">,
  caller?: number,
): Promise<Fitness> {
  const deadline = pingDeadline(roundTripOf(lane));
  try {
    verify(lane, await connection.ping({ deadline }), system.now());
    return "fit";
  } catch (error) {
    if (!(error instanceof DeadlineExceeded)) throw error;
    const others = liveLeases(lane, system).filter(({ pid }) => pid !== caller);
    return isNoneOpen(others, system) ? "dead" : "late";
  }
}

/** Returns how long to wait for the far end, ms, given the last round trip (ms). */
export function pingDeadline(roundTrip = 0): number {
  return Math.max(PING_DEADLINE, 4 * roundTrip);
}

/**
 * Whether it is certain that none of these sessions is open yet, so that none of their commands was sent:
 * until then ssh catches no signals (mux_client_request_session() in mux.c). `undefined` if unknown.
 */
export function isNoneOpen(
  leases: readonly Lease[],
  system: Pick<System, "catches">,
): boolean | undefined {
  const open = leases.map(({ pid }) => system.catches(pid, "SIGTERM"));
  if (open.includes(true)) return false;
  return open.includes(undefined) ? undefined : true;
}

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
    using connection = await MuxConnection.connect(lane.socket, { deadline: LOCAL_DEADLINE });
    if (!end) return await connection.stopListening();
    const pid = await connection.alive({ deadline: LOCAL_DEADLINE });
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

/** Whether a recorded master is alive, and its pid is not another process's by now. */
export async function isSameProcess(
  master: Master,
  system: Pick<System, "births" | "isAlive">,
): Promise<boolean> {
  if (!system.isAlive(master.pid)) return false;
  return isBornAs(master, (await system.births([master.pid])).get(master.pid));
}

/** Whether a birth can be that of the recorded process; if the system tells no births, the pid must do. */
export function isBornAs(master: Master, birth: string | undefined): boolean {
  return birth === undefined || master.birth === undefined || birth === master.birth;
}

/** Whether an error says something about the master, and not about us. */
export function isMuxTrouble(error: unknown): boolean {
  return error instanceof DeadlineExceeded || error instanceof MuxClosed ||
    error instanceof MuxRefused || error instanceof MuxProtocolError ||
    error instanceof NoConnection;
}

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
 * Finds out what is behind a control socket. It is a local check and says nothing about the network; use
 * `MuxConnection.ping` for that.
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
    const owner = socketOwner(socket);
    if (owner === "absent") return { kind: "absent" };
    if (owner === "other") return { kind: "foreign", reason: "Not a socket" };
    if (owner !== realSystem.uid()) {
      return { kind: "foreign", reason: `Socket belongs to user ${owner}` };
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

type CheckSystem = Pick<System, "births" | "catches" | "isAlive" | "kill" | "now">;

/**
 * Pings the far end of each open lane of an identity, unless it has answered lately, and asks its agent.
 * Closes the lanes that do not answer, and those whose agent has other keys now. Returns the exit status 0.
 */
export async function checkLanes(dir: string, system: CheckSystem): Promise<number> {
  const open = lanesOf(dir).filter(isOpen);
  await Promise.all(open.map(async (lane) => {
    if (await fitnessOf(lane, system) === "dead") await closeLane(lane, system);
  }));
  await checkAgents(dir, system);
  return 0;
}

/** Closes the lanes whose agent has other keys now than when they logged in. */
export async function checkAgents(dir: string, system: CheckSystem): Promise<void> {
  for (const lane of lanesOf(dir).filter(isOpen)) {
    if (await isOutdated(lane)) await closeLane(lane, system);
  }
}

async function isOutdated(lane: Lane): Promise<boolean> {
  const record = readRecord(lane);
  if (!record?.agent) return false;
  const keys = await agentKeys(record.agent, { deadline: AGENT_DEADLINE });
  if (keys === "silent") return false;
  return hasOtherKeys(record, notedKeys(lane), keys === "absent" ? [] : keys);
}

/**
 * Returns the keys that the agent had when a lane logged in, as "type base64", in its order; `undefined` if
 * they were not noted. The launcher notes them with `ssh-add -L`, whose lines end in a comment.
 */
function notedKeys(lane: Lane): string[] | undefined {
  const text = readText(lane.agent);
  // If there is no key, ssh-add prints a sentence.
  return text?.match(/^[a-z0-9@.-]+-[a-z0-9@.-]+ [A-Za-z0-9+/=]{16,}/gm) ??
    (text === undefined ? undefined : []);
}

/** Whether ssh would offer other keys now than when the lane logged in. */
function hasOtherKeys(
  { offers }: Pick<LaneRecord, "offers">,
  noted: readonly string[] | undefined,
  keys: readonly string[],
): boolean {
  if (noted === undefined) return false;
  const rule = offers ?? { identitiesOnly: false, publicKeys: [] };
  return offeredKeys(noted, rule).join("\n") !== offeredKeys(keys, rule).join("\n");
}

/** The agent of a lane: the keys that its master may have used, and those that are in it now. */
export class LaneAgent {
  readonly #lane: Lane;
  readonly #record: Pick<LaneRecord, "agent" | "offers">;
  readonly #agents: Agents;
  /** The former, once known. */
  #noted?: readonly string[];

  constructor(lane: Lane, record: Pick<LaneRecord, "agent" | "offers">, agents: Agents) {
    this.#lane = lane;
    this.#record = record;
    this.#agents = agents;
  }

  /** Notes its keys if the call that logged in did not: the login may have added one (AddKeysToAgent). */
  async note(): Promise<void> {
    const { agent } = this.#record;
    if (agent === null) return;
    this.#noted = notedKeys(this.#lane);
    if (this.#noted) return this.#agents.trust(agent); // It answered ssh-add.
    this.#noted = await this.#agents.keysOf(agent);
    if (this.#noted) writeText(this.#lane.agent, this.#noted.map((key) => `${key}\n`).join(""));
  }

  /** Whether it has other keys now. */
  async hasChanged(): Promise<boolean> {
    const { agent } = this.#record;
    const keys = agent === null ? undefined : await this.#agents.keysOf(agent);
    return keys !== undefined && hasOtherKeys(this.#record, this.#noted, keys);
  }
}
