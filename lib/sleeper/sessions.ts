/** The sessions on a lane: how long it stays for them, and what they show of its server. */
import type { Lane } from "../lane/layout.ts";
import { learn, learned, noteEarlyEnd, noteRefusal } from "../lane/learned.ts";
import type { SeenLease, Sweep } from "../lane/lease.ts";
import { endOf, keptUntil, type LaneRecord, startOf } from "../lane/record.ts";
import { removePath } from "../os/files.ts";
import type { System } from "../os/system.ts";

/**
 * A lane on which no session has begun for this long, ms, is not in use any more and not pinged: the next
 * call waits for that. Each ping costs the master about 300 bytes for good, since mux.c and channels.c keep
 * every forward.
 */
const IN_USE = 10 * 60_000;
/** A connection that ends within this time after a session's end, or its start, has ended with it, ms. */
const ENDS_WITH = 1000;
/** A second session that is on a connection for this long is borne by it, ms. */
const BORNE_AFTER = 2000;

type SessionSystem = Pick<System, "catches" | "now" | "steady">;

export class Sessions {
  readonly #lane: Lane;
  readonly #record: LaneRecord;
  readonly #system: SessionSystem;
  /** Ms since the epoch. */
  readonly #endsAt: number;
  #keptUntil = 0;
  #live: readonly SeenLease[] = [];
  #count = 0;
  /** Those that have ended, of the last sweep that saw any. */
  #ended: readonly SeenLease[] = [];
  // Steady clock, ms: when a lease was last seen, and when a new one was last seen.
  #usedAt: number;
  #begunAt: number;
  #hasOutlived = false;
  /** Several at once have been seen on the connection. */
  #areBorne = false;
  /** The end of the connection, if we have seen it. */
  #cut?: { readonly at: number; readonly isUsed: boolean; readonly isExcused: boolean };

  constructor(lane: Lane, record: LaneRecord, system: SessionSystem) {
    this.#lane = lane;
    this.#record = record;
    this.#system = system;
    this.#endsAt = endOf(lane, record);
    this.#usedAt = this.#begunAt = system.steady();
  }

  /** Those that were there at the last sweep, channels too. */
  get live(): readonly SeenLease[] {
    return this.#live;
  }

  /** Whether a session has begun within the last minutes: calls may rely on the mark. */
  get isInUse(): boolean {
    return this.#system.steady() - this.#begunAt < IN_USE;
  }

  /** Whether the lane is too old for another session, or the certificate that it may have used is. */
  get isOver(): boolean {
    return this.#system.now() >= this.#endsAt;
  }

  /** How much longer the lane stays if nobody uses it, ms. */
  get left(): number {
    const [now, steady] = [this.#system.now(), this.#system.steady()];
    const linger = (this.#record.linger ?? Infinity) * 1000;
    const idle = Math.max(this.#usedAt + linger - steady, this.#keptUntil - now);
    return Math.min(idle, this.#endsAt - now);
  }

  /** Whether the first session may still show something by its end. */
  get isTelling(): boolean {
    return this.#count > 0 && !this.#hasOutlived;
  }

  /** Records a sweep of the lane's leases. */
  note({ live, begun, ended }: Sweep): void {
    this.#live = live;
    this.#count += begun;
    if (ended.length > 0) this.#ended = ended.filter(({ kind }) => kind === "running");
    if (begun > 0) this.#begunAt = this.#system.steady();
    if (live.length > 0 || begun > 0 || ended.length > 0) this.touch();
    this.#keptUntil = keptUntil(this.#lane);
  }

  /** Records that a session is there, or has been just now. */
  touch(): void {
    this.#usedAt = this.#system.steady();
  }

  /** Records that the connection is alive. */
  noteAlive(): void {
    const { dir } = this.#lane;
    const now = this.#system.now();
    const running = this.#running;
    const isBorne = !this.#areBorne && running.length > 1 &&
      running.every(({ takenAt }) => now - takenAt > BORNE_AFTER);
    if (isBorne && learned(dir, "several", now) === undefined) learn(dir, "several", "", now);
    this.#areBorne ||= isBorne;
    if (!this.isTelling || running.length > 0) return;
    this.#hasOutlived = this.#system.steady() - this.#usedAt > ENDS_WITH;
    if (this.#hasOutlived) removePath(`${dir}/ended-early`);
  }

  /**
   * Whether the server has refused one, so that ssh has connected by itself: then it catches SIGQUIT
   * (client_loop() in clientloop.c), as a client of a master does not. Records how many it bears. Sessions
   * whose ssh was killed keep their place on the server until their command ends.
   */
  haveRefusal(): boolean {
    const catches = (signal: Deno.Signal) =>
      this.#running.filter(({ pid }) => this.#system.catches(pid, signal) === true).length;
    const refused = catches("SIGQUIT");
    if (refused === 0) return false;
    noteRefusal(this.#lane.dir, catches("SIGTERM") - refused, this.#system.now());
    return true;
  }

  /**
   * Records that the connection has ended just now.
   *
   * @param isUsed a session was on it
   * @param isExcused it did not end with a session: the link is in doubt, or we end it
   */
  cutOff(isUsed: boolean, isExcused: boolean): void {
    this.#cut = { at: this.#system.now(), isUsed, isExcused };
  }

  /** Judges the end of the connection; `wasHeld`: the sleeper had reached its master. */
  noteEnd(wasHeld: boolean): void {
    const { dir } = this.#lane;
    const now = this.#system.now();
    if (this.#cut?.isExcused || this.#running.length > 0) return;
    if (this.#count > 1) {
      // Perhaps it ended as the last of them began.
      const [newest = 0, other] = this.#ended.map(({ takenAt }) => takenAt).sort((a, b) => b - a);
      if (other === undefined || !(Math.abs((this.#cut?.at ?? NaN) - newest) <= ENDS_WITH)) return;
      if (learned(dir, "several", now) === undefined) learn(dir, "sessions", "1", now);
    } else if (this.#count === 1 && !this.#cut?.isUsed) {
      if (this.#system.steady() - this.#usedAt > ENDS_WITH) return;
      // By itself the master stays for its grace. ssh counts whole seconds, and may end a second early.
      const age = now - (startOf(this.#lane) ?? 0);
      if (wasHeld || age < (this.#record.grace - 1) * 1000) noteEarlyEnd(dir, now);
    }
  }

  /** Without channels. */
  get #running(): readonly SeenLease[] {
    return this.#live.filter(({ kind }) => kind === "running");
  }
}
