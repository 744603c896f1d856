/** A lane that the sleeper holds: it keeps the master, judges the far end, and lets go after the linger. */
import { hasForwards } from "../lane/forwards.ts";
import { removeLane, retire, unverify, withdraw } from "../lane/lane.ts";
import type { Lane } from "../lane/layout.ts";
import { SessionsOfLane } from "../lane/learned.ts";
import { LeaseWatch, liveLeases, type SeenLease, type Sweep } from "../lane/lease.ts";
import { isMuxTrouble } from "../lane/mux_client.ts";
import type { LaneRecord } from "../lane/record.ts";
import { exists } from "../os/files.ts";
import { cutLog } from "../os/log.ts";
import type { System } from "../os/system.ts";
import { NoConnection } from "../os/unix_socket.ts";
import { Doubt } from "./doubt.ts";
import { type Agents, LaneAgent } from "./lane_agent.ts";
import { MasterHold } from "./master_hold.ts";
import { Usage } from "./usage.ts";

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

export class HeldLane {
  readonly lane: Lane;
  readonly #record: LaneRecord;
  readonly #hands: Hands;
  readonly #system: HeldSystem;
  readonly #leases: LeaseWatch;
  readonly #doubt: Doubt;
  readonly #agent: LaneAgent;
  readonly #sessions: SessionsOfLane;
  readonly #usage: Usage;
  readonly #hold: MasterHold;
  #isLeft = false;
  #isEnding = false;
  #live: readonly SeenLease[] = [];
  #fault?: string;

  constructor(lane: Lane, record: LaneRecord, hands: Hands) {
    this.lane = lane;
    this.#record = record;
    this.#hands = hands;
    this.#system = hands.system;
    this.#leases = new LeaseWatch(lane);
    this.#doubt = new Doubt(lane, hands.system, () => {
      hands.log(`${record.destination}: no answer`);
      hands.wake();
    });
    this.#agent = new LaneAgent(lane, record, hands.agents);
    this.#sessions = new SessionsOfLane(lane, hands.system);
    this.#hold = new MasterHold(lane, hands.system, () => this.#isCutOff());
    this.#usage = new Usage(lane, record, hands.system);
  }

  /** Withdraws the mark, and pings at the next look. */
  doubt(): void {
    this.#leases.doubt();
    this.#guard(() => this.#doubt.begin());
  }

  /** Answers for the lane as soon as it can, since a call waits for it: by the mark, or by retiring it. */
  answer(): void {
    if (this.#hold.isHeld) this.#doubt.answer().catch((error) => this.#fail(error));
    else this.#doubt.await();
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
    const isAtWork = !this.#hold.isHeld || this.#live.length > 0 || this.#usage.isInUse ||
      !this.#doubt.isProven;
    return isAtWork ? look : Math.max(0, this.#usage.left);
  }

  /** Closes our connections; the master exits after its grace, once it is idle. */
  letGo(): void {
    this.#isLeft = true;
    this.#doubt.close();
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
    if (this.#live.length === 0 && this.#usage.left <= 0) await this.#withdraw();
    else if (this.#doubt.isDue(this.#usage.isInUse)) this.#ask();
    this.#fault = undefined;
    return "here";
  }

  /** Whether a look would find nothing to do. */
  #isQuiet(): boolean {
    if (!this.#hold.isHeld || this.#live.length > 0 || this.#doubt.isAwaited) return false;
    if (this.#agent.isPolled && this.#usage.isInUse) return false;
    return this.#usage.left > 0 && !this.#doubt.isDue(this.#usage.isInUse) &&
      !this.#sessions.isOpen;
  }

  #note(sweep: Sweep): void {
    this.#live = sweep.live;
    this.#usage.note(sweep);
    this.#sessions.note(sweep);
    const { address } = this.#hold;
    this.#doubt.note(sweep.live, !address || this.#hands.addresses().has(address));
  }

  /** Holds the master. Returns false if it is gone. */
  async #take(): Promise<boolean> {
    try {
      await this.#hold.take();
    } catch (error) {
      if (!isMuxTrouble(error)) throw error;
      // Nobody listens, and nobody will: a socket's name is used once.
      if (error instanceof NoConnection) return this.#retire("nobody listens"), false;
      if (this.#doubt.isAwaited) return this.#retire("its master does not answer"), false;
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
    if (this.#isEnding || !this.#doubt.isCalm) this.#sessions.excuse();
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
      return this.#usage.touch(); // A session has begun just now.
    }
    this.#hands.log(`${this.#record.destination}: let go of master ${this.#hold.pid}`);
    await this.#leave();
  }

  async #ask(): Promise<void> {
    try {
      await this.#doubt.ask();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Returns why the lane must take no more sessions, though its far end may be well. */
  async #unfitness({ begun }: Sweep): Promise<string | undefined> {
    if (this.#sessions.haveRefusal()) return "the server refuses more sessions";
    if (this.#usage.isOver) return "it has reached its age";
    if (exists(this.lane.once)) return "its password had to be changed";
    const isAsked = begun > 0 || (this.#agent.isPolled && this.#usage.isInUse);
    if (isAsked && await this.#agent.hasChanged()) return "the agent has other keys";
  }

  /** Decides about the lane by what is seen of its far end. */
  #judge(): void {
    const verdict = this.#doubt.judge();
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
    this.#guard(() => unverify(this.lane));
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      // Most likely a full disk: the mark lapses by itself.
      this.#hands.log(`${this.#record.destination}: ${(error as Error).message}`);
    }
  }
}
