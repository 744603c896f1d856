/**
 * Calls that wait, each in a read from a pipe of its own (`waiting/<identity>.<pid>`): hands out the places
 * on lanes, in the order in which the pipes were made. A wake means "look again", so that one too many
 * costs a little time and nothing else.
 */
import { isOpen, isVerified } from "../lane/lane.ts";
import { type Lane, lanesOf } from "../lane/layout.ts";
import { sessionsOf } from "../lane/learned.ts";
import { freePlaces, liveLeases } from "../lane/lease.ts";
import { keptUntil, readRecord, startOf } from "../lane/record.ts";
import { startersOf } from "../lane/starter.ts";
import { isSystemError, linkStatOf, makeDir, namesIn, removePath, wakePipe } from "../os/files.ts";
import type { System } from "../os/system.ts";

/** How often we look while calls wait for a place, and while all they wait for is a login, ms. */
const LOOK = { place: 5, login: 50 };
/** How long a woken call may take to its place, and how long lanes stay full until one logs in, ms. */
const GRACE = 100;
/** No call waits for this long, ms: its pid must be another process's by now. */
const LONGEST = 10 * 60_000;
/** How often a call is woken at most: the pipe of a stopped one must not fill up, as we would block on it. */
const MOST_WAKES = 500;
/** How often we look which of them are alive, ms. */
const CENSUS = 1000;

export type WaitingSystem = Pick<System, "isAlive" | "now" | "steady">;

interface Waiter {
  readonly path: string;
  readonly pid: number;
  /** Steady clock, ms: when it was last woken. */
  wokenAt: number;
  wakes: number;
}

export class Waiting implements Disposable {
  readonly #stateDir: string;
  readonly #dir: string;
  readonly #system: WaitingSystem;
  readonly #answer: (lane: Lane) => void;
  #timer?: ReturnType<typeof setTimeout>;
  /** By the names of their pipes, those first that are next. */
  readonly #waiters = new Map<string, Waiter>();
  /** Since when the lanes of an identity are full, steady clock, ms. */
  readonly #fullSince = new Map<string, number>();
  #censusAt = 0;

  /**
   * Makes the directory, and serves who waits in it, until it is disposed of.
   *
   * @param answer makes a lane, whose mark is old, answer or go
   */
  constructor(stateDir: string, system: WaitingSystem, answer: (lane: Lane) => void) {
    this.#stateDir = stateDir;
    this.#dir = `${stateDir}/waiting`;
    this.#system = system;
    this.#answer = answer;
    try {
      makeDir(this.#dir);
    } catch (error) {
      if (!isSystemError(error)) throw error; // A full disk: the first call that waits will have made it.
    }
    this.serve();
  }

  get isEmpty(): boolean {
    return this.#waiters.size === 0;
  }

  /**
   * Looks once, and again soon if calls wait. A call that begins to wait writes to `used`: to watch the
   * directory would be to wait for a writer, since what watches for Deno opens the pipes in it.
   */
  serve(): void {
    clearTimeout(this.#timer);
    let next = CENSUS;
    try {
      this.#note(namesIn(this.#dir));
      if (this.isEmpty) return this.#fullSince.clear();
      const identities = new Set([...this.#waiters.keys()].map((name) => name.slice(0, 16)));
      for (const identity of identities) next = Math.min(next, this.#serve(identity));
    } catch (error) {
      if (!isSystemError(error)) throw error; // No more file descriptors, for example.
    }
    this.#timer = setTimeout(() => this.serve(), next);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  /** Adds the pipes that are new, and forgets those that are gone, or whose process is. */
  #note(names: readonly string[]): void {
    const here = new Set(names);
    for (const name of this.#waiters.keys()) if (!here.has(name)) this.#waiters.delete(name);
    const isNew = (name: string) => /^[0-9a-f]{16}\.\d+$/.test(name) && !this.#waiters.has(name);
    const fresh = names.filter(isNew).flatMap((name) => {
      const path = `${this.#dir}/${name}`;
      const info = linkStatOf(path);
      return info?.isFifo ? [{ name, path, made: info.mtime?.getTime() ?? 0 }] : [];
    });
    fresh.sort((a, b) => a.made - b.made);
    for (const { name, path, made } of fresh) {
      const pid = Number(name.slice(17));
      if (this.#system.now() - made > LONGEST) removePath(path);
      else this.#waiters.set(name, { path, pid, wokenAt: -Infinity, wakes: 0 });
    }
    const now = this.#system.steady();
    if (now - this.#censusAt < CENSUS) return;
    this.#censusAt = now;
    for (const name of this.#waiters.keys()) this.#isHere(name);
  }

  #isHere(name: string): boolean {
    const { pid, path } = this.#waiters.get(name)!;
    if (this.#system.isAlive(pid)) return true;
    removePath(path);
    return !this.#waiters.delete(name);
  }

  /** Serves the calls that wait for an identity. Returns when to look again, ms. */
  #serve(identity: string): number {
    const dir = `${this.#stateDir}/${identity}`;
    const now = this.#system.steady();
    const lanes = lanesOf(dir).filter(isOpen);
    const doubted = lanes.filter((lane) => !isVerified(lane, this.#system.now()));
    for (const lane of doubted) this.#answer(lane);
    const free = lanes.filter((lane) => !doubted.includes(lane))
      .reduce((sum, lane) => sum + this.#freeOn(lane), 0);
    const names = [...this.#waiters.keys()].filter((name) => name.startsWith(identity));
    const asleep = names.filter((name) => now - this.#waiters.get(name)!.wokenAt >= GRACE);
    const onTheirWay = names.length - asleep.length;
    for (let left = free - onTheirWay; left > 0 && this.#wake(asleep, "place");) left--;
    // An attempt that was broken off, or whose pid is another process's, is for the next call to clear.
    const isLoggingIn = startersOf(dir, this.#system).at(-1)?.state === "running";
    if (free > 0 || doubted.length > 0 || onTheirWay > 0 || isLoggingIn) {
      this.#fullSince.delete(identity);
      return lanes.length > 0 ? LOOK.place : LOOK.login;
    }
    const fullSince = this.#fullSince.get(identity) ?? now;
    this.#fullSince.set(identity, fullSince);
    if (lanes.length === 0 || now - fullSince >= GRACE) this.#wake(asleep, "login");
    return LOOK.place;
  }

  /** Returns how many more sessions a lane takes. */
  #freeOn(lane: Lane): number {
    const now = this.#system.now();
    const record = readRecord(lane);
    // Who logged in has just woken as many as there are places.
    if (!record || Math.abs(now - (startOf(lane) ?? 0)) < GRACE) return 0;
    const maxSessions = Math.min(record.maxSessions, sessionsOf(lane.dir, now) ?? Infinity);
    const leases = liveLeases(lane, this.#system);
    return freePlaces({ ...record, maxSessions }, leases, keptUntil(lane) > now);
  }

  /** Wakes the next of these calls, which it takes from the list; false if there is none. */
  #wake(asleep: string[], word: "place" | "login"): boolean {
    for (let name; (name = asleep.shift());) {
      const waiter = this.#waiters.get(name)!;
      if (waiter.wakes >= MOST_WAKES || !this.#isHere(name)) continue;
      // Behind the others, should it still be there later: it may be stopped.
      this.#waiters.delete(name);
      this.#waiters.set(name, waiter);
      waiter.wokenAt = this.#system.steady();
      waiter.wakes++;
      wakePipe(waiter.path, word);
      return true;
    }
    return false;
  }
}
