/**
 * What a server has shown of itself, kept for each identity for a day. Most servers answer a ping and bear
 * many sessions on a connection. Some network devices, and some small servers, do not, and nothing but
 * their behaviour tells: ssh says what program it talks to only under -v.
 *
 *     direct       calls go direct: the server allows one session a connection
 *     sessions     no more sessions than this number at once on a connection
 *     several      it has borne a second session
 *     pings        "answers"; "once" after a first ping without an answer; "mute" after a second, on another
 *                  connection: such a server may end the connection for a ping
 *
 * Each counts until its mtime, which sh can compare without starting a program.
 */
import {
  createText,
  exists,
  readText,
  removePath,
  setModified,
  statOf,
  writeText,
} from "../os/files.ts";
import type { System } from "../os/system.ts";
import { directPath, endedEarlyPath, type Lane, terminalPath } from "./layout.ts";
import type { SeenLease, Sweep } from "./lease.ts";
import { startOf } from "./record.ts";

/** In ms. */
const DAY = 24 * 3600_000;
/** How long a number of sessions is kept that was seen once, ms: one killed client's may still be open. */
const ONCE = 10 * 60_000;

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

/** Returns how many sessions a server of an identity bears at once on a connection, if that was learned. */
export function sessionsOf(dir: string, now: number): number | undefined {
  return Number(learned(`${dir}/sessions`, now)) || undefined;
}

/** Returns what is known of how a server takes pings. */
export function pingsOf(dir: string, now: number): "answers" | "once" | "mute" | undefined {
  const word = learned(`${dir}/pings`, now);
  return word === "answers" || word === "once" || word === "mute" ? word : undefined;
}

/** Records that a ping was answered. */
export function noteAnswer(dir: string, now: number): void {
  if (pingsOf(dir, now + DAY / 2) === "answers") return; // Noted not long ago.
  learn(`${dir}/pings`, "answers", now + DAY);
}

/** Records that the first ping on a connection was not answered, or has ended the connection. */
export function noteNoAnswer(dir: string, now: number): void {
  const known = pingsOf(dir, now);
  if (known !== "answers") learn(`${dir}/pings`, known ? "mute" : "once", now + DAY);
}

/** Records that a server refused a session while `count` others were on the connection. */
export function noteRefusal(dir: string, count: number, now: number): void {
  if (count < 1) return;
  const isKnown = readText(`${dir}/sessions`)?.trim() === `${count}`;
  learn(`${dir}/sessions`, `${count}`, now + (isKnown ? DAY : ONCE));
}

/** Forgets what was learned about an identity: a new login may show something else. */
export function forgetLearned(dir: string): void {
  const names = ["sessions", "several", "pings", "once-refused"].map((name) => `${dir}/${name}`);
  for (const path of [directPath(dir), endedEarlyPath(dir), terminalPath(dir), ...names]) {
    removePath(path);
  }
}

function learned(path: string, now: number): string | undefined {
  const until = statOf(path)?.mtime?.getTime() ?? 0;
  return until > now && until <= now + DAY + 1000 ? readText(path)?.trim() : undefined;
}

function learn(path: string, text: string, until: number): void {
  writeText(path, `${text}\n`);
  setModified(path, until);
}

/** A connection that ends within this time after a session's end, or its start, has ended with it, ms. */
const ENDS_WITH = 1000;
/** A second session that is on a connection for this long is borne by it, ms. */
const BORNE_AFTER = 2000;

/** Finds out by a lane's sessions how many its server allows on a connection. */
export class SessionsOfLane {
  readonly #lane: Lane;
  readonly #system: Pick<System, "catches" | "now" | "steady">;
  #sessions = 0;
  #live: readonly SeenLease[] = [];
  #ended: readonly SeenLease[] = [];
  /** Steady clock, ms: when a session was last seen. */
  #seenAt: number;
  #hasOutlived = false;
  #isExcused = false;
  /** When the connection ended, ms since the epoch, and whether a session was on it then. */
  #endedAt = -Infinity;
  #wasUsed = false;

  constructor(lane: Lane, system: Pick<System, "catches" | "now" | "steady">) {
    this.#lane = lane;
    this.#system = system;
    this.#seenAt = system.steady();
  }

  /** Whether there is still something to find out about the first session. */
  get isOpen(): boolean {
    return this.#sessions > 0 && !this.#hasOutlived;
  }

  /** Records a sweep of the lane's leases. */
  note({ live, begun, ended }: Sweep): void {
    this.#sessions += begun;
    this.#live = live.filter(({ kind }) => kind === "running");
    if (ended.length > 0) this.#ended = ended.filter(({ kind }) => kind === "running");
    if (live.length > 0 || begun > 0 || ended.length > 0) this.#seenAt = this.#system.steady();
  }

  /** Records that the connection is alive. */
  noteAlive(): void {
    const now = this.#system.now();
    const path = `${this.#lane.dir}/several`;
    const isBorne = this.#live.length > 1 &&
      this.#live.every(({ takenAt }) => now - takenAt > BORNE_AFTER);
    if (isBorne && !exists(path)) learn(path, "", now + DAY);
    if (!this.isOpen || this.#live.length > 0) return;
    this.#hasOutlived = this.#system.steady() - this.#seenAt > ENDS_WITH;
    if (this.#hasOutlived) removePath(endedEarlyPath(this.#lane.dir));
  }

  /**
   * Whether the server has refused one, so that ssh has connected by itself: then it catches SIGQUIT
   * (client_loop() in clientloop.c), as a client of a master does not. Records how many it bears. Sessions
   * whose ssh was killed keep their place on the server until their command ends.
   */
  haveRefusal(): boolean {
    const catches = (signal: Deno.Signal) =>
      this.#live.filter(({ pid }) => this.#system.catches(pid, signal) === true).length;
    const refused = catches("SIGQUIT");
    if (refused > 0) {
      noteRefusal(this.#lane.dir, catches("SIGTERM") - refused, this.#system.now());
    }
    return refused > 0;
  }

  /** Records that the connection did not end with a session: the link is in doubt, or we end it. */
  excuse(): void {
    this.#isExcused = true;
  }

  /** Records that the connection has ended just now. */
  cutOff(isUsed: boolean): void {
    this.#endedAt = this.#system.now();
    this.#wasUsed = isUsed;
  }

  /**
   * Judges the end of the connection.
   *
   * @param grace seconds that the master would have stayed if the sleeper never reached it; 0 if it did
   */
  noteEnd(grace: number): void {
    if (this.#isExcused || this.#live.length > 0) return;
    if (this.#sessions > 1) return this.#noteSecond();
    if (this.#sessions < 1 || this.#wasUsed) return;
    if (this.#system.steady() - this.#seenAt > ENDS_WITH) return;
    const age = this.#system.now() - (startOf(this.#lane) ?? 0);
    // ssh counts whole seconds, so its own ControlPersist may end one early.
    if (grace === 0 || age < (grace - 1) * 1000) noteEarlyEnd(this.#lane.dir, this.#system.now());
  }

  /** The connection has ended with several sessions on it: perhaps as the last of them began. */
  #noteSecond(): void {
    const { dir } = this.#lane;
    const [newest = 0, other] = this.#ended.map(({ takenAt }) => takenAt).sort((a, b) => b - a);
    if (other === undefined || Math.abs(this.#endedAt - newest) > ENDS_WITH) return;
    const now = this.#system.now();
    if (learned(`${dir}/several`, now) === undefined) learn(`${dir}/sessions`, "1", now + DAY);
  }
}

/**
 * Records that a connection ended together with its first session. After the second in a row, calls of
 * the identity go direct.
 */
function noteEarlyEnd(dir: string, now: number): void {
  if (createText(endedEarlyPath(dir), "")) return;
  noteDirect(dir, "its server allows one session per connection", now);
  removePath(endedEarlyPath(dir));
}

/** Records why calls of an identity go direct for a day. */
export function noteDirect(dir: string, why: string, now: number): void {
  const until = Math.floor((now + DAY) / 1000);
  writeText(directPath(dir), `${until}\n${why}\n`);
  setModified(directPath(dir), until * 1000); // The launcher compares times without a fork.
}
