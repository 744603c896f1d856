/** A lane that the sleeper holds: it keeps the master, judges the far end, and lets go after the linger. */
import { endMaster, isNoneOpen } from "../lane/closing.ts";
import { hasForwards, takeBackForwards } from "../lane/forwards.ts";
import {
  isVerified,
  readMaster,
  removeLane,
  retire,
  unverify,
  VERIFIED_FOR,
  verify,
  withdraw,
  writeMaster,
} from "../lane/lane.ts";
import { type Lane, laneAt, starterPath } from "../lane/layout.ts";
import { noteRefusal, SessionsOfLane } from "../lane/learned.ts";
import { LeaseWatch, liveLeases, type SeenLease, type Sweep } from "../lane/lease.ts";
import { isMuxTrouble, MuxConnection } from "../lane/mux_client.ts";
import { isSameProcess, type Process, processOf } from "../lane/process.ts";
import { endOf, keptUntil, type LaneRecord, startOf } from "../lane/record.ts";
import { createDir, cutLog, exists } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { NoConnection } from "../os/unix_socket.ts";
import { FarEnd, type Pace, PACES } from "./far_end.ts";
import { type Agents, LaneAgent } from "./lane_agent.ts";

export type HeldSystem = Pick<
  System,
  "births" | "catches" | "isAlive" | "kill" | "localAddress" | "now" | "steady"
>;

/** What a lane needs from the sleeper. */
export interface Hands {
  readonly system: HeldSystem;
  readonly agents: Agents;
  /** The addresses that this machine had at the last look. */
  addresses(): ReadonlySet<string>;
  log(line: string): void;
  /** Makes the sleeper look after its lanes at once. */
  wake(): void;
}

/**
 * A lane on which no session has begun for this long, ms, is not in use any more and not pinged: the next
 * call waits for that. Each ping costs the master about 300 bytes for good, since mux.c and channels.c keep
 * every forward.
 */
const IN_USE = 10 * 60_000;
/** How long a session may take to open, ms; after that it has opened or failed. */
const OPENS_WITHIN = 30_000;
/** The same for one that waits for a server that may not be asked, ms: it takes one round trip. */
const STUCK_AFTER = 10_000;
/** An answer covers the leases that were at least this old when the ping was sent, ms. */
const SETTLED_AFTER = 1000;
/** How late an answer may be, ms, while sessions are open on the lane: a large upload delays it. */
const PATIENCE = 60_000;
/** After this time without the master's own address nothing comes back on its connection, ms. */
const ADDRESS_GONE = 10_000;

export class HeldLane {
  readonly lane: Lane;
  readonly #record: LaneRecord;
  readonly #hands: Hands;
  readonly #system: HeldSystem;
  readonly #leases: LeaseWatch;
  readonly #farEnd: FarEnd;
  readonly #agent: LaneAgent;
  readonly #sessions: SessionsOfLane;
  /** Ms since the epoch. */
  readonly #endsAt: number;
  /** Keeps the master from counting down. */
  #hold?: MuxConnection;
  #master?: Process;
  #isInDoubt = false;
  /** A call waits for an answer. */
  #isAwaited = false;
  #isLeft = false;
  #isEnding = false;
  #live: readonly SeenLease[] = [];
  #keptUntil = 0;
  // Steady clock, ms: when a lease was last seen, and when a new one was last seen.
  #usedAt: number;
  #begunAt: number;
  /** The local address of the master's connection, and since when the machine has been without it. */
  #address?: string;
  #addressGoneAt = Infinity;
  #fault?: string;

  constructor(lane: Lane, record: LaneRecord, hands: Hands) {
    this.lane = lane;
    this.#record = record;
    this.#hands = hands;
    this.#system = hands.system;
    this.#leases = new LeaseWatch(lane);
    this.#farEnd = new FarEnd(lane, hands.system);
    this.#agent = new LaneAgent(lane, record, hands.agents);
    this.#sessions = new SessionsOfLane(lane, hands.system);
    this.#endsAt = endOf(lane, record);
    this.#usedAt = this.#begunAt = hands.system.steady();
  }

  /** Withdraws the mark, and pings at the next look. */
  doubt(): void {
    this.#isInDoubt = true;
    this.#leases.doubt();
    this.#unverify();
  }

  /** Answers for the lane as soon as it can, since a call waits for it: by the mark, or by retiring it. */
  answer(): void {
    if (!this.#isAwaited && this.#hold && !this.#farEnd.isAsking) this.#ask();
    this.#isAwaited = true;
    this.#hands.wake();
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
    if (!isCalled && this.#isQuiet()) return "here";
    const sweep = await this.#leases.sweep(this.#system);
    this.#note(sweep);
    if (!this.#hold && await this.#isGone(sweep)) return this.#clear(sweep);
    if (sweep.isOpen && !this.#hold && !await this.#take()) return "here";
    if (this.#hold) await takeBackForwards(this.lane, this.#hold);
    if (!sweep.isOpen) {
      await this.#leave();
      return "here";
    }
    if (this.#live.length > 0) cutLog(this.lane.log);
    const unfitness = await this.#unfitness(sweep);
    if (unfitness) {
      this.#retire(unfitness);
      return "here";
    }
    this.#sessions.noteAlive();
    this.#judge();
    if (this.#live.length === 0 && this.#idleFor() <= 0) await this.#withdraw();
    else if (this.#isAskDue() || this.#isUncovered()) this.#ask();
    this.#fault = undefined;
    return "here";
  }

  /** Whether a look would find nothing to do. */
  #isQuiet(): boolean {
    if (!this.#hold || this.#live.length > 0 || this.#idleFor() <= 0 || this.#isAwaited) {
      return false;
    }
    if (this.#agent.isPolled && this.#isInUse()) return false;
    return !this.#isAskDue() && !this.#sessions.isOpen;
  }

  #note(sweep: Sweep): void {
    const now = this.#system.steady();
    this.#live = sweep.live;
    if (sweep.live.length > 0 || sweep.begun > 0 || sweep.ended.length > 0) this.#usedAt = now;
    if (sweep.begun > 0) this.#begunAt = now;
    this.#sessions.note(sweep);
    this.#keptUntil = keptUntil(this.lane);
    const isHere = !this.#address || this.#hands.addresses().has(this.#address);
    this.#addressGoneAt = isHere ? Infinity : Math.min(this.#addressGoneAt, now);
    if (isVerified(this.lane, this.#system.now())) this.#isAwaited = false;
  }

  /** Whether a session has begun within the last minutes: calls may rely on the mark. */
  #isInUse(): boolean {
    return this.#system.steady() - this.#begunAt < IN_USE;
  }

  /** Returns how much longer the lane stays if nobody uses it, ms. */
  #idleFor(): number {
    const linger = (this.#record.linger ?? Infinity) * 1000;
    const [now, steady] = [this.#system.now(), this.#system.steady()];
    const idle = Math.max(this.#usedAt + linger - steady, this.#keptUntil - now);
    return Math.min(idle, this.#endsAt - now);
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
      if (this.#isAwaited) return this.#retire("its master does not answer"), false;
      throw error; // It is stopped or exiting: no call should rely on it until it answers.
    }
    this.#hold = hold;
    hold.closed.then(() => this.#isCutOff(hold));
    this.#hands.log(`${this.#record.destination}: holding master ${this.#master?.pid}`);
    return true;
  }

  async #noteMaster(pid: number): Promise<void> {
    this.#master = await processOf(pid, this.#system);
    this.#address = this.#system.localAddress(pid);
    // It has just logged in and counts as verified, for as long as it would without us.
    const until = (startOf(this.lane) ?? 0) + VERIFIED_FOR;
    if (!exists(this.lane.master) && until > this.#system.now()) {
      verify(this.lane, 0, until - VERIFIED_FOR);
    }
    writeMaster(this.lane, this.#master);
    // The call that opens the next lane then starts no mkdir.
    const { dir, name } = this.lane;
    const next = Number(name) + 1;
    if (!exists(starterPath(dir, next))) createDir(laneAt(dir, `${next}`).leases);
  }

  /** The master has closed the connection, so it has exited. */
  #isCutOff(hold: MuxConnection): void {
    if (this.#hold !== hold) return;
    this.#hold = undefined;
    // A launcher would rely on the mark until the next look, and ssh would print an error.
    this.#unverify();
    this.#hands.wake();
    const isDoubtful = this.#farEnd.isAsking || this.#farEnd.isSilent || this.#isInDoubt;
    if (isDoubtful || this.#isEnding) this.#sessions.excuse();
    this.#sessions.cutOff(this.#isUsedNow());
  }

  #isUsedNow(): boolean {
    try {
      return liveLeases(this.lane, this.#system).length > 0;
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
      this.#master = await processOf(await connection.alive(), this.#system);
      return false;
    } catch (error) {
      if (error instanceof NoConnection) return true;
      if (isMuxTrouble(error)) return false;
      throw error;
    }
  }

  #clear(sweep: Sweep): "gone" {
    this.#hands.log(`${this.#record.destination}: master ${this.#master?.pid ?? "?"} is gone`);
    if (sweep.isOpen) this.#sessions.noteEnd(this.#master ? 0 : this.#record.grace);
    this.letGo();
    removeLane(this.lane);
    return "gone";
  }

  /** Lets go of a closed lane: it ends with its last session. Nobody listens on it after that. */
  async #leave(): Promise<void> {
    const isNeeded = hasForwards(this.lane) || // They must be cancelled first.
      this.#live.some(({ kind }) => kind === "via"); // An `ssh -O` may be about to use the socket.
    if (this.#isLeft || (this.#hold && isNeeded)) return;
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

  #pace(): Pace {
    return this.#live.length > 0 ? PACES.open : PACES.idle;
  }

  #isAskDue(): boolean {
    if (!this.#isInUse()) return false;
    return this.#isInDoubt || this.#farEnd.askedAgo >= this.#pace().every;
  }

  /** Whether there is a session that the far end's last answer does not cover. */
  #isUncovered(): boolean {
    if (!this.#farEnd.isProven) return false;
    return this.#live.some(({ pid, takenAt }) => {
      const age = Math.abs(this.#system.now() - takenAt);
      if (age > OPENS_WITHIN) return false;
      return age < this.#farEnd.answeredAgo + SETTLED_AFTER ||
        this.#system.catches(pid, "SIGTERM") === false;
    });
  }

  async #ask(): Promise<void> {
    try {
      if (!this.#farEnd.mayAsk(this.#live.length === 0)) {
        // Nothing is known after a jump of the clock: then only a call's need decides.
        if (!this.#isInDoubt) this.#farEnd.trust(this.#pace());
        return;
      }
      if (this.#farEnd.isAsking) return;
      this.#isInDoubt = false;
      await this.#farEnd.ask(this.#live.length > 0, this.#pace(), () => {
        this.#hands.log(`${this.#record.destination}: no answer`);
        this.#hands.wake();
      });
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Returns why the lane must take no more sessions, though its far end may be well. */
  async #unfitness({ begun }: Sweep): Promise<string | undefined> {
    if (this.#hasRefused()) return "the server refuses more sessions";
    if (this.#system.now() >= this.#endsAt) return "it has reached its age";
    if (exists(this.lane.once)) return "its password had to be changed";
    const isAsked = begun > 0 || (this.#agent.isPolled && this.#isInUse());
    if (isAsked && await this.#agent.hasChanged()) return "the agent has other keys";
  }

  /**
   * Whether the server has refused a session, so that ssh has connected by itself: then it catches SIGQUIT
   * (client_loop() in clientloop.c), as a client of a master does not. Sessions whose ssh was killed keep
   * their place on the server until their command ends.
   */
  #hasRefused(): boolean {
    const sessions = this.#live.filter(({ kind }) => kind === "running");
    const refused = sessions.filter(({ pid }) => this.#system.catches(pid, "SIGQUIT") === true);
    if (refused.length === 0) return false;
    const open = sessions.filter(({ pid }) => this.#system.catches(pid, "SIGTERM") === true);
    noteRefusal(this.lane.dir, open.length - refused.length, this.#system.now());
    return true;
  }

  /** Decides about a lane whose far end is silent. An idle one stays: the next call waits for an answer. */
  #judge(): void {
    if (this.#isEnding) return;
    const isNoneYet = this.#live.length > 0 && isNoneOpen(this.#live, this.#system);
    const isStuck = isNoneYet !== false && this.#live.length > 0 &&
      this.#live.every(({ takenAt }) => this.#system.now() - takenAt > STUCK_AFTER);
    const { isSilent, isProven, askedAgo } = this.#farEnd;
    const isHopeless = this.#system.steady() - this.#addressGoneAt >= ADDRESS_GONE;
    if (
      isHopeless && this.#live.some(({ pid }) => this.#system.catches(pid, "SIGTERM") === false)
    ) {
      this.#rescue("its local address is gone, and a session waits to be opened");
    } else if (isNoneYet === true && (isProven ? isSilent : isStuck)) {
      this.#rescue("the far end is silent, and no session is open yet");
    } else if (isSilent && isProven) {
      const isLate = this.#isAwaited || askedAgo > PATIENCE ||
        // Where the system does not say which sessions are open, nothing is ended on a guess.
        (isNoneYet === undefined && askedAgo >= 2 * this.#farEnd.deadline);
      if (isLate && (this.#live.length > 0 || this.#isAwaited)) {
        this.#retire("the far end is silent");
      }
    } else if (
      this.#isAwaited && this.#isInDoubt && !this.#farEnd.mayAsk(this.#live.length === 0)
    ) {
      this.#retire("nothing shows that the far end is there");
    }
  }

  /** Ends a master that calls wait for: none of their commands was sent, and they connect by themselves. */
  async #rescue(why: string): Promise<void> {
    this.#isEnding = true;
    this.#retire(why);
    try {
      if (this.#hold && this.#master) await endMaster(this.#hold, this.#master.pid, this.#system);
    } catch (error) {
      this.#fail(error);
    }
  }

  #retire(why: string): void {
    this.#hands.log(`${this.#record.destination}: retired, as ${why}`);
    retire(this.lane);
    this.#hands.wake();
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
