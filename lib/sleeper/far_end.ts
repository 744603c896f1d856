/** The far end of a lane: pings it, one ping at a time, and keeps what the answers say. */
import { isMuxTrouble, pingDeadline } from "../lane/health.ts";
import { renew, roundTripOf, unverify, verify } from "../lane/lane.ts";
import type { Lane } from "../lane/layout.ts";
import { DeadlineExceeded, MuxConnection } from "../lane/mux_client.ts";
import type { System } from "../os/system.ts";

export class FarEnd {
  readonly #lane: Lane;
  readonly #system: Pick<System, "now" | "steady">;
  /** Pings have a connection of their own: a pending one pauses it. */
  #connection?: MuxConnection;
  #isClosed = false;
  #isAsking = false;
  #isSilent = false;
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

  /** How long ago the last ping was sent, ms. */
  get askedAgo(): number {
    return this.#system.steady() - this.#askedAt;
  }

  /** How long ago the last ping that was answered was sent, ms. */
  get answeredAgo(): number {
    return this.#system.steady() - this.#answeredAt;
  }

  /** How long an answer may take, ms. */
  get deadline(): number {
    return pingDeadline(this.#roundTrip);
  }

  /** Whether the last ping was not answered within the deadline. */
  get isSilent(): boolean {
    return this.#isSilent;
  }

  /**
   * Pings, and renews the mark on an answer. At the deadline it withdraws the mark, calls `onSilence`, and
   * keeps waiting: a late answer still counts.
   *
   * @param isBusy the ping may be queued behind the data of sessions, so a longer round trip says nothing
   * about the link
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
        // Keep the connection: a forward that is granted late must be cancelled on it.
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
    if (isAlike && renew(this.#lane, now)) return; // One system call instead of five.
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
