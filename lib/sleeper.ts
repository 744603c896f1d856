/**
 * The lingering sleeper: one small detached process per user, however many masters. It holds one
 * control connection to each lane, which keeps the master's ControlPersist from counting down and
 * costs the server nothing; it lets go of a lane when its last session has been gone for its linger.
 *
 * It never ends a lane that works: when the sleeper dies, masters follow after their grace once idle,
 * and the next call starts another sleeper. It wakes on its own clock only.
 */
import { Flight } from "./flight.ts";
import { namesIn, readText, removePath, statOf } from "./gone.ts";
import { identityDirs, type Lane, laneAt, lanesOf, removeLane, unverify } from "./lane.ts";
import { HeldLane } from "./held_lane.ts";
import type { System } from "./system.ts";
import { lookSeconds, sleeperFile, sleeperText } from "./wake.ts";

type SleeperSystem = Pick<System, "env" | "isAlive" | "now" | "pid" | "run">;

/** A log is cut at this size, in bytes: ours, and a master's that runs with -v. */
const MAX_LOG = 64 * 1024;
/** A wall clock that went otherwise than the steady one by this much was set, or the machine slept, ms. */
const CLOCK_JUMP = 2000;
/** A look that comes this much too late means that we were stopped, ms. */
const LATE = 5000;

export class Sleeper {
  readonly #dir: string;
  readonly #system: SleeperSystem;
  readonly #held = new Map<string, HeldLane>();
  readonly #look: number;
  #addresses = new Set<string>();

  constructor(stateDir: string, system: SleeperSystem) {
    this.#dir = stateDir;
    this.#system = system;
    this.#look = lookSeconds(system) * 1000;
  }

  /** Looks after the lanes until there are none. Returns the exit status. */
  async run(): Promise<number> {
    for (;;) {
      using lock = this.#takeLock();
      if (!lock) return 0; // Another is awake.
      this.#log("awake");
      await this.#watch(lock);
      for (const held of this.#held.values()) held.letGo();
      this.#held.clear();
      if (!this.#isMine(lock)) return 0;
      this.#cleanUp();
      // A call that saw our pid before it was gone relies on us.
      if (identityDirs(this.#dir).length === 0) return 0;
    }
  }

  /** Takes the file that names the sleeper, and its lock. */
  #takeLock(): Deno.FsFile | undefined {
    const path = sleeperFile(this.#dir);
    let file: Deno.FsFile;
    try {
      file = Deno.openSync(path, { read: true, write: true, create: true, mode: 0o600 });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined; // The state directory is gone.
      throw error;
    }
    if (!file.tryLockSync(true)) {
      file.close();
      return undefined;
    }
    file.truncateSync();
    file.writeSync(new TextEncoder().encode(sleeperText(this.#system.pid)));
    return file;
  }

  /** Whether the state directory is there still, and its sleeper is this one. */
  #isMine(lock: Deno.FsFile): boolean {
    return statOf(sleeperFile(this.#dir))?.ino === lock.statSync().ino;
  }

  async #watch(lock: Deno.FsFile): Promise<void> {
    let [wall, steady] = [this.#system.now(), performance.now()];
    while (this.#isMine(lock)) {
      const [wallNow, steadyNow] = [this.#system.now(), performance.now()];
      const jump = Math.abs((wallNow - wall) - (steadyNow - steady));
      const late = steadyNow - steady - this.#look;
      const stranded = this.#hasLostAddress();
      [wall, steady] = [wallNow, steadyNow];
      if (jump > CLOCK_JUMP || late > LATE || stranded) {
        this.#doubtAll(stranded ? "a local address is gone" : "the clock jumped");
      }
      await this.#lookOnce();
      if (this.#held.size === 0 && this.#cleanIdentities() === 0) return;
      await new Promise((resolve) => setTimeout(resolve, this.#look));
    }
  }

  /** Withdraws all marks first, and asks questions after. */
  #doubtAll(why: string): void {
    this.#log(`all lanes in doubt: ${why}`);
    for (const held of this.#held.values()) {
      unverify(held.lane);
      held.doubt();
    }
  }

  /** Whether an address of this machine has vanished since the last look: a VPN, another network. */
  #hasLostAddress(): boolean {
    const now = new Set(Deno.networkInterfaces().map(({ address }) => address));
    const lost = [...this.#addresses].some((address) => !now.has(address));
    this.#addresses = now;
    return lost;
  }

  async #lookOnce(): Promise<void> {
    for (const dir of identityDirs(this.#dir)) {
      for (const lane of lanesOf(dir)) {
        if (!this.#held.has(lane.record)) {
          this.#held.set(lane.record, new HeldLane(lane, (line) => this.#log(line)));
        }
      }
    }
    await Promise.all(Array.from(this.#held, ([key, held]) => this.#lookAfter(key, held)));
  }

  async #lookAfter(key: string, held: HeldLane): Promise<void> {
    if (await held.lookAfter(this.#system) === "here") {
      cut(held.lane.log);
      return;
    }
    this.#held.delete(key);
    removeLane(held.lane);
    this.#forgetPlans(held.lane);
  }

  /** Removes the plans that lead to a lane. */
  #forgetPlans(lane: Lane): void {
    const plans = `${this.#dir}/plans`;
    for (const name of namesIn(plans)) {
      if (readText(`${plans}/${name}`)?.includes(lane.socket)) removePath(`${plans}/${name}`);
    }
  }

  /** Removes the directories of identities that have no lane; returns how many are left. */
  #cleanIdentities(): number {
    let left = 0;
    for (const dir of identityDirs(this.#dir)) {
      using flight = Flight.tryTake(dir);
      if (!flight || lanesOf(dir).length > 0) {
        left++;
        continue;
      }
      // What an attempt that was killed may have left: its master is given the time to go.
      for (const name of namesIn(dir).filter((name) => name.endsWith(".sock"))) {
        removeLane(laneAt(dir, name.slice(0, -".sock".length)));
      }
      removePath(dir);
    }
    return left;
  }

  #cleanUp(): void {
    for (const name of ["plans", "sleeper.log", "sleeper"]) removePath(`${this.#dir}/${name}`);
  }

  /** A line in the sleeper's log: what it did, and when. No argument and no answer of anybody is in it. */
  #log(line: string): void {
    const path = `${this.#dir}/sleeper.log`;
    try {
      cut(path);
      const text = `${new Date(this.#system.now()).toISOString()} ${line}\n`;
      Deno.writeTextFileSync(path, text, { append: true, mode: 0o600 });
    } catch (error) {
      // A full disk, or the directory is gone: the lanes go before the log.
      if (error instanceof Deno.errors.NotCapable) throw error;
    }
  }
}

/** Empties a log that has grown too large; who writes to it appends. */
function cut(log: string): void {
  if ((statOf(log)?.size ?? 0) > MAX_LOG) Deno.truncateSync(log);
}
