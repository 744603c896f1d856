/** Whether a lane's far end is there: asks it, and judges by what is seen. */
import { isVerified, unverify } from "../lane/lane.ts";
import type { Lane } from "../lane/layout.ts";
import type { SeenLease } from "../lane/lease.ts";
import type { System } from "../os/system.ts";
import { FarEnd, PACES } from "./far_end.ts";
import { type Verdict, verdictOn } from "./verdict.ts";

/** How long a session may take to open, ms; after that it has opened or failed. */
const OPENS_WITHIN = 30_000;
/** An answer covers the leases that were at least this old when the ping was sent, ms. */
const SETTLED_AFTER = 1000;

export type DoubtSystem = Pick<System, "catches" | "now" | "steady">;

export class Doubt {
  readonly #lane: Lane;
  readonly #system: DoubtSystem;
  readonly #farEnd: FarEnd;
  readonly #onSilence: () => void;
  #isInDoubt: boolean;
  /** A call waits for an answer. */
  #isAwaited = false;
  #live: readonly SeenLease[] = [];
  /** Since when the machine has been without the master's local address, steady clock, ms. */
  #addressGoneAt = Infinity;

  constructor(lane: Lane, system: DoubtSystem, onSilence: () => void) {
    this.#lane = lane;
    this.#system = system;
    this.#farEnd = new FarEnd(lane, system);
    this.#onSilence = onSilence;
    this.#isInDoubt = !this.#isVerified();
  }

  /** Whether the far end answers as it should, as far as we know. */
  get isCalm(): boolean {
    const isLate = this.#farEnd.isAsking && this.#farEnd.askedAgo > SETTLED_AFTER;
    return !isLate && !this.#farEnd.isSilent && !this.#isInDoubt;
  }

  get isAwaited(): boolean {
    return this.#isAwaited;
  }

  get isProven(): boolean {
    return this.#farEnd.isProven;
  }

  /** Withdraws the mark; the far end is asked at the next look. */
  begin(): void {
    this.#isInDoubt = true;
    unverify(this.#lane);
  }

  /** Notes the sessions on the lane, and whether the machine still has the master's address. */
  note(live: readonly SeenLease[], hasAddress: boolean): void {
    this.#live = live;
    const now = this.#system.steady();
    this.#addressGoneAt = hasAddress ? Infinity : Math.min(this.#addressGoneAt, now);
    if (this.#isVerified()) this.#isAwaited = false;
  }

  /** Asks at once, since a call waits for an answer. */
  async answer(): Promise<void> {
    const isFirst = !this.#isAwaited;
    this.#isAwaited = true;
    if (isFirst && !this.#farEnd.isAsking) await this.ask();
  }

  /** Notes that a call waits, while the master is not held. */
  await(): void {
    this.#isAwaited = true;
  }

  /** Whether it is time to ask. A lane that is not in use is not asked, if its server can be at any time. */
  isDue(isInUse: boolean): boolean {
    if (!isInUse && this.#farEnd.isProven) return false;
    return this.#isInDoubt || this.#farEnd.askedAgo >= this.#pace.every || this.#isUncovered();
  }

  /** Asks, if the server may be asked; otherwise renews a mark that still holds. */
  async ask(): Promise<void> {
    if (!this.#farEnd.mayAsk(this.#live.length === 0)) {
      // Once the mark is gone, nothing is known: then only a call's need decides.
      if (this.#isVerified()) this.#farEnd.trust(this.#pace);
    } else if (!this.#farEnd.isAsking) {
      this.#isInDoubt = false;
      await this.#farEnd.ask(this.#live.length > 0, this.#pace, this.#onSilence);
    }
  }

  judge(): Verdict {
    const [now, farEnd] = [this.#system.now(), this.#farEnd];
    const sessions = this.#live.map(({ pid, takenAt }) => ({
      isOpen: this.#system.catches(pid, "SIGTERM"),
      age: Math.abs(now - takenAt),
    }));
    return verdictOn({
      sessions,
      isAwaited: this.#isAwaited,
      isProven: farEnd.isProven,
      silentFor: farEnd.isSilent ? farEnd.askedAgo : 0,
      answeredAgo: farEnd.answeredAgo,
      isUnknowable: !this.#isVerified() && !farEnd.mayAsk(sessions.length === 0),
      addressGoneFor: Math.max(0, this.#system.steady() - this.#addressGoneAt),
    });
  }

  close(): void {
    this.#farEnd.close();
  }

  get #pace() {
    return this.#live.length > 0 ? PACES.open : PACES.idle;
  }

  #isVerified(): boolean {
    return isVerified(this.#lane, this.#system.now());
  }

  /** Whether there is a session that the far end's last answer does not cover. */
  #isUncovered(): boolean {
    if (!this.#farEnd.isProven || this.#farEnd.isAsking) return false;
    return this.#live.some(({ pid, takenAt }) => {
      const age = Math.abs(this.#system.now() - takenAt);
      if (age > OPENS_WITHIN) return false;
      return age < this.#farEnd.answeredAgo + SETTLED_AFTER ||
        this.#system.catches(pid, "SIGTERM") === false;
    });
  }
}
