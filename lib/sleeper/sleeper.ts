/**
 * The sleeper: one small detached process per user, however many masters. It holds one control
 * connection to each lane, which keeps the master's ControlPersist from counting down and costs the
 * server nothing; it lets go of a lane when its last session has been gone for its linger.
 *
 * It never ends a lane that works. When the sleeper dies, masters follow after their grace once idle,
 * and the next call starts another one. While a lane is in use it looks after all of them every second;
 * else it waits until a call writes to `used`, or the next linger is over.
 */
import { type LaneRecord, lookSeconds, readRecord, removeLane, startOf } from "../lane/lane.ts";
import { allLanes, type Lane, plansDir, sleeperLogPath, usedPath } from "../lane/layout.ts";
import { isJobDir } from "../lane/state_dir.ts";
import {
  exists,
  isSystemError,
  logLine,
  namesIn,
  removePath,
  watchFile,
  writeText,
} from "../os/files.ts";
import { detach, trimMemory } from "../os/libc.ts";
import { realSystem, type System } from "../os/system.ts";
import { Agents } from "../ssh/keys.ts";
import { type Hands, HeldLane, type HeldSystem } from "./held_lane.ts";
import { clearUnused, endJob, isAbandoned, isLoggingIn } from "./leftovers.ts";
import { SleeperFile } from "./sleeper_file.ts";

export type SleeperSystem =
  & HeldSystem
  & Pick<System, "addresses" | "commandLine" | "env" | "pid" | "pidNamespace">;

/** The clock was set, the machine slept or we were stopped if a look comes otherwise by this, ms. */
const JUMP = 2000;
/** Looks follow each other no faster, ms. */
const MIN_PAUSE = 50;
/** sh writes the files of a new lane one after another, within this, ms. */
const NEW_FOR = 5000;
/** How often memory is given back, ms; and how soon after lanes have come or gone. */
const SHRINK = { every: 300_000, afterChange: 10_000 };

/** Is the sleeper of a state directory, detached from whoever has started it. Returns the exit status. */
export function runSleeper(stateDir: string): Promise<number> {
  detach();
  return new Sleeper(stateDir, realSystem).run();
}

export class Sleeper {
  readonly #dir: string;
  readonly #system: SleeperSystem;
  readonly #look: number;
  readonly #alarm = new Alarm();
  readonly #agents: Agents;
  readonly #hands: Hands;
  /** By their records. */
  readonly #held = new Map<string, HeldLane>();
  /** Calls may have come since the last look. */
  #isCalled = true;
  #addresses: ReadonlySet<string> = new Set();
  /** When memory is given back next, and how many lanes there are until then. */
  #shrinkAt = 0;
  #shrinkWith = 0;

  constructor(stateDir: string, system: SleeperSystem, agents: Agents = new Agents()) {
    this.#dir = stateDir;
    this.#system = system;
    this.#look = lookSeconds(system) * 1000;
    this.#agents = agents;
    this.#hands = {
      system,
      agents,
      log: (line) => this.#log(line),
      wake: () => this.#alarm.within(MIN_PAUSE),
    };
  }

  /** Looks after the lanes until there are none. Returns the exit status. */
  async run(): Promise<number> {
    for (;;) {
      using file = SleeperFile.tryTake(this.#dir, this.#system);
      if (!file) return 0;
      this.#log("awake");
      await this.#clearUnused();
      await this.#watch(file);
      for (const held of this.#held.values()) held.letGo();
      this.#held.clear();
      if (!file.isMine()) return 0;
      await this.#clearUnused();
      file.remove();
      // A call that saw our pid before the file was gone relies on us.
      if (!allLanes(this.#dir).some((lane) => this.#isOurs(readRecord(lane)))) return 0;
      this.#isCalled = true;
    }
  }

  async #watch(file: SleeperFile): Promise<void> {
    this.#touchUsed();
    using _watch = watchFile(usedPath(this.#dir), () => {
      this.#isCalled = true;
      this.#alarm.within(this.#look);
    });
    while (file.isMine()) {
      if (await isAbandoned(this.#dir, this.#system)) return await this.#endJob();
      if (this.#hasLostAddress()) this.#doubtAll("a local address is gone");
      await this.#lookAfterAll();
      if (this.#isDone()) return;
      this.#shrink();
      await this.#wait(this.#pause());
    }
  }

  /** Waits for `ms`, unless it is woken, and doubts all lanes if that was not as long as it should be. */
  async #wait(ms: number): Promise<void> {
    const [wall, steady] = [this.#system.now(), this.#system.steady()];
    await this.#alarm.wait(ms);
    const passed = this.#system.steady() - steady;
    const jump = this.#system.now() - wall - passed;
    if (jump < -JUMP) this.#forgetPlans();
    if (Math.abs(jump) > JUMP) this.#doubtAll("the clock jumped");
    else if (passed - ms > JUMP) this.#doubtAll("time has passed unseen");
  }

  /** Creates it for calls, and wakes a sleeper of an older version, which gives way. */
  #touchUsed(): void {
    try {
      writeText(usedPath(this.#dir), "");
    } catch (error) {
      if (!isSystemError(error)) throw error; // A full disk: it is looked for until a call has made it.
    }
  }

  #isDone(): boolean {
    if (isJobDir(this.#dir)) return false; // Its end is seen to, whether or not something is shared.
    return this.#held.size === 0 && !this.#isCalled && !isLoggingIn(this.#dir, this.#system);
  }

  /** How long nothing is to be done, ms. */
  #pause(): number {
    if (this.#held.size === 0 || this.#isCalled || isJobDir(this.#dir)) return this.#look;
    const due = Array.from(this.#held.values(), (held) => held.dueIn(this.#look));
    return Math.max(MIN_PAUSE, Math.min(...due));
  }

  /** Withdraws all marks first, and asks questions after. */
  #doubtAll(why: string): void {
    this.#log(`all lanes in doubt: ${why}`);
    for (const held of this.#held.values()) held.doubt();
  }

  /** A configuration that is edited after the clock was set back would be older than its plans. */
  #forgetPlans(): void {
    for (const name of namesIn(plansDir(this.#dir))) removePath(`${plansDir(this.#dir)}/${name}`);
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
    this.#agents.forget();
    await Promise.all(Array.from(this.#held, async ([record, held]) => {
      if (await held.lookAfter(isCalled) === "gone") this.#held.delete(record);
    }));
  }

  #takeNew(): void {
    try {
      for (const lane of allLanes(this.#dir)) this.#take(lane);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      this.#log(`new lanes are not seen: ${error.message}`); // No more files to be had.
      this.#isCalled = true;
    }
  }

  #take(lane: Lane): void {
    if (this.#held.has(lane.record)) return;
    const record = readRecord(lane);
    const isNew = Math.abs(this.#system.now() - (startOf(lane) ?? 0)) < NEW_FOR;
    if (!record && !isNew) removeLane(lane); // Torn, by a loss of power.
    else if (!record || (isNew && !exists(lane.leases) && !exists(lane.retired))) {
      this.#isCalled = true; // Its files are not all there yet.
    } else if (this.#isOurs(record)) {
      this.#held.set(lane.record, new HeldLane(lane, record, this.#hands));
    }
  }

  /** Whether we see the same processes as who has started the lane. */
  #isOurs(record?: LaneRecord): boolean {
    const namespace = this.#system.pidNamespace();
    return (record?.pids ?? namespace) === namespace;
  }

  async #endJob(): Promise<void> {
    try {
      await endJob(this.#dir, this.#system);
    } catch (error) {
      this.#log(`the job's directory stays: ${(error as Error).message}`);
    }
  }

  async #clearUnused(): Promise<void> {
    try {
      await clearUnused(this.#dir, this.#system);
    } catch (error) {
      this.#log(`what is unused stays: ${(error as Error).message}`);
    }
  }

  #shrink(): void {
    const now = this.#system.steady();
    if (this.#held.size !== this.#shrinkWith) this.#shrinkAt = now + SHRINK.afterChange;
    this.#shrinkWith = this.#held.size;
    if (now < this.#shrinkAt) return;
    this.#shrinkAt = now + SHRINK.every;
    shrink();
  }

  /** What we did, and when. No argument and no answer of anybody is in it. */
  #log(line: string): void {
    logLine(sleeperLogPath(this.#dir), this.#system.now(), line);
  }
}

/** A pause that others may shorten. */
export class Alarm {
  #due = Infinity;
  #timer?: ReturnType<typeof setTimeout>;
  #ring?: () => void;

  /** Rings at most `ms` from now; before the pause has begun it counts for the next one. */
  within(ms: number): void {
    const due = performance.now() + ms;
    if (due >= this.#due) return;
    this.#due = due;
    if (this.#ring) this.#set();
  }

  /** Waits for `ms` (perhaps Infinity), or until it is told to ring. */
  async wait(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ring = resolve;
    this.within(ms);
    this.#set();
    await promise;
    this.#ring = undefined;
    this.#due = Infinity;
  }

  #set(): void {
    clearTimeout(this.#timer);
    if (this.#due === Infinity) return;
    this.#timer = setTimeout(() => this.#rings(), Math.min(this.#due - performance.now(), LONGEST));
  }

  #rings(): void {
    if (performance.now() < this.#due - 1) this.#set();
    else this.#ring?.();
  }
}

/** A timer takes no more than 2^31 ms. */
const LONGEST = 24 * 3600_000;

/** What malloc(3) keeps for the next look, bytes: to get it anew each time is work. */
const KEPT = 1024 * 1024;

/** Gives back what is garbage. V8 and malloc(3) keep what they once had: with 50 lanes that was 3 to 6 MB. */
function shrink(): void {
  // With --expose-gc. The last resort is the collection that moves what is left together.
  (globalThis as { gc?: (how: object) => void }).gc?.({
    type: "major",
    execution: "sync",
    flavor: "last-resort",
  });
  trimMemory(KEPT);
}
