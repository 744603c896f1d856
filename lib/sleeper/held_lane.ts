/** A lane that the sleeper holds: it keeps the master, judges the far end, and lets go after the linger. */
import { hasForwards } from "../lane/forwards.ts";
import { isVerified, removeLane, retire, unverify, withdraw } from "../lane/lane.ts";
import type { Lane } from "../lane/layout.ts";
import { noteRefusal, SessionsOfLane } from "../lane/learned.ts";
import { LeaseWatch, liveLeases, type SeenLease, type Sweep } from "../lane/lease.ts";
import { isMuxTrouble } from "../lane/mux_client.ts";
import { endOf, keptUntil, type LaneRecord } from "../lane/record.ts";
import { exists } from "../os/files.ts";
import { cutLog } from "../os/log.ts";
import type { System } from "../os/system.ts";
import { NoConnection } from "../os/unix_socket.ts";
import { FarEnd, type Pace, PACES } from "./far_end.ts";
import { type Agents, LaneAgent } from "./lane_agent.ts";
import { MasterHold } from "./master_hold.ts";
import { verdictOn } from "./verdict.ts";

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
/** An answer covers the leases that were at least this old when the ping was sent, ms. */
const SETTLED_AFTER = 1000;
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
  readonly #hold: MasterHold;
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
  /** Since when the machine has been without the master's local address. */
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
    this.#hold = new MasterHold(lane, hands.system, () => this.#isCutOff());
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
    if (!this.#isAwaited && this.#hold.isHeld && !this.#farEnd.isAsking) this.#ask();
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
    const isAtWork = !this.#hold.isHeld || this.#live.length > 0 || this.#isInUse();
    return isAtWork ? look : Math.max(0, this.#idleFor());
  }

  /** Closes our connections; the master exits after its grace, once it is idle. */
  letGo(): void {
    this.#isLeft = true;
    this.#farEnd.close();
    this.#hold.close();
  }

  async #look(isCalled: boolean): Promise<"here" | "gone"> {
    if (this.#isEnding && this.#hold.isHeld) return "here";
    if (!isCalled && this.#isQuiet()) return "here";
    const sweep = await this.#leases.sweep(this.#system);
    this.#note(sweep);
    if (!this.#hold.isHeld) {
      if (await this.#hold.isGone(sweep.live.length > 0)) return this.#clear(sweep);
      if (sweep.isOpen && !await this.#take()) return "here";
    }
    await this.#hold.takeBackForwards();
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
    if (!this.#isEnding) this.#judge();
    if (this.#live.length === 0 && this.#idleFor() <= 0) await this.#withdraw();
    else if (this.#isAskDue() || this.#isUncovered()) this.#ask();
    this.#fault = undefined;
    return "here";
  }

  /** Whether a look would find nothing to do. */
  #isQuiet(): boolean {
    if (!this.#hold.isHeld || this.#live.length > 0 || this.#isAwaited) return false;
    if (this.#agent.isPolled && this.#isInUse()) return false;
    return this.#idleFor() > 0 && !this.#isAskDue() && !this.#sessions.isOpen;
  }

  #note(sweep: Sweep): void {
    const now = this.#system.steady();
    this.#live = sweep.live;
    if (sweep.live.length > 0 || sweep.begun > 0 || sweep.ended.length > 0) this.#usedAt = now;
    if (sweep.begun > 0) this.#begunAt = now;
    this.#sessions.note(sweep);
    this.#keptUntil = keptUntil(this.lane);
    const { address } = this.#hold;
    const isHere = address === undefined || this.#hands.addresses().has(address);
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
    try {
      await this.#hold.take();
    } catch (error) {
      if (!isMuxTrouble(error)) throw error;
      // Nobody listens, and nobody will: a socket's name is used once.
      if (error instanceof NoConnection) return this.#retire("nobody listens"), false;
      if (this.#isAwaited) return this.#retire("its master does not answer"), false;
      throw error; // It is stopped or exiting: no call should rely on it until it answers.
    }
    this.#hands.log(`${this.#record.destination}: holding master ${this.#hold.pid}`);
    await this.#agent.note();
    return true;
  }

  /** The master has exited. */
  #isCutOff(): void {
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

  #clear(sweep: Sweep): "gone" {
    this.#hands.log(`${this.#record.destination}: master ${this.#hold.pid ?? "?"} is gone`);
    if (sweep.isOpen) this.#sessions.noteEnd(this.#hold.pid ? 0 : this.#record.grace);
    this.letGo();
    removeLane(this.lane);
    return "gone";
  }

  /** Lets go of a closed lane: it ends with its last session. Nobody listens on it after that. */
  async #leave(): Promise<void> {
    const isNeeded = hasForwards(this.lane) || // They must be cancelled first.
      this.#live.some(({ kind }) => kind === "via"); // An `ssh -O` may be about to use the socket.
    if (this.#isLeft || (this.#hold.isHeld && isNeeded)) return;
    await this.#hold.leave();
    this.letGo();
  }

  /** Closes an idle lane; its master exits within 2 s. */
  async #withdraw(): Promise<void> {
    if (!withdraw(this.lane, this.#system)) {
      this.#usedAt = this.#system.steady(); // A session has begun just now.
      return;
    }
    this.#hands.log(`${this.#record.destination}: let go of master ${this.#hold.pid}`);
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

  /** Decides about the lane by what is seen of its far end. */
  #judge(): void {
    const [now, farEnd] = [this.#system.now(), this.#farEnd];
    const sessions = this.#live.map(({ pid, takenAt }) => ({
      isOpen: this.#system.catches(pid, "SIGTERM"),
      age: Math.abs(now - takenAt),
    }));
    const verdict = verdictOn({
      sessions,
      isAwaited: this.#isAwaited,
      isProven: farEnd.isProven,
      silentFor: farEnd.isSilent ? farEnd.askedAgo : 0,
      answeredAgo: farEnd.answeredAgo,
      isUnknowable: this.#isInDoubt && !farEnd.mayAsk(sessions.length === 0),
      addressGoneFor: Math.max(0, this.#system.steady() - this.#addressGoneAt),
    });
    if (verdict?.kind === "end") this.#end(verdict.why);
    else if (verdict) this.#retire(verdict.why);
  }

  /** Ends a master that calls wait for: none of their commands was sent, and they connect by themselves. */
  async #end(why: string): Promise<void> {
    this.#isEnding = true;
    this.#retire(why);
    try {
      await this.#hold.end();
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
