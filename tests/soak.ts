/**
 * Many calls to five destinations while sleepers, masters and callers are killed at random. A call that
 * was not killed, nor the master under it, must give the right answer and status and no other word; at
 * the end nothing is left, no process and no file. `tests/soak_test.ts` is the short form of
 *
 *     deno task bundle && sh deno.sh run --allow-all tests/soak.ts [CALLS]
 *
 * with 1000 calls, which takes some minutes and ends in a line of figures.
 */
import { identityDirs, lanesOf, readRecord } from "../lib/lane.ts";
import { namesIn } from "../lib/gone.ts";
import { isAlive } from "./support/processes.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const DESTINATIONS = 5;
const WORKERS = 8;
/** A kill comes after this many ms at most, and half of that on average. */
const PAUSE = 1500;

/** What has come of it. */
export interface Figures {
  calls: number;
  /** Calls that were ended, with the master under them or by themselves. */
  cut: number;
  logins: number;
  killed: Record<"sleeper" | "master" | "caller", number>;
  seconds: number;
}

/** Makes the calls. Throws where an answer is wrong or something is left; `random` is in [0, 1). */
export async function soak(calls: number, random: () => number = Math.random): Promise<Figures> {
  const began = performance.now();
  const stage = new Stage(random);
  await using _sandbox = stage.sandbox = await Sandbox.create();
  Object.assign(stage.sandbox.env, { SSHS_LOOK: "0.5", SSHS_LINGER: "2" });
  for (let i = 0; i < DESTINATIONS; i++) {
    stage.sshds.push(await Sshd.start({ client: { config: ["LogLevel ERROR"] } }));
  }
  try {
    const killing = stage.killAtRandom();
    let next = 0;
    await Promise.all(Array.from({ length: WORKERS }, async () => {
      while (next < calls) await stage.call(next++);
    }));
    stage.done = true;
    await killing;
    if (stage.wrong.length > 0) throw new Error(`Wrong answers:\n  ${stage.wrong.join("\n  ")}`);
    // What was left when the last sleeper was killed is for the next call's to clear away.
    await stage.call(calls);
    await stage.sandbox.assertClean({ deadline: 60_000 });
    return {
      calls,
      cut: stage.cut.size,
      logins: stage.sshds.reduce((sum, sshd) => sum + sshd.logins(), 0),
      killed: stage.killed,
      seconds: Math.round((performance.now() - began) / 1000),
    };
  } finally {
    for (const sshd of stage.sshds) await sshd[Symbol.asyncDispose]();
  }
}

class Stage {
  sandbox!: Sandbox;
  readonly sshds: Sshd[] = [];
  readonly wrong: string[] = [];
  /** The calls that were ended by us. */
  readonly cut = new Set<number>();
  readonly killed = { sleeper: 0, master: 0, caller: 0 };
  done = false;
  readonly #random: () => number;
  /** The pids of the calls under way. */
  readonly #running = new Set<number>();

  constructor(random: () => number) {
    this.#random = random;
  }

  async call(i: number): Promise<void> {
    const { config } = this.sshds[i % DESTINATIONS];
    const code = i % 7;
    const seconds = (this.#random() * 0.5).toFixed(2);
    const command = `cat; sleep ${seconds}; echo ${i} >&2; exit ${code}`;
    const child = this.sandbox.spawnSshs(["-F", config, "host", command]);
    this.#running.add(child.pid);
    const [stdout, stderr, status] = await Promise.all([
      child.stdout.text(),
      child.stderr.text(),
      child.status,
      write(child.stdin, `input ${i}`),
    ]);
    this.#running.delete(child.pid);
    if (this.cut.has(child.pid)) return;
    const right = stdout === `input ${i}` && stderr === `${i}\n` && status.code === code;
    if (!right) this.wrong.push(`call ${i}: ${JSON.stringify({ ...status, stdout, stderr })}`);
  }

  async killAtRandom(): Promise<void> {
    const kinds = [() => this.#killSleeper(), () => this.#killMaster(), () => this.#killCaller()];
    while (!this.done) {
      await new Promise((resolve) => setTimeout(resolve, this.#random() * PAUSE));
      kinds[Math.floor(this.#random() * kinds.length)]();
    }
  }

  #killSleeper(): void {
    for (const { pid } of this.sandbox.sleepers()) {
      if (kill(pid)) this.killed.sleeper++;
    }
  }

  #killCaller(): void {
    const pid = this.#oneOf([...this.#running]);
    if (pid === undefined || !kill(pid)) return;
    this.cut.add(pid);
    this.killed.caller++;
  }

  /** Kills a master. The calls on it are those with a lease, before or after. */
  #killMaster(): void {
    const lane = this.#oneOf(identityDirs(this.sandbox.stateDir).flatMap(lanesOf));
    const pid = lane && readRecord(lane)?.pid;
    if (!pid || !isAlive(pid)) return;
    const leases = () => [...namesIn(lane.leases), ...namesIn(lane.retired)].map(Number);
    const before = leases();
    if (!kill(pid)) return;
    for (const caller of [...before, ...leases()]) this.cut.add(caller);
    this.killed.master++;
  }

  #oneOf<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.#random() * items.length)];
  }
}

async function write(stdin: WritableStream<Uint8Array<ArrayBuffer>>, text: string): Promise<void> {
  try {
    await new Blob([text]).stream().pipeTo(stdin);
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // Its reader was killed.
  }
}

function kill(pid: number): boolean {
  try {
    Deno.kill(pid, "SIGKILL");
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

if (import.meta.main) console.log(JSON.stringify(await soak(Number(Deno.args[0] ?? 1000))));
