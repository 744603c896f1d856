/**
 * Many calls to five destinations, half of them by the program alone, while sleepers, masters and callers
 * are killed at random. A call that was not killed, nor the master under it, must give the right answer
 * and status and no other word; at the end nothing is left. `tests/soak_test.ts` is the short form of
 *
 *     deno task bundle && sh deno.sh run --allow-all tests/soak.ts [CALLS]
 *
 * with 1000 calls, which takes some minutes and ends in a line of figures.
 */
import { type Lane, laneAt } from "../lib/lane/layout.ts";
import { namesIn } from "../lib/os/files.ts";
import { pause } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { Scene } from "./support/scene.ts";
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
  /** Calls by the launcher that did without Deno. */
  fast: number;
  killed: Record<"sleeper" | "master" | "caller", number>;
  seconds: number;
}

/** Makes the calls. Throws where an answer is wrong or something is left; `random` is in [0, 1). */
export async function soak(calls: number, random: () => number = Math.random): Promise<Figures> {
  const began = performance.now();
  await using scene = await Scene.open({ env: { SSHS_LINGER: "2" } });
  await using stack = new AsyncDisposableStack();
  const configs = [scene.config];
  const sshds = [scene.sshd];
  while (sshds.length < DESTINATIONS) {
    const sshd = stack.use(await Sshd.start());
    sshds.push(sshd);
    configs.push(await sshd.writeConfig({ knowsHost: true }));
    sshd.ageConfigs();
  }
  const stage = new Stage(scene, configs, random);
  const killing = stage.killAtRandom();
  let next = 0;
  await Promise.all(Array.from({ length: WORKERS }, async () => {
    while (next < calls) await stage.call(next++);
  }));
  stage.done = true;
  await killing;
  await stage.judge();
  if (stage.wrong.length > 0) throw new Error(`Wrong answers:\n  ${stage.wrong.join("\n  ")}`);
  const decisions = scene.starts().filter((words) => words.includes(" --decide ")).length;
  if (decisions >= calls / 2) throw new Error("Hardly a call did without Deno");
  // What was left when the last sleeper was killed is for the next call's to clear away.
  await Promise.all(configs.map((_, i) => stage.call(i)));
  await scene.assertClean();
  return {
    calls,
    cut: stage.cut.size,
    fast: calls - decisions,
    logins: sshds.reduce((sum, sshd) => sum + sshd.logins(), 0),
    killed: stage.killed,
    seconds: Math.round((performance.now() - began) / 1000),
  };
}

class Stage {
  readonly wrong: string[] = [];
  /** The calls that were ended by us. */
  readonly cut = new Set<number>();
  readonly killed = { sleeper: 0, master: 0, caller: 0 };
  done = false;
  readonly #scene: Scene;
  readonly #configs: readonly string[];
  readonly #random: () => number;
  /** The answers of calls that are right but for ssh's word that a master's socket is dead. */
  readonly #noisy = new Map<number, string>();
  /** The calls that may say so: no look at the files tells that a master has died this instant. */
  readonly #late = new Set<number>();
  readonly #watches: Promise<void>[] = [];
  /** The pids of the calls under way. */
  readonly #running = new Set<number>();

  constructor(scene: Scene, configs: readonly string[], random: () => number) {
    this.#scene = scene;
    this.#configs = configs;
    this.#random = random;
  }

  async call(i: number): Promise<void> {
    const config = this.#configs[i % DESTINATIONS];
    const { sandbox } = this.#scene;
    const code = i % 7;
    const seconds = (this.#random() * 0.5).toFixed(2);
    const command = `cat; sleep ${seconds}; echo ${i} >&2; exit ${code}`;
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
    if (this.cut.has(child.pid)) return;
    if (stdout === `input ${i}` && stderr === `${i}\n` && status.code === code) return;
    const answer = `call ${i}: ${JSON.stringify({ ...status, stdout, stderr })}`;
    const said = stderr.replace(/^Control socket connect\(.*\): Connection refused\r\n/, "");
    const noisy = stdout === `input ${i}` && said === `${i}\n` && status.code === code;
    if (noisy) this.#noisy.set(child.pid, answer);
    else this.wrong.push(answer);
  }

  /** Counts the calls that ssh has complained in as wrong, but for those on a lane whose master was dead. */
  async judge(): Promise<void> {
    await Promise.all(this.#watches);
    for (const [pid, answer] of this.#noisy) {
      if (!this.#late.has(pid)) this.wrong.push(answer);
    }
  }

  async killAtRandom(): Promise<void> {
    const kinds = [() => this.#killSleeper(), () => this.#killMaster(), () => this.#killCaller()];
    while (!this.done) {
      await pause(this.#random() * PAUSE);
      kinds[Math.floor(this.#random() * kinds.length)]();
    }
  }

  #killSleeper(): void {
    for (const { pid } of this.#scene.sandbox.sleepers()) {
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
    const master = this.#oneOf(this.#scene.sandbox.masters());
    const [, dir, name] = /(\S*\/[0-9a-f]{16})\/(\d+)\.sock/.exec(master?.args.join(" ") ?? "") ??
      [];
    if (master === undefined || !name) return;
    const lane = laneAt(dir, name);
    const leases = () =>
      [...namesIn(lane.leases), ...namesIn(lane.retired)].map((lease) => parseInt(lease));
    const before = leases();
    if (!kill(master.pid)) return;
    for (const caller of [...before, ...leases()]) this.cut.add(caller);
    this.killed.master++;
    this.#watches.push(this.#watchLate(lane, leases));
  }

  /** Notes the calls that come to a lane between its master's death and the moment it is cleared away. */
  async #watchLate(lane: Lane, leases: () => number[]): Promise<void> {
    while (isThere(lane.leases) && !this.done) {
      for (const pid of leases()) this.#late.add(pid);
      await pause(10);
    }
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
