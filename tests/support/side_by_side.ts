import assert from "node:assert/strict";
import { eventually, inTime } from "./eventually.ts";
import { isAlive, type Process, signal } from "./processes.ts";
import type { Pty } from "./pty.ts";
import type { RunOptions, RunResult } from "./sandbox.ts";
import { Scene, type SceneOptions } from "./scene.ts";

/** What a call on a terminal showed and left. */
export interface Ending {
  /** What the terminal showed, without what differs from scene to scene. */
  transcript: string;
  code: number;
  signal: Deno.Signal | null;
  /** The terminal's modes after it, as pty.py prints them. */
  modes: string;
  /** The command lines of the processes that it left, except the sleeper and working masters. */
  left: string[];
  /** How many connections logged in for it. */
  logins: number;
}

/** What a user does at the terminal; `connected` waits until the call has connected. */
export type Script = (
  pty: Pty,
  scene: Scene,
  connected: () => Promise<unknown>,
) => Promise<unknown>;

/**
 * The same server twice, with a client each: one uses plain ssh, the other ours. Whatever is done on both
 * sides must look the same.
 *
 *     await using sides = await SideBySide.open({ passwords: true });
 *     await sides.assertSame(["host", "true"], async (pty) => {
 *       await pty.waitFor("password: ");
 *       pty.write("\x03");
 *     });
 */
export class SideBySide implements AsyncDisposable {
  readonly plain: Scene;
  readonly ours: Scene;

  private constructor(plain: Scene, ours: Scene) {
    this.plain = plain;
    this.ours = ours;
  }

  /** Opens both scenes, and runs `prepare` on each. */
  static async open(
    options: SceneOptions = {},
    prepare: (scene: Scene) => Promise<unknown> = () => Promise.resolve(),
  ): Promise<SideBySide> {
    await using stack = new AsyncDisposableStack();
    const plain = stack.use(await Scene.open({ ...options, plain: true }));
    const ours = stack.use(await Scene.open(options));
    await prepare(plain);
    await prepare(ours);
    stack.move();
    return new SideBySide(plain, ours);
  }

  /** Runs a call of `ssh` on a terminal on both sides; resolves to both endings as they are. */
  onTerminal(
    words: readonly string[],
    script: Script,
    env: Record<string, string> = {},
  ): Promise<{ plain: Ending; ours: Ending }> {
    return this.runOnTerminal(({ config }) => ["ssh", "-F", config, ...words], script, env);
  }

  /** Runs any program likewise, such as a shell in which `ssh` is called. */
  runOnTerminal(
    argv: (scene: Scene) => readonly string[],
    script: Script,
    env: Record<string, string> = {},
  ): Promise<{ plain: Ending; ours: Ending }> {
    return this.#both((scene) => record(scene, argv(scene), script, env));
  }

  /** Asserts that a call on a terminal ends the same on both sides; resolves to plain ssh's ending. */
  async assertSame(
    words: readonly string[],
    script: Script,
    env?: Record<string, string>,
  ): Promise<Ending> {
    const { plain, ours } = await this.onTerminal(words, script, env);
    assert.deepEqual(ours, plain);
    return plain;
  }

  /** Likewise for a call without a terminal; resolves to plain ssh's result. */
  async assertSameWithout(
    words: readonly string[],
    options?: RunOptions,
  ): Promise<Omit<RunResult, "stdoutBytes">> {
    const { plain, ours } = await this.#both(async (scene) => {
      const others = scene.processes();
      const { code, signal, stdout, stderr } = await scene.ssh(words, options);
      const left = await leftBy(scene, others);
      return { code, signal, stdout, stderr: normalize(stderr, scene), left };
    });
    assert.deepEqual(ours, plain);
    return plain;
  }

  /** Runs both sides at once; throws why one failed. */
  async #both<T>(run: (scene: Scene) => Promise<T>): Promise<{ plain: T; ours: T }> {
    const [plain, ours] = await Promise.allSettled([run(this.plain), run(this.ours)]);
    if (plain.status === "rejected") throw new Error("Plain ssh", { cause: plain.reason });
    if (ours.status === "rejected") throw new Error("Our ssh", { cause: ours.reason });
    return { plain: plain.value, ours: ours.value };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using stack = new AsyncDisposableStack();
    stack.use(this.plain);
    stack.use(this.ours);
  }
}

async function record(
  scene: Scene,
  argv: readonly string[],
  script: Script,
  env: Record<string, string>,
): Promise<Ending> {
  const logins = scene.logins();
  const others = scene.processes();
  const connections = scene.connections();
  // Wide, so that no line wraps at different places on the two sides.
  await using pty = await scene.pty(argv, { env, columns: 500 });
  const connected = () => eventually("it is connected", () => scene.connections() > connections);
  await script(pty, scene, connected);
  const { code, signal } = await inTime(`the end of the call: ${pty.output}`, pty.status);
  const left = await leftBy(scene, others);
  const transcript = normalize(pty.output, scene);
  return { transcript, code, signal, modes: pty.modes, left, logins: scene.logins() - logins };
}

/**
 * Gives the processes that a call left time to exit, kills those that remain, and resolves to their
 * command lines. Processes in `others`, from before the call, do not count.
 */
async function leftBy(scene: Scene, others: readonly Process[]): Promise<string[]> {
  const end = performance.now() + scene.grace;
  const strays = await eventually("the end of what the call left", () => {
    const strays = scene.strays().filter(({ pid }) => !others.some((other) => other.pid === pid));
    if (strays.length === 0 || performance.now() > end) return strays;
  });
  const pids = strays.map(({ pid }) => pid);
  signal(pids, "SIGKILL");
  await eventually("the end of what is left", () => !pids.some(isAlive));
  return strays.map(({ args }) => normalize(args.join(" "), scene)).sort();
}

/** Replaces what differs from scene to scene: directories, the port, users, pids. */
function normalize(text: string, { sandbox, sshd, port }: Scene): string {
  return text
    .replaceAll(sandbox.dir, "SANDBOX")
    .replaceAll(sshd.dir, "SERVER")
    .replaceAll(sshd.user.name, "USER")
    .replaceAll(`${port}`, "PORT")
    .replace(/^\[(\d+)\] \d+/gm, "[$1] PID")
    .replace(/\b(pid|process) \d+/gi, "$1 PID");
}
