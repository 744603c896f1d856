/**
 * The lingering sleeper: one small detached process per user, however many masters. It holds one
 * control connection to each lane, which keeps the master's ControlPersist from counting down and
 * costs the server nothing; it lets go of a lane when its last session has been gone for its linger.
 *
 * It never ends a lane that works, only what a killed call has left of its attempt at one: when the
 * sleeper dies, masters follow after their grace once idle, and the next call starts another sleeper. It
 * wakes on its own clock only.
 */
import { BirthRegister } from "../os/birth_register.ts";
import { logLine } from "../os/log.ts";
import { namesIn, readText, removeIfEmpty, removePath } from "../os/files.ts";
import { HeldIdentity } from "./held_identity.ts";
import type { Hands } from "./held_lane.ts";
import { identityDirs, type Lane } from "../lane/lane.ts";
import { shrink } from "./memory.ts";
import { SleeperLock } from "./sleeper_lock.ts";
import type { System } from "../os/system.ts";
import { lookSeconds } from "./sleeper_start.ts";

export type SleeperSystem = Pick<
  System,
  "addresses" | "env" | "isAlive" | "kill" | "now" | "pid" | "run"
>;

/** The clock was set, the machine slept or we were stopped if a look comes otherwise by this, ms. */
const JUMP = 2000;
/** Looks follow each other no faster, ms. */
const MIN_PAUSE = 50;
/** How often memory is given back, ms; and how soon after lanes have come or gone. */
const SHRINK = { every: 300_000, afterChange: 10_000 };

export class Sleeper {
  readonly #dir: string;
  readonly #system: SleeperSystem;
  readonly #held = new Map<string, HeldIdentity>();
  readonly #look: number;
  readonly #hands: Hands;
  /** When memory is given back next, and how many identities there are until then. */
  #shrinkAt = 0;
  #shrinkWith = 0;
  #addresses: ReadonlySet<string> = new Set();

  constructor(stateDir: string, system: SleeperSystem) {
    this.#dir = stateDir;
    this.#system = system;
    this.#look = lookSeconds(system) * 1000;
    this.#hands = {
      births: new BirthRegister(system),
      log: (line) => this.#log(line),
      forgetPlans: (lane) => this.#forgetPlans(lane),
    };
  }

  /** Looks after the lanes until there are none. Returns the exit status. */
  async run(): Promise<number> {
    for (;;) {
      using lock = SleeperLock.tryTake(this.#dir, this.#system);
      if (!lock) return 0;
      this.#log("awake");
      await this.#watch(lock);
      for (const held of this.#held.values()) held.letGo();
      this.#held.clear();
      if (lock.isMine()) this.#cleanUp();
      // A call that saw our pid before it was gone relies on us.
      if (identityDirs(this.#dir).length === 0) return 0;
    }
  }

  async #watch(lock: SleeperLock): Promise<void> {
    await shrink(); // To start took more than to wait.
    let [wall, steady, pause] = [this.#system.now(), performance.now(), 0];
    while (lock.isMine()) {
      const [wallNow, steadyNow] = [this.#system.now(), performance.now()];
      const jump = Math.abs((wallNow - wall) - (steadyNow - steady));
      const late = steadyNow - steady - pause;
      [wall, steady] = [wallNow, steadyNow];
      if (this.#hasLostAddress()) this.#doubtAll("a local address is gone");
      else if (jump > JUMP) this.#doubtAll("the clock jumped");
      else if (late > JUMP) this.#doubtAll("time has passed unseen");
      await this.#lookOnce();
      if (this.#held.size === 0) return;
      const due = Array.from(this.#held.values(), (held) => held.dueIn(this.#system));
      pause = Math.max(MIN_PAUSE, Math.min(this.#look, ...due));
      await this.#shrink();
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** Withdraws all marks first, and asks questions after. */
  #doubtAll(why: string): void {
    this.#log(`all lanes in doubt: ${why}`);
    // A configuration that is edited after the clock was set back would be older than its plans.
    for (const plan of this.#plans()) removePath(plan);
    for (const held of this.#held.values()) held.doubt();
  }

  /** Whether an address of this machine has vanished since the last look: a VPN, another network. */
  #hasLostAddress(): boolean {
    const now = new Set(this.#system.addresses());
    const lost = [...this.#addresses].some((address) => !now.has(address));
    this.#addresses = now;
    return lost;
  }

  async #lookOnce(): Promise<void> {
    for (const dir of identityDirs(this.#dir)) {
      if (!this.#held.has(dir)) this.#held.set(dir, new HeldIdentity(dir, this.#hands));
    }
    await Promise.all(Array.from(this.#held, async ([dir, held]) => {
      if (await held.lookAfter(this.#system) === "gone") this.#held.delete(dir);
    }));
  }

  #forgetPlans(lane: Lane): void {
    for (const plan of this.#plans()) {
      if (readText(plan)?.includes(lane.socket)) removePath(plan);
    }
  }

  #plans(): string[] {
    return namesIn(`${this.#dir}/plans`).map((name) => `${this.#dir}/plans/${name}`);
  }

  async #shrink(): Promise<void> {
    const now = performance.now();
    if (this.#held.size !== this.#shrinkWith) this.#shrinkAt = now + SHRINK.afterChange;
    this.#shrinkWith = this.#held.size;
    if (now < this.#shrinkAt) return;
    this.#shrinkAt = now + SHRINK.every;
    await shrink();
  }

  #cleanUp(): void {
    for (const plan of this.#plans()) removePath(plan);
    removeIfEmpty(`${this.#dir}/plans`);
    // A call that was killed at the wrong moment leaves its draft of our file.
    const drafts = namesIn(this.#dir).filter((name) => {
      const pid = /^sleeper\.(\d+)$/.exec(name)?.[1];
      return pid !== undefined && !this.#system.isAlive(Number(pid));
    });
    for (const name of [...drafts, "sleeper.log", "sleeper"]) removePath(`${this.#dir}/${name}`);
  }

  /** What we did, and when. No argument and no answer of anybody is in it. */
  #log(line: string): void {
    logLine(`${this.#dir}/sleeper.log`, this.#system.now(), line);
  }
}
