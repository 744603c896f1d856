import assert from "node:assert/strict";
import type { Account } from "./account.ts";
import { eventually, inTime } from "./eventually.ts";
import { isAlive, type Process, signal, untilAsleep } from "./processes.ts";
import type { Pty } from "./pty.ts";
import type { RunOptions, RunResult } from "./sandbox.ts";
import { Scene, type SceneOptions } from "./scene.ts";

const DEADLINE = { deadline: 20_000 };

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

/** What a user does at the terminal. */
export type Script = (terminal: Terminal) => Promise<unknown>;

/** A call, as words or, if it depends on the side, as a function. */
type Words = readonly string[] | ((scene: Scene) => readonly string[]);

/** A call that waits for what its user does. */
export class Terminal {
  readonly scene: Scene;
  readonly #pty: Pty;
  readonly #connections: number;

  constructor(scene: Scene, pty: Pty, connections: number) {
    this.scene = scene;
    this.#pty = pty;
    this.#connections = connections;
  }

  /** Waits until the call has connected. */
  async connected(): Promise<void> {
    const isConnected = () => this.scene.connections() > this.#connections;
    await eventually("it is connected", isConnected, DEADLINE);
  }

  /** The account that the server accepts. */
  get user(): Account {
    return this.scene.user;
  }

  /** Waits until the terminal shows a text, after what it waited for before. */
  async expect(text: string | RegExp): Promise<void> {
    await this.#pty.waitFor(text, DEADLINE);
  }

  /** Types; Enter is `\r`, Ctrl-C `\x03`. */
  type(text: string): void {
    this.#pty.write(text);
  }

  /** Sends a signal to the call alone, as kill(1) does. */
  signal(name: Deno.Signal): void {
    signal([this.#pty.pid], name);
  }

  /** Waits until the call itself waits, as for input. */
  asleep(): Promise<void> {
    return untilAsleep(this.#pty.pid);
  }

  /** Closes the terminal. */
  hangUp(): void {
    this.#pty.hangup();
  }
}

/**
 * The same server twice, with a client each: one uses plain ssh, the other ours. Whatever is done on both
 * sides must look the same.
 *
 *     await using sides = await SideBySide.open({ passwords: true });
 *     await sides.assertSame(["host", "true"], async (terminal) => {
 *       await terminal.expect("password: ");
 *       terminal.type("\x03");
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
  async onTerminal(
    words: Words,
    script: Script,
    env: Record<string, string> = {},
  ): Promise<{ plain: Ending; ours: Ending }> {
    const call = (scene: Scene) => [
      "ssh",
      "-F",
      scene.config,
      ...typeof words === "function" ? words(scene) : words,
    ];
    return await this.runOnTerminal(call, script, env);
  }

  /** Runs any program likewise, such as a shell in which `ssh` is called. */
  async runOnTerminal(
    argv: (scene: Scene) => readonly string[],
    script: Script,
    env: Record<string, string> = {},
  ): Promise<{ plain: Ending; ours: Ending }> {
    const run = (scene: Scene) => record(scene, argv(scene), script, env);
    const [plain, ours] = await bothOf(run(this.plain), run(this.ours));
    return { plain, ours };
  }

  /** Asserts that a call on a terminal ends the same on both sides; resolves to plain ssh's ending. */
  async assertSame(
    words: Words,
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
    const run = async (scene: Scene) => {
      const others = scene.processes();
      const { code, signal, stdout, stderr } = await scene.ssh(words, options);
      const left = await leftBy(scene, others);
      return { code, signal, stdout, stderr: normalize(stderr, scene), left };
    };
    const [plain, ours] = await bothOf(run(this.plain), run(this.ours));
    assert.deepEqual(ours, plain);
    return plain;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using stack = new AsyncDisposableStack();
    stack.use(this.plain);
    stack.use(this.ours);
  }
}

/** Waits for both; resolves to both results, or throws why one failed. */
async function bothOf<T>(plain: Promise<T>, ours: Promise<T>): Promise<[T, T]> {
  const [first, second] = await Promise.allSettled([plain, ours]);
  if (first.status === "rejected") throw new Error("Plain ssh", { cause: first.reason });
  if (second.status === "rejected") throw new Error("Our ssh", { cause: second.reason });
  return [first.value, second.value];
}

async function record(
  scene: Scene,
  argv: readonly string[],
  script: Script,
  env: Record<string, string>,
): Promise<Ending> {
  const before = scene.logins();
  const others = scene.processes();
  const connections = scene.connections();
  // Wide, so that no line wraps at different places on the two sides.
  await using pty = await scene.pty(argv, { env, columns: 500 });
  await script(new Terminal(scene, pty, connections));
  let status: Deno.CommandStatus;
  try {
    status = await inTime("the end of the call", pty.status, DEADLINE);
  } catch (error) {
    throw new Error(`${(error as Error).message}; shown: ${JSON.stringify(pty.output)}`);
  }
  const { code, signal } = status;
  const transcript = normalize(pty.output, scene);
  const left = await leftBy(scene, others);
  return { transcript, code, signal, modes: pty.modes, left, logins: scene.logins() - before };
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
