/** The far end of a lane: asks it, one ping at a time, and keeps what is known of it. */
import { isVerified, roundTripOf, unverify, VERIFIED_FOR, verify } from "../lane/lane.ts";
import type { Lane } from "../lane/layout.ts";
import { noteAnswer, noteNoAnswer, pingsOf } from "../lane/learned.ts";
import type { SeenLease } from "../lane/lease.ts";
import { MuxConnection } from "../lane/mux_client.ts";
import { isMuxTrouble } from "../lane/mux_protocol.ts";
import type { System } from "../os/system.ts";
import { type Verdict, verdictOn } from "./verdict.ts";

/** How long the far end may take, ms, or four times the last round trip if that is longer. */
const PING_DEADLINE = 3000;
/** How long a session may take to open, ms; after that it has opened or failed. */
const OPENS_WITHIN = 30_000;
/** An answer covers the leases that were at least this old when the ping was sent, ms. */
const SETTLED_AFTER = 1000;

/**
 * How often the far end is asked, and how long an answer is valid (ms): an open session may hold a call for as
 * long as that.
 */
const PACES = {
  open: { every: 5_000, validFor: 8_000 },
  idle: { every: 15_000, validFor: VERIFIED_FOR },
} as const;

type FarEndSystem = Pick<System, "catches" | "now" | "steady">;

export class FarEnd {
  readonly #lane: Lane;
  readonly #system: FarEndSystem;
  readonly #onSilence: () => void;
  /** Pings have a connection of their own: a pending one pauses it. */
  #connection?: MuxConnection;
  #isClosed = false;
  #isInDoubt: boolean;
  #isAwaited = false;
  #isAsking = false;
  /** The last ping was not answered within the deadline. */
  #isSilent = false;
  #isProven = false;
  /** A server that is not known to answer pings has left one unanswered on this connection. */
  #isMute = false;
  /** The last known round trip, ms. */
  #roundTrip?: number;
  // Steady clock, ms: when the last ping was sent, or the mark was renewed without one; when the last ping that
  // was answered was sent; and since when the machine has been without the master's local address.
  #askedAt = -Infinity;
  #answeredAt = -Infinity;
  #addressGoneAt = Infinity;
  #live: readonly SeenLease[] = [];

  /** @param onSilence is called when an answer does not come in time */
  constructor(lane: Lane, system: FarEndSystem, onSilence: () => void) {
    this.#lane = lane;
    this.#system = system;
    this.#onSilence = onSilence;
    this.#roundTrip = roundTripOf(lane);
    this.#isInDoubt = !this.#isVerified;
  }

  /** Whether the far end answers as it should, as far as we know. */
  get isCalm(): boolean {
    const isLate = this.#isAsking && this.#since(this.#askedAt) > SETTLED_AFTER;
    return !isLate && !this.#isSilent && !this.#isInDoubt;
  }

  /** Whether a call waits for an answer. */
  get isAwaited(): boolean {
    return this.#isAwaited;
  }

  /** Whether the server is known to answer pings. If not, silence proves nothing. */
  get isProven(): boolean {
    return this.#isProven ||= this.#pings === "answers";
  }

  /** Withdraws the mark; the far end is asked at the next look. */
  doubt(): void {
    this.#isInDoubt = true;
    unverify(this.#lane);
  }

  /** Notes that a call waits for an answer. */
  await(): void {
    this.#isAwaited = true;
  }

  /** Notes the sessions on the lane, and whether the machine still has the master's address. */
  note(live: readonly SeenLease[], hasAddress: boolean): void {
    this.#live = live;
    const now = this.#system.steady();
    this.#addressGoneAt = hasAddress ? Infinity : Math.min(this.#addressGoneAt, now);
    if (this.#isVerified) this.#isAwaited = false;
  }

  /** Whether it is time to ask. A lane that is not in use is not asked, if its server can be at any time. */
  isDue(isInUse: boolean): boolean {
    if (!isInUse && this.isProven) return false;
    return this.#isInDoubt || this.#since(this.#askedAt) >= this.#pace.every || this.#isUncovered;
  }

  /**
   * Asks, and renews the mark on an answer. At the deadline it withdraws the mark and keeps waiting: a late
   * answer still counts. If the server must not be asked, it renews a mark that still holds: the master is
   * connected, as far as it knows.
   */
  async ask(): Promise<void> {
    const askedAt = this.#system.steady();
    if (!this.#mayAsk) {
      // Once the mark is gone, nothing is known: then only a call's need decides.
      if (!this.#isVerified) return;
      this.#askedAt = askedAt;
      return this.#mark(this.#roundTrip ?? 0);
    }
    if (this.#isAsking) return;
    this.#isInDoubt = false;
    this.#isAsking = true;
    this.#askedAt = askedAt;
    try {
      const roundTrip = await this.#ping();
      this.#isSilent = false;
      this.#isProven = true;
      this.#answeredAt = askedAt;
      this.#roundTrip = roundTrip;
      noteAnswer(this.#lane.dir, this.#system.now());
      this.#mark(roundTrip);
    } catch (error) {
      if (!isMuxTrouble(error)) throw error;
      this.#connection?.close();
      this.#connection = undefined;
      this.#isLate();
    } finally {
      this.#isAsking = false;
    }
  }

  /** Returns how long an answer took, ms. */
  async #ping(): Promise<number> {
    const connection = this.#connection ?? await MuxConnection.connect(this.#lane.socket);
    if (this.#isClosed) connection.close();
    this.#connection = connection;
    // Behind the data of sessions a ping may be queued, so a longer round trip says nothing about the link.
    const known = this.#live.length > 0 ? this.#roundTrip ?? Infinity : Infinity;
    const deadline = Math.max(PING_DEADLINE, 4 * (this.#roundTrip ?? 0));
    try {
      return Math.min(known, await connection.ping(deadline));
    } catch (error) {
      if (!isMuxTrouble(error, "late")) throw error;
      this.#isLate();
      // Keep the connection: a forward that is granted late must be cancelled on it.
      await connection.settled();
      return this.#roundTrip ?? deadline;
    }
  }

  #isLate(): void {
    if (this.#isClosed || this.#isSilent) return;
    this.#isSilent = true;
    if (this.isProven) unverify(this.#lane);
    else if (!this.#isMute) noteNoAnswer(this.#lane.dir, this.#system.now());
    this.#isMute = !this.isProven;
    this.#onSilence();
  }

  /** Says what becomes of the lane by what is seen. */
  judge(): Verdict {
    const now = this.#system.now();
    return verdictOn({
      sessions: this.#live.map(({ pid, takenAt }) => ({
        isOpen: this.#system.catches(pid, "SIGTERM"),
        age: Math.abs(now - takenAt),
      })),
      isAwaited: this.#isAwaited,
      isProven: this.isProven,
      silentFor: this.#isSilent ? this.#since(this.#askedAt) : 0,
      answeredAgo: this.#since(this.#answeredAt),
      isUnknowable: !this.#isVerified && !this.#mayAsk,
      addressGoneFor: Math.max(0, this.#since(this.#addressGoneAt)),
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#connection?.close();
  }

  #since(steady: number): number {
    return this.#system.steady() - steady;
  }

  #mark(roundTrip: number): void {
    this.#isAwaited = false;
    verify(this.#lane, roundTrip, this.#system.now(), this.#pace.validFor);
  }

  get #pace() {
    return this.#live.length > 0 ? PACES.open : PACES.idle;
  }

  get #pings() {
    return pingsOf(this.#lane.dir, this.#system.now());
  }

  /** Whether the server may be asked. Some end the connection for a ping: so first on an idle one. */
  get #mayAsk(): boolean {
    return this.isProven || (this.#live.length === 0 && !this.#isMute && this.#pings !== "mute");
  }

  get #isVerified(): boolean {
    return isVerified(this.#lane, this.#system.now());
  }

  /** Whether there is a session that the far end's last answer does not cover. */
  get #isUncovered(): boolean {
    if (!this.isProven || this.#isAsking) return false;
    return this.#live.some(({ pid, takenAt }) => {
      const age = Math.abs(this.#system.now() - takenAt);
      if (age > OPENS_WITHIN) return false;
      return age < this.#since(this.#answeredAt) + SETTLED_AFTER ||
        this.#system.catches(pid, "SIGTERM") === false;
    });
  }
}
