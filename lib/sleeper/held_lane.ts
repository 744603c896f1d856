/** A lane in the sleeper's hands: held, asked after, and let go when its time is over. */
import type { BirthRegister } from "../os/birth_register.ts";
import { cutLog } from "../os/log.ts";
import { isMuxTrouble, pingDeadline } from "../lane/health.ts";
import {
  type Lane,
  type LaneRecord,
  readRecord,
  renew,
  retire,
  unverify,
  verify,
  withdraw,
  writeRecord,
} from "../lane/lane.ts";
import { LeaseWatch } from "../lane/lease.ts";
import { DeadlineExceeded, MuxConnection } from "../lane/mux_client.ts";
import { probe } from "../lane/probe.ts";
import type { System } from "../os/system.ts";

export type HeldSystem = Pick<System, "isAlive" | "kill" | "now" | "run">;

/** How often the far end is asked, ms. */
const PING_EVERY = 15_000;
/**
 * A lane on which no session has begun for so long is asked no more, ms: the next call will do it. A
 * ping costs the master some 300 bytes for good, since mux.c and channels.c keep every forward; and one
 * that is under way when the link is lost makes TCP give up after a quarter of an hour, where an idle
 * session on a connection of its own would live on.
 */
const PING_WHILE = { idle: 10 * 60_000, busy: 60_000 };

/** What a lane needs of the sleeper. */
export interface Hands {
  readonly births: BirthRegister;
  log(line: string): void;
  /** Removes the plans that lead to a lane. */
  forgetPlans(lane: Lane): void;
}

export class HeldLane {
  readonly lane: Lane;
  readonly #hands: Hands;
  readonly #leases: LeaseWatch;
  /** What the mark has, and how long the far end may take with it, ms. */
  #roundTrip = Infinity;
  #deadline: number;
  /** Keeps the master from counting down. */
  #hold?: MuxConnection;
  /** Pings have a connection of their own: one that is pending pauses it. */
  #pings?: MuxConnection;
  #record?: LaneRecord;
  #files?: readonly string[];
  /** The recorded pid was seen to be the master's, and lives since. */
  #isKnown = false;
  #isBusy = false;
  // Steady clock, ms: the first look without a session, when one was last seen to begin, the last ping.
  #idleSince = performance.now();
  #begunAt = performance.now();
  #pingedAt = -Infinity;
  #isPinging = false;

  constructor(lane: Lane, hands: Hands) {
    this.lane = lane;
    this.#hands = hands;
    this.#leases = new LeaseWatch(lane, hands.births);
    this.#deadline = pingDeadline(lane);
  }

  /** Takes nothing for granted any more: withdraws the mark, and asks at the next look. */
  doubt(): void {
    unverify(this.lane);
    this.#leases.doubt();
    this.#isKnown = false;
    this.#pingedAt = -Infinity;
  }

  /**
   * Looks after the lane once. "gone": its master is, and its files can go. `files` are the names in
   * the directory of its identity, in another array when that has changed.
   */
  async lookAfter(files: readonly string[], system: HeldSystem): Promise<"here" | "gone"> {
    if (files !== this.#files) this.#record = readRecord(this.lane);
    this.#files = files;
    const record = this.#record;
    if (!record || !await this.#isMaster(record, system)) {
      this.#hands.log(`${record?.destination ?? this.lane.name}: master ${record?.pid} is gone`);
      this.letGo();
      return "gone";
    }
    const { open, busy, used, begun } = await this.#leases.sweep(system);
    this.#isBusy = busy;
    if (busy) cutLog(this.lane.log);
    // Retired, or withdrawn by us: its last sessions end it.
    if (!open) return await this.#leave();
    const now = performance.now();
    if (used) this.#idleSince = now;
    if (begun) this.#begunAt = now;
    if (!this.#hold && !await this.#take(record)) return "here";
    if (this.dueIn(system) <= 0) this.#withdraw(record, system);
    else if (this.#isPingDue()) this.#ping(record, system);
    return "here";
  }

  /** When the lane is to be let go if nobody uses it until then, in ms from now. */
  dueIn(system: Pick<System, "now">): number {
    if (!this.#hold || !this.#record || this.#isBusy) return Infinity;
    const linger = (this.#record.linger ?? Infinity) * 1000;
    return Math.max(
      this.#idleSince + linger - performance.now(),
      (this.#record.holdUntil ?? 0) - system.now(),
    );
  }

  /** Closes our connections; the master goes after its grace, once it is idle. */
  letGo(): void {
    this.#hold?.close();
    this.#pings?.close();
    this.#hold = this.#pings = undefined;
  }

  /** Whether the recorded process lives and is the master; see LeaseWatch on pids. */
  async #isMaster(record: LaneRecord, system: HeldSystem): Promise<boolean> {
    if (this.#hold && this.#isKnown) return true; // It would have closed our connection.
    if (!system.isAlive(record.pid)) return false;
    if (!this.#isKnown && record.birth) {
      const birth = (await this.#hands.births.of([record.pid])).get(record.pid);
      if (birth && birth !== record.birth) return false;
      this.#isKnown = true;
    }
    return true;
  }

  /** Leaves a closed lane alone. One that was closed before we came may have no master any more. */
  async #leave(): Promise<"here" | "gone"> {
    this.letGo();
    if (this.#isKnown || this.#isBusy) return "here";
    const { kind } = await probe(this.lane.socket);
    this.#isKnown = true; // Asked once: each client that it sees makes the master stay anew.
    return kind === "absent" || kind === "stale" ? "gone" : "here";
  }

  async #take(record: LaneRecord): Promise<boolean> {
    let hold: MuxConnection;
    try {
      hold = await MuxConnection.connect(this.lane.socket);
    } catch (error) {
      if (!isMuxTrouble(error)) throw error;
      this.#hands.log(`${record.destination}: master ${record.pid} not reached (${nameOf(error)})`);
      if (isUnreachable(error)) retire(this.lane);
      // Stopped, or on its way out: until it answers nobody should rely on it.
      else unverify(this.lane);
      return false;
    }
    this.#hold = hold;
    hold.closed.then(() => {
      if (this.#hold !== hold) return;
      this.#hold = undefined;
      // The master has died: a launcher would rely on the mark until the next look, and ssh complain.
      unverify(this.lane);
    });
    this.#hands.log(`${record.destination}: holding master ${record.pid}`);
    if (!record.birth) await this.#noteBirth(record.pid);
    return true;
  }

  async #noteBirth(pid: number): Promise<void> {
    const birth = (await this.#hands.births.of([pid])).get(pid);
    const record = readRecord(this.lane); // As it is now: `--hold` may have written to it meanwhile.
    if (birth && record) writeRecord(this.lane, { ...record, birth });
    this.#isKnown = true;
  }

  #withdraw(record: LaneRecord, system: HeldSystem): void {
    if (withdraw(this.lane, system)) {
      this.#hands.log(`${record.destination}: let go of master ${record.pid}`);
      this.letGo();
    } else {
      this.#idleSince = performance.now(); // A session has begun just now.
    }
  }

  #isPingDue(): boolean {
    const now = performance.now();
    return !this.#isPinging && now - this.#pingedAt >= PING_EVERY &&
      now - this.#begunAt < PING_WHILE[this.#isBusy ? "busy" : "idle"];
  }

  /** Notes an answer of the far end, and how long it took (ms), in as few steps as will do. */
  #verify(roundTrip: number, now: number): void {
    const isAlike = roundTrip < 2 * this.#roundTrip && this.#roundTrip < 2 * roundTrip;
    if (isAlike && renew(this.lane, now)) return;
    verify(this.lane, roundTrip, now);
    this.#roundTrip = roundTrip;
    this.#deadline = pingDeadline(this.lane);
  }

  /** Asks the far end, and renews or withdraws the mark when it has answered or has not. */
  async #ping(record: LaneRecord, system: HeldSystem): Promise<void> {
    this.#isPinging = true;
    this.#pingedAt = performance.now();
    try {
      const pings = this.#pings ?? await MuxConnection.connect(this.lane.socket);
      if (!this.#hold) return pings.close(); // Let go meanwhile.
      this.#pings = pings;
      this.#verify(await pings.ping({ deadline: this.#deadline }), system.now());
    } catch (error) {
      if (!isMuxTrouble(error)) throw error;
      unverify(this.lane);
      // After a mere delay the connection stays: a forward granted late must be taken back on it.
      if (!(error instanceof DeadlineExceeded)) this.#pings = undefined;
      if (this.#hold) this.#hands.log(`${record.destination}: no answer (${nameOf(error)})`);
    } finally {
      this.#isPinging = false;
    }
  }
}

/** Nobody listens, and on this socket nobody will: its name is used once. */
function isUnreachable(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused;
}

function nameOf(error: unknown): string {
  return (error as Error).name;
}
