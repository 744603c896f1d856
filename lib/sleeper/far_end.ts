/** The far end of a lane: pings it, one ping at a time, and keeps what the answers say. */
import { renew, roundTripOf, unverify, VERIFIED_FOR, verify } from "../lane/lane.ts";
import type { Lane } from "../lane/layout.ts";
import { noteAnswer, noteNoAnswer, pingsOf } from "../lane/learned.ts";
import { DeadlineExceeded, isMuxTrouble, MuxConnection } from "../lane/mux_client.ts";
import type { System } from "../os/system.ts";

/** How long the far end may take, ms, or four times the last round trip if that is longer. */
const PING_DEADLINE = 3000;

/** How often the far end is asked, and how long an answer is valid (ms). */
export interface Pace {
  readonly every: number;
  readonly validFor: number;
}

/** An open session may hold a call for as long as the mark is valid, so that it is short then. */
export const PACES = {
  open: { every: 5_000, validFor: 8_000 },
  idle: { every: 15_000, validFor: VERIFIED_FOR },
} as const;

export class FarEnd {
  readonly #lane: Lane;
  readonly #system: Pick<System, "now" | "steady">;
  /** Pings have a connection of their own: a pending one pauses it. */
  #connection?: MuxConnection;
  #isClosed = false;
  #isAsking = false;
  #isSilent = false;
  #hasAnswered = false;
  #isUnborne = false;
  /** The last known round trip, and the one in the mark, ms. */
  #roundTrip?: number;
  #marked = Infinity;
  /** Steady clock, ms. */
  #askedAt = -Infinity;
  #answeredAt = -Infinity;

  constructor(lane: Lane, system: Pick<System, "now" | "steady">) {
    this.#lane = lane;
    this.#system = system;
    this.#roundTrip = roundTripOf(lane);
  }

  get isAsking(): boolean {
    return this.#isAsking;
  }

  /** How long ago the last ping was sent, or the mark was renewed without one, ms. */
  get askedAgo(): number {
    return this.#system.steady() - this.#askedAt;
  }

  /** How long ago the last ping that was answered was sent, ms. */
  get answeredAgo(): number {
    return this.#system.steady() - this.#answeredAt;
  }

  /** How long an answer may take, ms. */
  get deadline(): number {
    return Math.max(PING_DEADLINE, 4 * (this.#roundTrip ?? 0));
  }

  /** Whether the last ping was not answered within the deadline. */
  get isSilent(): boolean {
    return this.#isSilent;
  }

  /** Whether the server is known to answer pings. If not, silence proves nothing. */
  get isProven(): boolean {
    return this.#hasAnswered || pingsOf(this.#lane.dir, this.#system.now()) === "answers";
  }

  /** Whether the server may be asked. Some end the connection for a ping: so first on an idle one. */
  mayAsk(isIdle: boolean): boolean {
    if (this.isProven) return true;
    return isIdle && !this.#isUnborne && pingsOf(this.#lane.dir, this.#system.now()) !== "mute";
  }

  /** Renews the mark of a lane whose server must not be asked: its master is connected, as far as it knows. */
  trust({ validFor }: Pace): void {
    this.#askedAt = this.#system.steady();
    this.#mark(this.#roundTrip ?? 0, validFor);
  }

  /**
   * Pings, and renews the mark on an answer. At the deadline it withdraws the mark, calls `onSilence`, and
   * keeps waiting: a late answer still counts.
   *
   * @param isBusy the ping may be queued behind the data of sessions, so a longer round trip says nothing
   * about the link
   */
  async ask(isBusy: boolean, { validFor }: Pace, onSilence: () => void): Promise<void> {
    this.#isAsking = true;
    const askedAt = this.#askedAt = this.#system.steady();
    try {
      const connection = await this.#connect();
      try {
        const roundTrip = await connection.ping({ deadline: this.deadline });
        this.#answeredAt = askedAt;
        this.#answer(
          isBusy ? Math.min(roundTrip, this.#roundTrip ?? Infinity) : roundTrip,
          validFor,
        );
      } catch (error) {
        if (!(error instanceof DeadlineExceeded)) throw error;
        this.#isLate(onSilence);
        // Keep the connection: a forward that is granted late must be cancelled on it.
        await connection.settled();
        this.#answeredAt = askedAt;
        this.#answer(this.#roundTrip ?? this.deadline, validFor);
      }
    } catch (error) {
      if (!isMuxTrouble(error)) throw error;
      this.#disconnect();
      this.#isLate(onSilence);
    } finally {
      this.#isAsking = false;
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#disconnect();
  }

  async #connect(): Promise<MuxConnection> {
    const connection = this.#connection ?? await MuxConnection.connect(this.#lane.socket);
    if (this.#isClosed) connection.close();
    return this.#connection = connection;
  }

  #disconnect(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  #answer(roundTrip: number, validFor: number): void {
    this.#isSilent = false;
    this.#hasAnswered = true;
    this.#roundTrip = roundTrip;
    noteAnswer(this.#lane.dir, this.#system.now());
    this.#mark(roundTrip, validFor);
  }

  #mark(roundTrip: number, validFor: number): void {
    const isAlike = roundTrip < 2 * this.#marked && this.#marked < 2 * roundTrip;
    const now = this.#system.now();
    if (isAlike && renew(this.#lane, now, validFor)) return; // One system call instead of five.
    verify(this.#lane, roundTrip, now, validFor);
    this.#marked = roundTrip;
  }

  #isLate(onSilence: () => void): void {
    if (this.#isClosed || this.#isSilent) return;
    this.#isSilent = true;
    if (this.isProven) unverify(this.#lane);
    else if (!this.#isUnborne) noteNoAnswer(this.#lane.dir, this.#system.now());
    this.#isUnborne = !this.isProven;
    onSilence();
  }
}
