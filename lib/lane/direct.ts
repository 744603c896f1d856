/**
 * What was learned of a server that bears no sharing: calls of the identity go plain for a day. Some
 * servers, of network devices for example, end the connection with its first session.
 */
import { createText, exists, readText, removePath, setModified, writeText } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { startOf } from "./lane.ts";
import { directPath, endedEarlyPath, type Lane, terminalPath } from "./layout.ts";
import type { Sweep } from "./lease.ts";

/** s. */
const DAY = 24 * 3600;

export interface Direct {
  /** Seconds since the epoch. */
  readonly until: number;
  readonly why: string;
}

/** Why calls of an identity go plain at `now` (ms since the epoch), if they do. */
export function directOf(dir: string, now: number): Direct | undefined {
  const [until, why] = (readText(directPath(dir)) ?? "").split("\n");
  return Number(until) * 1000 > now ? { until: Number(until), why: why ?? "" } : undefined;
}

/**
 * Notes that a connection has ended together with its first session; the second in a row makes the
 * identity direct.
 */
function noteEarlyEnd(dir: string, now: number): void {
  if (createText(endedEarlyPath(dir), "")) return;
  const until = Math.floor(now / 1000) + DAY;
  writeText(directPath(dir), `${until}\nits server allows one session per connection\n`);
  setModified(directPath(dir), until * 1000); // The launcher compares times without a fork.
  removePath(endedEarlyPath(dir));
}

/** Forgets what was learned of an identity: a new login may show it to be otherwise. */
export function forgetLearned(dir: string): void {
  for (const path of [directPath(dir), endedEarlyPath(dir), terminalPath(dir)]) removePath(path);
}

/** Notes that a connection has outlived its first session. */
function noteOutlived(dir: string): void {
  if (exists(endedEarlyPath(dir))) removePath(endedEarlyPath(dir));
}

/** A connection that ends so soon after its first session has ended with it, ms. */
const ENDS_WITH = 1000;

/** Whether a lane's connection ends together with its first session. */
export class FirstSession {
  readonly #lane: Lane;
  readonly #system: Pick<System, "now" | "steady">;
  #sessions = 0;
  #isOver = false;
  /** Steady clock, ms: when a session was last seen. */
  #seenAt: number;
  #hasOutlived = false;
  #isExcused = false;

  constructor(lane: Lane, system: Pick<System, "now" | "steady">) {
    this.#lane = lane;
    this.#system = system;
    this.#seenAt = system.steady();
  }

  /** Whether there is something to be found out still. */
  get isOpen(): boolean {
    return this.#sessions > 0 && !this.#hasOutlived;
  }

  /** Takes note of a look at the lane's leases. */
  note({ live, begun, ended }: Sweep): void {
    this.#sessions += begun;
    this.#isOver = live.length === 0;
    if (!this.#isOver || begun > 0 || ended.length > 0) this.#seenAt = this.#system.steady();
  }

  /** Takes note that the connection lives. */
  noteAlive(): void {
    if (!this.isOpen || !this.#isOver) return;
    this.#hasOutlived = this.#system.steady() - this.#seenAt > ENDS_WITH;
    if (this.#hasOutlived) noteOutlived(this.#lane.dir);
  }

  /** The connection has ended, and not with a session: one was on it still, or the link was in doubt. */
  excuse(): void {
    this.#isExcused = true;
  }

  /**
   * Takes note that the connection has ended.
   *
   * @param grace s that a master would have stayed that was never met; 0 for one that was
   */
  noteEnd(grace: number): void {
    if (this.#sessions !== 1 || !this.#isOver || this.#isExcused) return;
    if (this.#system.steady() - this.#seenAt > ENDS_WITH) return;
    const age = this.#system.now() - (startOf(this.#lane) ?? 0);
    if (grace === 0 || age < grace * 1000) noteEarlyEnd(this.#lane.dir, this.#system.now());
  }
}
