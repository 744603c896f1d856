/** A lane that the sleeper holds: it keeps the master, pings the far end, and lets go after the linger. */
import { FirstSession } from "../lane/direct.ts";
import { hasForwards, takeBackForwards } from "../lane/forwards.ts";
import { endMaster, isMuxTrouble, isNoneOpen, isSameProcess, LaneAgent } from "../lane/health.ts";
import {
  keptUntil,
  type LaneRecord,
  type Master,
  readMaster,
  removeLane,
  retire,
  startOf,
  unverify,
  VERIFIED_FOR,
  verify,
  withdraw,
  writeMaster,
} from "../lane/lane.ts";
import type { Lane } from "../lane/layout.ts";
import { LeaseWatch, liveLeases, type SeenLease, type Sweep } from "../lane/lease.ts";
import { MuxConnection } from "../lane/mux_client.ts";
import { cutLog, exists } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { NoConnection } from "../os/unix_socket.ts";
import type { Agents } from "../ssh/keys.ts";
import { FarEnd } from "./far_end.ts";

export type HeldSystem = Pick<
  System,
  "births" | "catches" | "isAlive" | "kill" | "now" | "steady"
>;

/** What a lane needs from the sleeper. */
export interface Hands {
  readonly system: HeldSystem;
  readonly agents: Agents;
  log(line: string): void;
  /** Makes the sleeper look after its lanes at once. */
  wake(): void;
}

/** The time between two pings, ms. */
const PING_EVERY = 15_000;
/**
 * A lane on which no session has begun for this long, ms, is not in use any more and not pinged: the next
 * call does it. Each ping costs the master about 300 bytes for good, since mux.c and channels.c keep every
 * forward.
 */
const IN_USE = 10 * 60_000;
/** How long a session may take to open, ms; after that it has opened or failed. */
const OPENS_WITHIN = 30_000;
/** An answer covers the leases that were at least this old when the ping was sent, ms. */
const SETTLED_AFTER = 1000;
/** How late an answer may be, ms, while sessions are open on the lane: a large upload delays it. */
const PATIENCE = 60_000;

export class HeldLane {
  readonly lane: Lane;
  readonly #record: LaneRecord;
  readonly #hands: Hands;
  readonly #system: HeldSystem;
  readonly #leases: LeaseWatch;
  readonly #farEnd: FarEnd;
  readonly #agent: LaneAgent;
  readonly #first: FirstSession;
  /** Keeps the master from counting down. */
  #hold?: MuxConnection;
  #master?: Master;
  #isInDoubt = false;
  #isLeft = false;
  #isEnding = false;
  #live: readonly SeenLease[] = [];
  #keptUntil = 0;
  // Steady clock, ms: when a lease was last seen, and when a new one was last seen.
  #usedAt: number;
  #begunAt: number;
  #fault?: string;

  constructor(lane: Lane, record: LaneRecord, hands: Hands) {
    this.lane = lane;
    this.#record = record;
    this.#hands = hands;
    this.#system = hands.system;
    this.#leases = new LeaseWatch(lane);
    this.#farEnd = new FarEnd(lane, hands.system);
    this.#agent = new LaneAgent(lane, record, hands.agents);
    this.#first = new FirstSession(lane, hands.system);
    this.#usedAt = this.#begunAt = hands.system.steady();
  }

  /** Withdraws the mark, and pings at the next look. */
  doubt(): void {
    this.#isInDoubt = true;
    this.#leases.doubt();
    this.#unverify();
  }

  /**
   * Looks after the lane once. Returns "gone" if its master has exited and its files are removed. A fault
   * concerns this lane alone: it is logged, and the lane is unverified until all is well again.
   *
   * @param isCalled a call may have taken a lease since the last look
   */
  async lookAfter(isCalled: boolean): Promise<"here" | "gone"> {
    try {
      return await this.#look(isCalled);
    } catch (error) {
      this.#fail(error);
      return "here";
    }
  }

  /** Returns when to look after it next, in ms; Infinity until a call comes. */
  dueIn(look: number): number {
    const isAtWork = !this.#hold || this.#live.length > 0 || this.#isInUse();
    return isAtWork ? look : Math.max(0, this.#idleFor());
  }

  /** Closes our connections; the master exits after its grace, once it is idle. */
  letGo(): void {
    this.#isLeft = true;
    this.#farEnd.close();
    this.#hold?.close();
    this.#hold = undefined;
  }

  async #look(isCalled: boolean): Promise<"here" | "gone"> {
    if (this.#isEnding && this.#hold) return "here";
    const isRetired = await this.#hasOtherKeys();
    if (!isCalled && !isRetired && this.#isQuiet()) return "here";
    const sweep = await this.#leases.sweep(this.#system);
    this.#note(sweep);
    this.#first.note(sweep);
    this.#keptUntil = keptUntil(this.lane);
    if (!this.#hold && await this.#isGone(sweep)) return this.#clear(sweep);
    if (sweep.isOpen && !this.#hold && !await this.#take()) return "here";
    if (this.#hold) await takeBackForwards(this.lane, this.#hold);
    if (!sweep.isOpen) {
      // Nobody listens after that, so forwards must be cancelled first.
      if (!this.#hold || !hasForwards(this.lane)) await this.#leave();
      return "here";
    }
    if (this.#live.length > 0) cutLog(this.lane.log);
    if (this.#hasRefused()) {
      this.#retire("the server refuses more sessions");
      return "here";
    }
    this.#first.noteAlive();
    this.#judge();
    if (this.#live.length === 0 && this.#idleFor() <= 0) await this.#withdraw();
    else if (this.#isPingDue() || this.#isUnproven()) this.#ask();
    this.#fault = undefined;
    return "here";
  }

  /** Whether a look would find nothing to do. */
  #isQuiet(): boolean {
    if (!this.#hold || this.#live.length > 0 || this.#idleFor() <= 0) return false;
    return !this.#isPingDue() && !this.#first.isOpen;
  }

  #note({ live, begun, ended }: Sweep): void {
    const now = this.#system.steady();
    this.#live = live.filter(({ kind }) => kind !== "waiting");
    if (live.length > 0 || begun > 0 || ended.length > 0) this.#usedAt = now;
    if (begun > 0) this.#begunAt = now;
  }

  /** Whether a session has begun within the last minutes: calls may rely on the mark. */
  #isInUse(): boolean {
    return this.#system.steady() - this.#begunAt < IN_USE;
  }

  /** Returns how much longer the lane stays if nobody uses it, ms. */
  #idleFor(): number {
    const linger = (this.#record.linger ?? Infinity) * 1000;
    return Math.max(
      this.#usedAt + linger - this.#system.steady(),
      this.#keptUntil - this.#system.now(),
    );
  }

  /** Holds the master. Returns false if it is gone. */
  async #take(): Promise<boolean> {
    let hold: MuxConnection | undefined;
    try {
      hold = await MuxConnection.connect(this.lane.socket);
      await this.#noteMaster(await hold.alive());
      await this.#agent.note();
    } catch (error) {
      hold?.close();
      if (!isMuxTrouble(error)) throw error;
      // Nobody listens, and nobody will: a socket's name is used once.
      if (error instanceof NoConnection) return this.#retire("nobody listens"), false;
      throw error; // It is stopped or exiting: no call should rely on it until it answers.
    }
    this.#hold = hold;
    hold.closed.then(() => this.#isCutOff(hold));
    this.#hands.log(`${this.#record.destination}: holding master ${this.#master?.pid}`);
    return true;
  }

  async #noteMaster(pid: number): Promise<void> {
    this.#master = await this.#masterWith(pid);
    // It has just logged in and counts as verified, for as long as it would without us.
    const until = (startOf(this.lane) ?? 0) + VERIFIED_FOR;
    if (!exists(this.lane.master) && until > this.#system.now()) {
      verify(this.lane, 0, until - VERIFIED_FOR);
    }
    writeMaster(this.lane, this.#master);
  }

  async #masterWith(pid: number): Promise<Master> {
    return { pid, birth: (await this.#system.births([pid])).get(pid) };
  }

  /** The master has closed the connection, so it has exited. */
  #isCutOff(hold: MuxConnection): void {
    if (this.#hold !== hold) return;
    this.#hold = undefined;
    // A launcher would rely on the mark until the next look, and ssh would print an error.
    this.#unverify();
    this.#hands.wake();
    const isInDoubt = this.#farEnd.isAsking || this.#farEnd.isSilent;
    if (isInDoubt || this.#isEnding || this.#isUsedNow()) this.#first.excuse();
  }

  #isUsedNow(): boolean {
    try {
      return liveLeases(this.lane, this.#system).some(({ kind }) => kind !== "waiting");
    } catch (error) {
      this.#fail(error);
      return true; // As far as we know.
    }
  }

  /** Whether the master that we do not hold has exited, rather than only stopped answering. */
  async #isGone({ live }: Sweep): Promise<boolean> {
    this.#master ??= readMaster(this.lane);
    if (this.#master) return !await isSameProcess(this.#master, this.#system);
    if (live.length > 0 || !exists(this.lane.socket)) return live.length === 0;
    try {
      using connection = await MuxConnection.connect(this.lane.socket);
      // Note it, so as not to ask again: every client restarts the master's ControlPersist.
      this.#master = await this.#masterWith(await connection.alive());
      return false;
    } catch (error) {
      if (error instanceof NoConnection) return true;
      if (isMuxTrouble(error)) return false;
      throw error;
    }
  }

  #clear(sweep: Sweep): "gone" {
    this.#hands.log(`${this.#record.destination}: master ${this.#master?.pid ?? "?"} is gone`);
    if (sweep.isOpen) this.#first.noteEnd(this.#master ? 0 : this.#record.grace);
    this.letGo();
    removeLane(this.lane);
    return "gone";
  }

  /** Lets go of a closed lane: it ends with its last session. */
  async #leave(): Promise<void> {
    if (this.#isLeft) return;
    const hold = this.#hold;
    this.#hold = undefined;
    try {
      await hold?.stopListening();
    } catch (error) {
      if (!isMuxTrouble(error)) throw error;
    } finally {
      hold?.close();
      this.letGo();
    }
  }

  /** Closes an idle lane; its master exits within 2 s. */
  async #withdraw(): Promise<void> {
    if (!withdraw(this.lane, this.#system)) {
      this.#usedAt = this.#system.steady(); // A session has begun just now.
      return;
    }
    this.#hands.log(`${this.#record.destination}: let go of master ${this.#master?.pid}`);
    await this.#leave();
  }

  #isPingDue(): boolean {
    if (!this.#isInUse() || this.#farEnd.isAsking) return false;
    return this.#isInDoubt || this.#farEnd.askedAgo >= PING_EVERY;
  }

  /** Whether there is a session that the far end's last answer does not cover. */
  #isUnproven(): boolean {
    if (this.#farEnd.isAsking) return false;
    return this.#live.some(({ pid, takenAt }) => {
      const age = Math.abs(this.#system.now() - takenAt);
      if (age > OPENS_WITHIN) return false;
      return age < this.#farEnd.answeredAgo + SETTLED_AFTER ||
        this.#system.catches(pid, "SIGTERM") === false;
    });
  }

  async #ask(): Promise<void> {
    this.#isInDoubt = false;
    try {
      await this.#farEnd.ask(this.#live.length > 0, () => {
        this.#hands.log(`${this.#record.destination}: no answer`);
        this.#hands.wake();
      });
    } catch (error) {
      this.#fail(error);
    }
  }

  /**
   * Whether the server has refused a session, so that ssh has connected by itself: then it catches SIGQUIT
   * (client_loop() in clientloop.c), as a client of a master does not. Sessions whose ssh was killed keep
   * their place on the server until their command ends.
   */
  #hasRefused(): boolean {
    return this.#live.some(({ kind, pid }) =>
      kind === "running" && this.#system.catches(pid, "SIGQUIT") === true
    );
  }

  /** Decides about a lane whose far end is silent. An idle one stays: the next call pings by itself. */
  #judge(): void {
    if (!this.#farEnd.isSilent || this.#live.length === 0 || this.#isEnding) return;
    const silence = this.#farEnd.askedAgo;
    const isNoneOpenYet = isNoneOpen(this.#live, this.#system) ??
      (silence >= 2 * this.#farEnd.deadline && this.#live.every((lease) => this.#isYoung(lease)));
    if (isNoneOpenYet) this.#rescue();
    else if (silence > PATIENCE) this.#retire("the far end is silent");
  }

  /** Whether a lease was taken after the far end's last answer. */
  #isYoung({ takenAt }: SeenLease): boolean {
    const since = this.#farEnd.answeredAgo;
    return since < Infinity && this.#system.now() - takenAt < since;
  }

  /** Ends a master that calls wait for: none of their commands was sent, and they connect by themselves. */
  async #rescue(): Promise<void> {
    this.#isEnding = true;
    this.#retire("the far end is silent, and no session is open yet");
    try {
      if (this.#hold && this.#master) await endMaster(this.#hold, this.#master.pid, this.#system);
    } catch (error) {
      this.#fail(error);
    }
  }

  #retire(why: string): void {
    this.#hands.log(`${this.#record.destination}: retired, as ${why}`);
    retire(this.lane);
  }

  /** Retires the lane when the agent has other keys than those that its master may have used. */
  async #hasOtherKeys(): Promise<boolean> {
    if (!this.#hold || !this.#isInUse() || !await this.#agent.hasChanged()) return false;
    this.#retire("the agent has other keys");
    return true;
  }

  #fail(error: unknown): void {
    const fault = (error as Error).message;
    if (fault !== this.#fault) this.#hands.log(`${this.#record.destination}: ${fault}`);
    this.#fault = fault;
    this.#unverify();
  }

  #unverify(): void {
    try {
      unverify(this.lane);
    } catch (error) {
      // Most likely a full disk: the mark lapses by itself.
      this.#hands.log(`${this.#record.destination}: ${(error as Error).message}`);
    }
  }
}
