/** The far end of a lane: asked one question at a time, and what its answers say. */
import { isMuxTrouble, pingDeadline } from "../lane/health.ts";
import { renew, roundTripOf, unverify, verify } from "../lane/lane.ts";
import type { Lane } from "../lane/layout.ts";
import { DeadlineExceeded, MuxConnection } from "../lane/mux_client.ts";
import type { System } from "../os/system.ts";

export class FarEnd {
  readonly #lane: Lane;
  readonly #system: Pick<System, "now" | "steady">;
  /** Questions have a connection of their own: one that is pending pauses it. */
  #connection?: MuxConnection;
  #isClosed = false;
  #isAsking = false;
  #isSilent = false;
  /** What is known of it, and what the mark says, ms. */
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

  /** How long ago it was asked last, ms. */
  get askedAgo(): number {
    return this.#system.steady() - this.#askedAt;
  }

  /** How long ago it was asked what it has answered last, ms. */
  get answeredAgo(): number {
    return this.#system.steady() - this.#answeredAt;
  }

  /** How long it may take to answer, ms. */
  get deadline(): number {
    return pingDeadline(this.#roundTrip);
  }

  /** Whether it has not answered the last question within the deadline. */
  get isSilent(): boolean {
    return this.#isSilent;
  }

  /**
   * Asks, and renews the mark when it has answered. When the deadline has passed it withdraws the mark,
   * calls `onSilence`, and waits on: an answer that comes later counts still.
   *
   * @param isBusy the question may wait behind the data of sessions: a longer round trip is not the
   * link's
   */
  async ask(isBusy: boolean, onSilence: () => void): Promise<void> {
    this.#isAsking = true;
    this.#askedAt = this.#system.steady();
    try {
      const connection = await this.#connect();
      try {
        const roundTrip = await connection.ping({ deadline: this.deadline });
        this.#answer(isBusy ? Math.min(roundTrip, this.#roundTrip ?? Infinity) : roundTrip);
      } catch (error) {
        if (!(error instanceof DeadlineExceeded)) throw error;
        this.#isLate(onSilence);
        // The connection stays: a forward that is granted late must be taken back on it.
        await connection.settled();
        this.#answer(this.#roundTrip ?? this.deadline);
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

  #answer(roundTrip: number): void {
    this.#answeredAt = this.#askedAt;
    this.#isSilent = false;
    this.#roundTrip = roundTrip;
    const isAlike = roundTrip < 2 * this.#marked && this.#marked < 2 * roundTrip;
    const now = this.#system.now();
    if (isAlike && renew(this.#lane, now)) return; // One call of the system in place of five.
    verify(this.#lane, roundTrip, now);
    this.#marked = roundTrip;
  }

  #isLate(onSilence: () => void): void {
    if (this.#isClosed || this.#isSilent) return;
    this.#isSilent = true;
    unverify(this.#lane);
    onSilence();
  }
}
