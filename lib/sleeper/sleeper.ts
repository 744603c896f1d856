/**
 * The sleeper: one small detached process per user, however many masters. It holds one control connection
 * to each lane, which keeps the master's ControlPersist from counting down and costs the server nothing. It
 * lets go of a lane when its last session has been over for its linger.
 *
 * It never ends a lane that works. If the sleeper dies, idle masters exit after their grace, and the next
 * call starts another sleeper. While a lane is in use it looks after all of them every second; otherwise it
 * waits until a call writes to `used`, a call waits, or the next linger is over.
 */
import { lookSeconds, removeLane } from "../lane/lane.ts";
import { allLanes, type Lane } from "../lane/layout.ts";
import { type LaneRecord, readRecord, startOf } from "../lane/record.ts";
import { isJobDir } from "../lane/state_dir.ts";
import { exists, isSystemError, namesIn, removePath, writeText } from "../os/files.ts";
import { logLine } from "../os/log.ts";
import type { LockedFile } from "../os/locked_file.ts";
import { watchFile } from "../os/watch_file.ts";
import type { Given } from "../os/given.ts";
import { detach, trimMemory } from "../os/libc.ts";
import { realSystem, type System } from "../os/system.ts";
import { Alarm } from "./alarm.ts";
import { type Hands, HeldLane, type HeldSystem } from "./held_lane.ts";
import { Agents } from "./lane_agent.ts";
import { clearUnused, endJob, isAbandoned, isLoggingIn } from "./leftovers.ts";
import { takeSleeperFile } from "./sleeper_file.ts";
import { Waiting } from "./waiting.ts";

export type SleeperSystem =
  & HeldSystem
  & Pick<System, "addresses" | "commandLines" | "env" | "pid" | "pidNamespace">;

/** What the sleeper needs of what the launcher has settled. */
type SleeperGiven = Pick<Given, "stateDir" | "spaces">;

/** If a look comes this much too early or late, ms, the clock was set, or the machine or we were stopped. */
const JUMP = 2000;
/** The shortest time between two looks, ms. */
const MIN_PAUSE = 50;
/** How long sh may take to write the files of a new lane one after another, ms. */
const NEW_FOR = 5000;
/** How often memory is returned, ms, and how soon after the number of lanes has changed. */
const SHRINK = { every: 300_000, afterChange: 10_000 };

/** Becomes the sleeper of a state directory, detached from its caller. Returns the exit status. */
export function runSleeper(given: SleeperGiven): Promise<number> {
  detach();
  // Nobody sees its stderr.
  const log = (error: unknown) => {
    const { stack = error } = error as Error;
    logLine(`${given.stateDir}/sleeper.log`, realSystem.now(), `ended by a fault: ${stack}`);
  };
  globalThis.addEventListener("error", ({ error }) => log(error));
  globalThis.addEventListener("unhandledrejection", ({ reason }) => log(reason));
  return new Sleeper(given, realSystem).run();
}

export class Sleeper {
  readonly #given: SleeperGiven;
  readonly #dir: string;
  readonly #system: SleeperSystem;
  readonly #look: number;
  readonly #alarm = new Alarm();
  readonly #hands: Hands;
  /** By their records. */
  readonly #held = new Map<string, HeldLane>();
  /** Calls may have come since the last look. */
  #isCalled = true;
  #addresses: ReadonlySet<string> = new Set();
  /** When memory is returned next, and the number of lanes at the last look. */
  #shrinkAt = 0;
  #shrinkWith = 0;

  constructor(given: SleeperGiven, system: SleeperSystem, agents: Agents = new Agents(system)) {
    this.#given = given;
    this.#dir = given.stateDir;
    this.#system = system;
    this.#look = lookSeconds(system) * 1000;
    this.#hands = {
      system,
      agents,
      addresses: () => this.#addresses,
      log: (line) => this.#log(line),
      wake: () => this.#alarm.within(MIN_PAUSE),
    };
  }

  /** Looks after the lanes until there are none. Returns the exit status. */
  async run(): Promise<number> {
    for (;;) {
      using file = takeSleeperFile(this.#given, this.#system);
      if (!file) return 0;
      this.#log("awake");
      // First: somebody may have been waiting for as long as we took to start.
      using waiting = new Waiting(this.#dir, this.#system, (lane) => this.#answer(lane));
      await this.#clearUnused();
      await this.#watch(file, waiting);
      for (const held of this.#held.values()) held.letGo();
      this.#held.clear();
      if (!file.isMine()) return 0;
      await this.#clearUnused();
      file.remove(); // Calls start another one from now on.
      // A call that saw our pid before we removed the file relies on us.
      if (!allLanes(this.#dir).some((lane) => this.#isOurs(readRecord(lane)))) return 0;
      this.#isCalled = true;
    }
  }

  async #watch(file: LockedFile, waiting: Waiting): Promise<void> {
    this.#touchUsed();
    using _watch = watchFile(`${this.#dir}/used`, () => {
      waiting.serve();
      this.#isCalled = true;
      this.#alarm.within(this.#look);
    });
    while (file.isMine()) {
      if (await isAbandoned(this.#dir, this.#system)) {
        return await this.#guard(() => endJob(this.#dir, this.#system));
      }
      if (this.#hasLostAddress()) this.#doubtAll("a local address is gone");
      waiting.serve();
      await this.#lookAfterAll();
      if (await this.#isDone(waiting)) return;
      this.#shrink();
      await this.#wait(this.#pause());
    }
  }

  /** Waits for `ms` or until it is woken. Doubts all lanes if the clocks do not agree with that. */
  async #wait(ms: number): Promise<void> {
    const [wall, steady] = [this.#system.now(), this.#system.steady()];
    await this.#alarm.wait(ms);
    const passed = this.#system.steady() - steady;
    const jump = this.#system.now() - wall - passed;
    // A configuration edited after the clock was set back would look older than the plans.
    const plans = jump < -JUMP ? namesIn(`${this.#dir}/plans`) : [];
    for (const name of plans) removePath(`${this.#dir}/plans/${name}`);
    if (Math.abs(jump) > JUMP) this.#doubtAll("the clock jumped");
    else if (passed - ms > JUMP) this.#doubtAll("time has passed unseen");
  }

  /** Creates the file for calls, and wakes a sleeper of an older version, which then exits. */
  #touchUsed(): void {
    try {
      writeText(`${this.#dir}/used`, "");
    } catch (error) {
      if (!isSystemError(error)) throw error; // A full disk: we poll until a call has made it.
    }
  }

  async #isDone(waiting: Waiting): Promise<boolean> {
    if (isJobDir(this.#dir)) return false; // We must see the job's end, whether or not it shares.
    if (this.#held.size > 0 || this.#isCalled || !waiting.isEmpty) return false;
    return !await isLoggingIn(this.#dir, this.#system) && waiting.isEmpty;
  }

  /** Makes a lane answer that a call waits for. */
  #answer(lane: Lane): void {
    const held = this.#held.get(lane.record);
    if (held) return held.answer();
    this.#isCalled = true; // It is new to us.
    this.#alarm.within(MIN_PAUSE);
  }

  /** Returns how long there is nothing to do, ms. */
  #pause(): number {
    if (this.#held.size === 0 || this.#isCalled || isJobDir(this.#dir)) return this.#look;
    const due = [...this.#held.values()].map((held) => held.dueIn(this.#look));
    return Math.max(MIN_PAUSE, Math.min(...due));
  }

  /** Withdraws all marks; the pings follow. */
  #doubtAll(why: string): void {
    this.#log(`all lanes in doubt: ${why}`);
    for (const held of this.#held.values()) held.doubt();
  }

  /** Whether an address of this machine has vanished since the last look: a VPN, another network. */
  #hasLostAddress(): boolean {
    const now = new Set(this.#system.addresses());
    const lost = [...this.#addresses].some((address) => !now.has(address));
    this.#addresses = now;
    return lost;
  }

  async #lookAfterAll(): Promise<void> {
    const isCalled = this.#isCalled;
    this.#isCalled = false;
    if (isCalled) this.#takeNew();
    this.#hands.agents.forget();
    await Promise.all(Array.from(this.#held, async ([record, held]) => {
      if (await held.lookAfter(isCalled) === "gone") this.#held.delete(record);
    }));
  }

  #takeNew(): void {
    try {
      for (const lane of allLanes(this.#dir)) this.#take(lane);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      this.#log(`new lanes are not seen: ${error.message}`); // No more file descriptors.
      this.#isCalled = true;
    }
  }

  #take(lane: Lane): void {
    if (this.#held.has(lane.record)) return;
    const record = readRecord(lane);
    const isNew = Math.abs(this.#system.now() - (startOf(lane) ?? 0)) < NEW_FOR;
    if (!record && !isNew) removeLane(lane); // Incomplete, after a power failure.
    else if (!record || (isNew && !exists(lane.leases) && !exists(lane.retired))) {
      this.#isCalled = true; // Some of its files are still missing.
    } else if (this.#isOurs(record)) {
      this.#held.set(lane.record, new HeldLane(lane, record, this.#hands));
    }
  }

  /** Whether the lane was started in our pid namespace. */
  #isOurs(record?: LaneRecord): boolean {
    const namespace = this.#system.pidNamespace();
    return (record?.pids ?? namespace) === namespace;
  }

  #clearUnused(): Promise<void> {
    return this.#guard(() => clearUnused(this.#dir, this.#system));
  }

  /** Does what may fail without harm to the lanes. */
  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#log(`something is left over: ${(error as Error).message}`);
    }
  }

  #shrink(): void {
    const now = this.#system.steady();
    if (this.#held.size !== this.#shrinkWith) this.#shrinkAt = now + SHRINK.afterChange;
    this.#shrinkWith = this.#held.size;
    if (now < this.#shrinkAt) return;
    this.#shrinkAt = now + SHRINK.every;
    trimMemory();
  }

  /** Logs what we did, and when; never arguments or data. */
  #log(line: string): void {
    logLine(`${this.#dir}/sleeper.log`, this.#system.now(), line);
  }
}
