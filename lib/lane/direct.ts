/**
 * What was learned about a server that does not support sharing: calls of the identity go direct for a day.
 * Some servers, on network devices for example, end the connection with its first session.
 */
import { createText, readText, removePath, setModified, writeText } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { startOf } from "./lane.ts";
import { directPath, endedEarlyPath, type Lane, terminalPath } from "./layout.ts";
import type { Sweep } from "./lease.ts";

/** Seconds. */
const DAY = 24 * 3600;

export interface Learned {
  /** Seconds since the epoch. */
  readonly until: number;
  readonly why: string;
}

/** Returns why calls of an identity go direct at `now` (ms since the epoch), if they do. */
export function directOf(dir: string, now: number): Learned | undefined {
  const [until, why] = (readText(directPath(dir)) ?? "").split("\n");
  return Number(until) * 1000 > now ? { until: Number(until), why: why ?? "" } : undefined;
}

/**
 * Records that a connection ended together with its first session. After the second in a row, calls of
 * the identity go direct.
 */
function noteEarlyEnd(dir: string, now: number): void {
  if (createText(endedEarlyPath(dir), "")) return;
  const until = Math.floor(now / 1000) + DAY;
  writeText(directPath(dir), `${until}\nits server allows one session per connection\n`);
  setModified(directPath(dir), until * 1000); // The launcher compares times without a fork.
  removePath(endedEarlyPath(dir));
}

/** Forgets what was learned about an identity: a new login may show something else. */
export function forgetLearned(dir: string): void {
  for (const path of [directPath(dir), endedEarlyPath(dir), terminalPath(dir)]) removePath(path);
}

/** A connection that ends within this time after its first session has ended with it, ms. */
const ENDS_WITH = 1000;

/** Finds out whether a lane's connection ends together with its first session. */
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

  /** Whether there is still something to find out. */
  get isOpen(): boolean {
    return this.#sessions > 0 && !this.#hasOutlived;
  }

  /** Records a sweep of the lane's leases. */
  note({ live, begun, ended }: Sweep): void {
    this.#sessions += begun;
    this.#isOver = live.length === 0;
    if (!this.#isOver || begun > 0 || ended.length > 0) this.#seenAt = this.#system.steady();
  }

  /** Records that the connection is alive. */
  noteAlive(): void {
    if (!this.isOpen || !this.#isOver) return;
    this.#hasOutlived = this.#system.steady() - this.#seenAt > ENDS_WITH;
    if (this.#hasOutlived) removePath(endedEarlyPath(this.#lane.dir));
  }

  /** Records that the connection did not end with a session: one was still on it, or the link in doubt. */
  excuse(): void {
    this.#isExcused = true;
  }

  /**
   * Records that the connection has ended.
   *
   * @param grace seconds that the master would have stayed if the sleeper never reached it; 0 if it did
   */
  noteEnd(grace: number): void {
    if (this.#sessions !== 1 || !this.#isOver || this.#isExcused) return;
    if (this.#system.steady() - this.#seenAt > ENDS_WITH) return;
    const age = this.#system.now() - (startOf(this.#lane) ?? 0);
    // ssh counts whole seconds, so its own ControlPersist may end one early.
    if (grace === 0 || age < (grace - 1) * 1000) noteEarlyEnd(this.#lane.dir, this.#system.now());
  }
}
