/** A lane in the sleeper's hands: held, asked after, and let go when its time is over. */
import { isMuxTrouble, pingDeadline } from "./health.ts";
import { namesIn, statOf } from "./gone.ts";
import {
  isOpen,
  type Lane,
  type LaneRecord,
  readRecord,
  unverify,
  verify,
  withdraw,
  writeRecord,
} from "./lane.ts";
import { sweepLeases } from "./lease.ts";
import { DeadlineExceeded, MuxConnection } from "./mux_client.ts";
import { births, type System } from "./system.ts";

type HeldSystem = Pick<System, "isAlive" | "now" | "run">;

/** How often the far end is asked, ms. */
const PING_EVERY = 15_000;

export class HeldLane {
  readonly lane: Lane;
  readonly #log: (line: string) => void;
  /** Keeps the master from counting down. */
  #hold?: MuxConnection;
  /** Pings have a connection of their own: one that is pending pauses it. */
  #pings?: MuxConnection;
  #record?: LaneRecord;
  #recordTime = 0;
  /** Steady clock, ms. */
  #idleSince = performance.now();
  #pingedAt = -Infinity;
  #pinging = false;

  constructor(lane: Lane, log: (line: string) => void) {
    this.lane = lane;
    this.#log = log;
  }

  /** Asks the far end at the next look, however lately it was asked. */
  doubt(): void {
    this.#pingedAt = -Infinity;
  }

  /** Looks after the lane once. "gone": its master is, and its files can go. */
  async lookAfter(system: HeldSystem): Promise<"here" | "gone"> {
    const record = this.#readRecord();
    if (!record) return "gone";
    if (!system.isAlive(record.pid)) {
      this.#log(`${record.destination}: master ${record.pid} is gone`);
      this.letGo();
      return "gone";
    }
    if (!isOpen(this.lane)) {
      // Retired, or withdrawn by us: its last sessions end it.
      this.letGo();
      await sweepLeases(this.lane, system);
      return "here";
    }
    if (!this.#hold && !await this.#take(record, system)) return "here";
    // The leases of sessions that came and went since the last look count too.
    if (namesIn(this.lane.leases).length > 0) this.#idleSince = performance.now();
    await sweepLeases(this.lane, system);
    if (this.#isOver(record, system) && withdraw(this.lane, system)) {
      this.#log(`${record.destination}: let go of master ${record.pid}`);
      this.letGo();
      return "here";
    }
    if (performance.now() - this.#pingedAt >= PING_EVERY) this.#ping(record, system);
    return "here";
  }

  /** Closes our connections; the master goes after its grace, once it is idle. */
  letGo(): void {
    this.#hold?.close();
    this.#pings?.close();
    this.#hold = this.#pings = undefined;
  }

  #readRecord(): LaneRecord | undefined {
    const time = statOf(this.lane.record)?.mtime?.getTime();
    if (time === undefined) return undefined;
    if (time !== this.#recordTime) this.#record = readRecord(this.lane);
    this.#recordTime = time;
    return this.#record;
  }

  async #take(record: LaneRecord, system: HeldSystem): Promise<boolean> {
    try {
      this.#hold = await MuxConnection.connect(this.lane.socket);
    } catch (error) {
      if (!isMuxTrouble(error)) throw error;
      // Stopped, or on its way out. Until it answers nobody should rely on it.
      unverify(this.lane);
      return false;
    }
    this.#hold.closed.then(() => this.#hold = undefined);
    this.#log(`${record.destination}: holding master ${record.pid}`);
    if (!record.birth) {
      const birth = (await births([record.pid], system)).get(record.pid);
      // As it is now: `--hold` may have written to it meanwhile.
      if (birth) writeRecord(this.lane, { ...readRecord(this.lane) ?? record, birth });
    }
    return true;
  }

  #isOver(record: LaneRecord, system: Pick<System, "now">): boolean {
    if (record.holdUntil !== undefined && system.now() < record.holdUntil) return false;
    return performance.now() - this.#idleSince >= (record.linger ?? Infinity) * 1000;
  }

  /** Asks the far end, and renews or withdraws the mark when it has answered or has not. */
  async #ping(record: LaneRecord, system: HeldSystem): Promise<void> {
    if (this.#pinging) return;
    this.#pinging = true;
    this.#pingedAt = performance.now();
    try {
      this.#pings ??= await MuxConnection.connect(this.lane.socket);
      const roundTrip = await this.#pings.ping({ deadline: pingDeadline(this.lane) });
      if (isOpen(this.lane)) verify(this.lane, roundTrip, system.now());
    } catch (error) {
      if (!isMuxTrouble(error)) throw error;
      unverify(this.lane);
      // After a mere delay the connection stays: a forward granted late must be taken back on it.
      if (!(error instanceof DeadlineExceeded)) this.#pings = undefined;
      this.#log(`${record.destination}: no answer (${(error as Error).name})`);
    } finally {
      this.#pinging = false;
    }
  }
}
