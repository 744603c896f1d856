/**
 * Many calls to five destinations, half of them by the program alone, while sleepers, masters and callers
 * are killed at random. A call that was not killed, nor the master under it, must give the right answer
 * and status and no other word; at the end nothing is left. SSHS_SOAK_CALLS says how many: 1000 take some
 * minutes.
 */
import assert from "node:assert/strict";
import { type Lane, laneAt } from "../lib/lane/layout.ts";
import { namesIn } from "../lib/os/files.ts";
import { pause } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { isAlive, signal } from "./support/processes.ts";
import { Scene } from "./support/scene.ts";
import { Sshd } from "./support/sshd.ts";

const CALLS = Number(Deno.env.get("SSHS_SOAK_CALLS") ?? 60);
const DESTINATIONS = 5;
const WORKERS = 8;
/** A kill comes after this many ms at most, and half of that on average. */
const PAUSE = 1500;

Deno.test(`${CALLS} calls get the right answer while others are killed, and nothing is left`, async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "2" } });
  await using stack = new AsyncDisposableStack();
  const configs = [scene.config];
  while (configs.length < DESTINATIONS) {
    const sshd = stack.use(await Sshd.start());
    configs.push(await sshd.writeConfig({ knowsHost: true }));
    sshd.ageConfigs();
  }
  const soak = new Soak(scene, configs);
  const killing = soak.killAtRandom();
  let next = 0;
  await Promise.all(Array.from({ length: WORKERS }, async () => {
    while (next < CALLS) await soak.call(next++);
  }));
  soak.done = true;
  await killing;
  assert.deepEqual(await soak.wrong(), []);
  const decisions = scene.starts().filter((words) => words.includes(" --decide ")).length;
  assert.ok(decisions < CALLS / 2, "most calls do without Deno");
  // What was left when the last sleeper was killed is for the next call's to clear away.
  await Promise.all(configs.map((_, i) => soak.call(i)));
  await scene.assertClean();
});

class Soak {
  done = false;
  readonly #scene: Scene;
  readonly #configs: readonly string[];
  readonly #wrong: string[] = [];
  /** The calls that were ended by us. */
  readonly #cut = new Set<number>();
  /** The answers of calls that are right but for ssh's word that a master's socket is dead. */
  readonly #noisy = new Map<number, string>();
  /** The calls that may say so: no look at the files tells that a master has died this instant. */
  readonly #late = new Set<number>();
  readonly #watches: Promise<void>[] = [];
  /** The pids of the calls under way. */
  readonly #running = new Set<number>();

  constructor(scene: Scene, configs: readonly string[]) {
    this.#scene = scene;
    this.#configs = configs;
  }

  async call(i: number): Promise<void> {
    const config = this.#configs[i % DESTINATIONS];
    const { sandbox } = this.#scene;
    const code = i % 7;
    const command = `cat; sleep ${(Math.random() * 0.5).toFixed(2)}; echo ${i} >&2; exit ${code}`;
    const ssh = i % 2 ? ["ssh"] : sandbox.argv([]);
    const child = sandbox.spawn([...ssh, "-F", config, "host", command]);
    this.#running.add(child.pid);
    const [stdout, stderr, status] = await Promise.all([
      child.stdout.text(),
      child.stderr.text(),
      child.status,
      write(child.stdin, `input ${i}`),
    ]);
    this.#running.delete(child.pid);
    if (this.#cut.has(child.pid)) return;
    const said = stderr.replace(/^Control socket connect\(.*\): Connection refused\r\n/, "");
    const answer = `call ${i}: ${JSON.stringify({ ...status, stdout, stderr })}`;
    if (stdout !== `input ${i}` || said !== `${i}\n` || status.code !== code) {
      this.#wrong.push(answer);
    } else if (said !== stderr) this.#noisy.set(child.pid, answer);
  }

  /** Resolves to the wrong answers: also those that ssh has complained in, but for those on a dead lane. */
  async wrong(): Promise<string[]> {
    await Promise.all(this.#watches);
    const noisy = [...this.#noisy].filter(([pid]) => !this.#late.has(pid));
    return [...this.#wrong, ...noisy.map(([, answer]) => answer)];
  }

  async killAtRandom(): Promise<void> {
    const kinds = [() => this.#killSleeper(), () => this.#killMaster(), () => this.#killCaller()];
    while (!this.done) {
      await pause(Math.random() * PAUSE);
      oneOf(kinds)!();
    }
  }

  #killSleeper(): void {
    signal(this.#scene.sandbox.sleepers().map(({ pid }) => pid), "SIGKILL");
  }

  #killCaller(): void {
    const pid = oneOf([...this.#running]);
    if (pid === undefined || !isAlive(pid)) return;
    this.#cut.add(pid);
    signal([pid], "SIGKILL");
  }

  /** Kills a master. The calls on it are those with a lease, before or after. */
  #killMaster(): void {
    const master = oneOf(this.#scene.sandbox.masters());
    const [, dir, name] = /(\S*\/[0-9a-f]{16})\/(\d+)\.sock/.exec(master?.args.join(" ") ?? "") ??
      [];
    if (master === undefined || !name) return;
    const lane = laneAt(dir, name);
    const leases = () =>
      [...namesIn(lane.leases), ...namesIn(lane.retired)].map((lease) => parseInt(lease));
    const before = leases();
    signal([master.pid], "SIGKILL");
    for (const caller of [...before, ...leases()]) this.#cut.add(caller);
    this.#watches.push(this.#watchLate(lane, leases));
  }

  /** Notes the calls that come to a lane between its master's death and the moment it is cleared away. */
  async #watchLate(lane: Lane, leases: () => number[]): Promise<void> {
    while (isThere(lane.leases) && !this.done) {
      for (const pid of leases()) this.#late.add(pid);
      await pause(10);
    }
  }
}

function oneOf<T>(items: readonly T[]): T | undefined {
  return items[Math.floor(Math.random() * items.length)];
}

async function write(stdin: WritableStream<Uint8Array<ArrayBuffer>>, text: string): Promise<void> {
  try {
    await new Blob([text]).stream().pipeTo(stdin);
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // Its reader was killed.
  }
}
