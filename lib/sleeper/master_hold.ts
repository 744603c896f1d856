/** The sleeper's hold on a master: a control connection, which keeps ControlPersist from counting down. */
import { readMaster, VERIFIED_FOR, verify } from "../lane/lane.ts";
import { type Lane, laneAt } from "../lane/layout.ts";
import { endMaster, masterAt } from "../lane/master.ts";
import { MuxConnection } from "../lane/mux_client.ts";
import { isMuxTrouble } from "../lane/mux_protocol.ts";
import { isSameProcess, type Process, processOf, writeProcess } from "../lane/process.ts";
import { startOf } from "../lane/record.ts";
import { createDir, exists } from "../os/files.ts";
import type { System } from "../os/system.ts";

type HoldSystem = Pick<System, "births" | "isAlive" | "kill" | "localAddress" | "now">;

export class MasterHold {
  readonly #lane: Lane;
  readonly #system: HoldSystem;
  readonly #onEnd: () => void;
  #connection?: MuxConnection;
  #master?: Process;
  #address?: string;

  /** @param onEnd the master has exited: it has closed a connection that we had not let go */
  constructor(lane: Lane, system: HoldSystem, onEnd: () => void) {
    this.#lane = lane;
    this.#system = system;
    this.#onEnd = onEnd;
  }

  /** Our connection to the master, while we hold it. */
  get connection(): MuxConnection | undefined {
    return this.#connection;
  }

  get pid(): number | undefined {
    return this.#master?.pid;
  }

  /** The local address of the master's connection to its server, if the system says. */
  get address(): string | undefined {
    return this.#address;
  }

  /** Connects, and notes the master in the lane's files. Throws as {@linkcode MuxConnection} does. */
  async take(): Promise<void> {
    const connection = await MuxConnection.connect(this.#lane.socket);
    try {
      await this.#note(await connection.alive());
    } catch (error) {
      connection.close();
      throw error;
    }
    this.#connection = connection;
    connection.closed.then(() => {
      if (this.#connection !== connection) return;
      this.#connection = undefined;
      this.#onEnd();
    });
  }

  async #note(pid: number): Promise<void> {
    this.#master = await processOf(pid, this.#system);
    this.#address = this.#system.localAddress(pid);
    // It has just logged in and counts as verified, for as long as it would without us.
    const start = startOf(this.#lane) ?? 0;
    if (!exists(this.#lane.master) && start + VERIFIED_FOR > this.#system.now()) {
      verify(this.#lane, 0, start);
    }
    writeProcess(this.#lane.master, this.#master);
    // The call that opens the next lane then starts no mkdir.
    const { dir, name } = this.#lane;
    const next = Number(name) + 1;
    if (!exists(`${dir}/starter.${next}`)) createDir(laneAt(dir, `${next}`).leases);
  }

  /** Whether the master, which is not held, has exited, rather than only stopped answering. */
  async isGone(isInUse: boolean): Promise<boolean> {
    this.#master ??= readMaster(this.#lane);
    if (this.#master) return !await isSameProcess(this.#master, this.#system);
    if (isInUse || !exists(this.#lane.socket)) return !isInUse;
    const found = await masterAt(this.#lane.socket);
    // Note it, so as not to ask again: every client restarts the master's ControlPersist.
    if (typeof found === "number") this.#master = await processOf(found, this.#system);
    return found === "gone";
  }

  /** Ends the master and all sessions on it. */
  async end(): Promise<void> {
    if (this.#connection && this.pid) await endMaster(this.#connection, this.pid, this.#system);
  }

  /** Lets the master go: it exits after its grace, once it is idle. */
  close(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.close();
  }

  /** Makes the master stop listening, and lets it go: it exits with its last session. */
  async leave(): Promise<void> {
    try {
      await this.#connection?.stopListening();
    } catch (error) {
      if (!isMuxTrouble(error)) throw error;
    } finally {
      this.close();
    }
  }
}
