/** A lane that the sleeper holds: it keeps the master, judges the far end, and lets go after the linger. */
import { hasForwards, takeBackForwards } from "../lane/forwards.ts";
import { isOpen, removeLane, retire, unverify, withdraw } from "../lane/lane.ts";
import type { Lane } from "../lane/layout.ts";
import { LeaseWatch, liveLeases } from "../lane/lease.ts";
import { isMuxTrouble } from "../lane/mux_protocol.ts";
import type { LaneRecord } from "../lane/record.ts";
import { cutLog } from "../os/log.ts";
import type { System } from "../os/system.ts";
import { FarEnd } from "./far_end.ts";
import { type Agents, LaneAgent } from "./lane_agent.ts";
import { MasterHold } from "./master_hold.ts";
import { Sessions } from "./sessions.ts";

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
  readonly #farEnd: FarEnd;
  readonly #agent: LaneAgent;
  readonly #sessions: Sessions;
  readonly #hold: MasterHold;
  #isLeft = false;
  #isEnding = false;
  #fault?: string;

  constructor(lane: Lane, record: LaneRecord, hands: Hands) {
    this.lane = lane;
    this.#record = record;
    this.#hands = hands;
    this.#system = hands.system;
    this.#leases = new LeaseWatch(lane);
    this.#farEnd = new FarEnd(lane, hands.system, () => {
      this.#log("no answer");
      hands.wake();
    });
    this.#agent = new LaneAgent(lane, record, hands.agents);
    this.#sessions = new Sessions(lane, record, hands.system);
    this.#hold = new MasterHold(lane, hands.system, () => this.#isCutOff());
  }

  /** Withdraws the mark, and pings at the next look. */
  doubt(): void {
    this.#leases.doubt();
    this.#guard(() => this.#farEnd.doubt());
  }

  /** Answers for the lane as soon as it can, since a call waits for it: by the mark, or by retiring it. */
  answer(): void {
    if (this.#farEnd.isAwaited) return;
    this.#farEnd.await();
    if (this.#hold.connection) this.#ask();
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
      if (this.#isEnding && this.#hold.connection) return "here";
      if (!isCalled && this.#isQuiet) return "here";
      return await this.#look();
    } catch (error) {
      this.#fail(error);
      return "here";
    }
  }

  /** Returns when to look after it next, in ms; Infinity until a call comes. */
  dueIn(look: number): number {
    const isAtWork = !this.#hold.connection || this.#sessions.live.length > 0 ||
      this.#sessions.isInUse || this.#farEnd.isAwaited || !this.#farEnd.isProven;
    return isAtWork ? look : Math.max(0, this.#sessions.left);
  }

  /** Closes our connections; the master exits after its grace, once it is idle. */
  letGo(): void {
    this.#isLeft = true;
    this.#farEnd.close();
    this.#hold.close();
  }

  /** Whether a look would find nothing to do. */
  get #isQuiet(): boolean {
    const { live, isInUse, isTelling, left } = this.#sessions;
    if (!this.#hold.connection || live.length > 0 || this.#farEnd.isAwaited) return false;
    if (this.#agent.isPolled && isInUse) return false;
    return left > 0 && !this.#farEnd.isDue(isInUse) && !isTelling;
  }

  async #look(): Promise<"here" | "gone"> {
    const isTaking = isOpen(this.lane); // Before the sweep: what is seen in it may decide otherwise.
    const sweep = await this.#leases.sweep(this.#system);
    this.#sessions.note(sweep);
    const { live } = sweep;
    const { address } = this.#hold;
    this.#farEnd.note(live, !address || this.#hands.addresses().has(address));
    if (!this.#hold.connection) {
      if (await this.#hold.isGone(live.length > 0)) return this.#clear(isTaking);
      if (isTaking && !await this.#take()) return "here";
    }
    if (this.#hold.connection) await takeBackForwards(this.lane, this.#hold.connection);
    if (!isTaking) {
      await this.#leave();
      return "here";
    }
    if (live.length > 0) cutLog(this.lane.log);
    const unfitness = await this.#unfitness(sweep.begun > 0);
    if (unfitness) {
      this.#retire(unfitness);
      return "here";
    }
    this.#sessions.noteAlive();
    const verdict = this.#isEnding ? undefined : this.#farEnd.judge();
    if (verdict?.kind === "end") this.#end(verdict.why);
    else if (verdict) this.#retire(verdict.why);
    if (live.length === 0 && this.#sessions.left <= 0) await this.#withdraw();
    else if (this.#farEnd.isDue(this.#sessions.isInUse)) this.#ask();
    this.#fault = undefined;
    return "here";
  }

  /** Holds the master. Returns false if it is gone. */
  async #take(): Promise<boolean> {
    try {
      await this.#hold.take();
    } catch (error) {
      // Nobody listens, and nobody will: a socket's name is used once.
      const isGone = isMuxTrouble(error, "absent");
      // It is stopped or exiting: no call should rely on it until it answers.
      if (!isGone && !(isMuxTrouble(error) && this.#farEnd.isAwaited)) throw error;
      this.#retire(isGone ? "nobody listens" : "its master does not answer");
      return false;
    }
    this.#log(`holding master ${this.#hold.pid}`);
    await this.#agent.note();
    return true;
  }

  /** The master has exited. */
  #isCutOff(): void {
    // A launcher would rely on the mark until the next look, and ssh would print an error.
    this.#guard(() => unverify(this.lane));
    this.#hands.wake();
    let isUsed = true; // As far as we know.
    this.#guard(() => isUsed = liveLeases(this.lane, this.#system).length > 0);
    this.#sessions.cutOff(isUsed, this.#isEnding || !this.#farEnd.isCalm);
  }

  #clear(wasTaking: boolean): "gone" {
    this.#log(`master ${this.#hold.pid ?? "?"} is gone`);
    if (wasTaking) this.#sessions.noteEnd(this.#hold.pid !== undefined);
    this.letGo();
    removeLane(this.lane);
    return "gone";
  }

  /** Lets go of a closed lane: it ends with its last session. Nobody listens on it after that. */
  async #leave(): Promise<void> {
    const isNeeded = hasForwards(this.lane) || // They must be cancelled first.
      this.#sessions.live.some(({ kind }) => kind === "via"); // An `ssh -O` may be about to use the socket.
    if (this.#isLeft || (this.#hold.connection && isNeeded)) return;
    await this.#hold.leave();
    this.letGo();
  }

  /** Closes an idle lane; its master exits within 2 s. */
  async #withdraw(): Promise<void> {
    if (!withdraw(this.lane, this.#system)) {
      return this.#sessions.touch(); // A session has begun just now.
    }
    this.#log(`let go of master ${this.#hold.pid}`);
    await this.#leave();
  }

  /** Returns why the lane must take no more sessions, though its far end may be well. */
  async #unfitness(hasBegun: boolean): Promise<string | undefined> {
    if (this.#sessions.haveRefusal()) return "the server refuses more sessions";
    if (this.#sessions.isOver) return "it has reached its age";
    const isAsked = hasBegun || (this.#agent.isPolled && this.#sessions.isInUse);
    if (isAsked && await this.#agent.hasChanged()) return "the agent has other keys";
  }

  /** Ends a master that calls wait for: none of their commands was sent, and they connect by themselves. */
  #end(why: string): void {
    this.#isEnding = true;
    this.#retire(why);
    this.#hold.end().catch((error) => this.#fail(error));
  }

  #ask(): void {
    this.#farEnd.ask().catch((error) => this.#fail(error));
  }

  #retire(why: string): void {
    this.#log(`retired, as ${why}`);
    retire(this.lane);
    this.#hands.wake();
  }

  #fail(error: unknown): void {
    const fault = (error as Error).message;
    if (fault !== this.#fault) this.#log(fault);
    this.#fault = fault;
    this.#guard(() => unverify(this.lane));
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#log((error as Error).message); // Most likely a full disk: the mark lapses by itself.
    }
  }

  #log(line: string): void {
    this.#hands.log(`${this.#record.destination}: ${line}`);
  }
}
