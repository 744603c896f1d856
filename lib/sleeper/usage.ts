/** How a lane is used, and how long it stays. */
import type { Lane } from "../lane/layout.ts";
import type { Sweep } from "../lane/lease.ts";
import { endOf, keptUntil, type LaneRecord } from "../lane/record.ts";
import type { System } from "../os/system.ts";

/**
 * A lane on which no session has begun for this long, ms, is not in use any more and not pinged: the next
 * call waits for that. Each ping costs the master about 300 bytes for good, since mux.c and channels.c keep
 * every forward.
 */
const IN_USE = 10 * 60_000;

export class Usage {
  readonly #lane: Lane;
  readonly #system: Pick<System, "now" | "steady">;
  /** In ms. */
  readonly #linger: number;
  /** Ms since the epoch. */
  readonly #endsAt: number;
  #keptUntil = 0;
  // Steady clock, ms: when a lease was last seen, and when a new one was last seen.
  #usedAt: number;
  #begunAt: number;

  constructor(lane: Lane, record: LaneRecord, system: Pick<System, "now" | "steady">) {
    this.#lane = lane;
    this.#system = system;
    this.#linger = (record.linger ?? Infinity) * 1000;
    this.#endsAt = endOf(lane, record);
    this.#usedAt = this.#begunAt = system.steady();
  }

  /** Whether a session has begun within the last minutes: calls may rely on the mark. */
  get isInUse(): boolean {
    return this.#system.steady() - this.#begunAt < IN_USE;
  }

  /** Whether it is too old for another session, or the certificate that it may have used is. */
  get isOver(): boolean {
    return this.#system.now() >= this.#endsAt;
  }

  /** How much longer it stays if nobody uses it, ms. */
  get left(): number {
    const [now, steady] = [this.#system.now(), this.#system.steady()];
    const idle = Math.max(this.#usedAt + this.#linger - steady, this.#keptUntil - now);
    return Math.min(idle, this.#endsAt - now);
  }

  note({ live, begun, ended }: Sweep): void {
    const now = this.#system.steady();
    if (live.length > 0 || begun > 0 || ended.length > 0) this.#usedAt = now;
    if (begun > 0) this.#begunAt = now;
    this.#keptUntil = keptUntil(this.#lane);
  }

  /** Notes that a session has begun just now. */
  touch(): void {
    this.#usedAt = this.#system.steady();
  }
}
