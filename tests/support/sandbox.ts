import { eventually } from "./eventually.ts";
import { endAll, type Process, processes } from "./processes.ts";
import { needProgram, SSHS } from "./programs.ts";
import { walk } from "./walk.ts";

/** How a program is run in a sandbox. */
export interface RunOptions {
  /** /dev/null by default. */
  stdin?: string | Uint8Array<ArrayBuffer>;
  /** Set in addition to the sandbox's own; `undefined` unsets. */
  env?: Readonly<Record<string, string | undefined>>;
  /** The sandbox's home by default. */
  cwd?: string;
  /** Ends the program when aborted. */
  signal?: AbortSignal;
  /** For the program and everything that holds its stdout or stderr, in ms; 30000 by default. */
  timeout?: number;
}

/** The result of a program. */
export interface RunResult {
  code: number;
  signal: Deno.Signal | null;
  stdout: string;
  stderr: string;
  stdoutBytes: Uint8Array;
}

/** How a program is started whose input, output and duration are up to the test. */
export type SpawnOptions = Pick<RunOptions, "env" | "cwd" | "signal">;

/**
 * A home, a state directory and an environment that touch nothing outside a temporary directory.
 *
 *     await using sandbox = await Sandbox.create();
 *     const { code, stdout } = await sandbox.sshs(["-F", sshd.config, "host", "echo hello"]);
 *     assert.equal(sandbox.masters().length, 1);
 *
 * A program here leads a process group and a session of its own, without a terminal: it cannot ask the
 * person who runs the tests, and can be signalled as a group. For a terminal there is Pty. Disposing of the
 * sandbox ends every process that belongs to it, and removes the directory.
 */
export class Sandbox implements AsyncDisposable {
  readonly dir: string;
  readonly home: string;
  /** SSHS_DIR. sshs makes it, so it does not exist before the first call. */
  readonly stateDir: string;
  /** The first directory in PATH, empty at first. */
  readonly bin: string;
  /** The whole environment of what runs here; a test may change it. */
  readonly env: Record<string, string>;

  private constructor(dir: string) {
    this.dir = dir;
    this.home = `${dir}/home`;
    this.stateDir = `${dir}/s`;
    this.bin = `${dir}/bin`;
    const outer = Deno.env.toObject();
    this.env = {
      PATH: `${this.bin}:${outer.PATH}`,
      HOME: this.home,
      XDG_CONFIG_HOME: `${this.home}/.config`,
      SSHS_DIR: this.stateDir,
      LANG: "C.UTF-8",
      TERM: "xterm",
      // Deno's cache of compiled code, warm as it is for a user: otherwise each sandbox starts cold.
      DENO_DIR: outer.DENO_DIR ?? `${outer.XDG_CACHE_HOME ?? `${outer.HOME}/.cache`}/deno`,
    };
    // The registry that install.sh uses is known already.
    if (outer.SSHS_IMPORTS) this.env.SSHS_IMPORTS = outer.SSHS_IMPORTS;
  }

  /** Makes an empty sandbox. */
  static async create(): Promise<Sandbox> {
    // Short: a socket's path takes 104 bytes at most.
    const dir = await Deno.makeTempDir({ prefix: "s-" });
    const sandbox = new Sandbox(dir);
    await Deno.mkdir(sandbox.home);
    await Deno.mkdir(sandbox.bin);
    return sandbox;
  }

  /** Returns the argv that runs sshs, where {@linkcode sshs} does not: for a Pty, a shim, a hook. */
  argv(args: readonly string[]): string[] {
    return [...SSHS, ...args];
  }

  /** Runs sshs to its end, and to the end of everything that holds its stdout or stderr. */
  sshs(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.run(this.argv(args), options);
  }

  /** Runs the system's own ssh likewise. */
  ssh(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.run([needProgram("ssh"), ...args], options);
  }

  /**
   * Runs any program likewise; a name without a slash is looked up in the sandbox's PATH.
   *
   * @throws {Error} when time is up; it says whether the program still ran or only another process held
   * its output.
   */
  async run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const { stdin, timeout = 30_000 } = options;
    const child = this.#command(argv, options, stdin === undefined ? "null" : "piped").spawn();
    let state = "still runs";
    child.status.then(({ code }) => state = `exited ${code}, but its output is held open`);
    const output = Promise.all([
      child.stdout.bytes(),
      child.stderr.text(),
      child.status,
      stdin === undefined ? undefined : feed(child.stdin, stdin),
    ]);
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      const left = this.processes().map(({ pid, args }) => `\n  ${pid} ${args.join(" ")}`);
      reject(new Error(`${argv.join(" ")}: ${state} after ${timeout} ms${left.join("")}`));
    }, timeout);
    try {
      const [stdoutBytes, stderr, status] = await Promise.race([output, late]);
      const stdout = new TextDecoder().decode(stdoutBytes);
      return { code: status.code, signal: status.signal, stdout, stderr, stdoutBytes };
    } catch (error) {
      // So that the output ends, and no pipe is left for the next test.
      await endAll(this.processes().map(({ pid }) => pid));
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Starts any program and returns the child, with pipes for its input and output. */
  spawn(argv: readonly string[], options: SpawnOptions = {}): Deno.ChildProcess {
    return this.#command(argv, options, "piped").spawn();
  }

  /** Returns the living processes whose arguments or environment name the sandbox. */
  processes(): Process[] {
    return processes().filter(({ pid, args, environ }) =>
      pid !== Deno.pid && (environ.includes(this.dir) || args.some((a) => a.includes(this.dir)))
    );
  }

  /** Returns the connection masters: each ssh that has a socket of ours in its arguments or title. */
  masters(): Process[] {
    return this.processes().filter(({ args }) => {
      const text = args.join(" ");
      if (!/^(\S*\/)?ssh[: ]/.test(text) || !text.includes(`${this.stateDir}/`)) return false;
      return args[0].includes("[mux]") || args.includes("-M");
    });
  }

  /** Returns the sleepers. */
  sleepers(): Process[] {
    return this.processes().filter(({ args }) => args.includes("--sleeper"));
  }

  /** Lists everything in the state directory, sorted, with paths relative to it; directories end in `/`. */
  files(): string[] {
    return walk(this.stateDir).sort();
  }

  /**
   * Waits until no process of the sandbox is left, and no file in its state directory either.
   *
   * @throws {Error} that names what is left after `deadline` ms
   */
  async assertClean(
    { deadline = 20_000, ignore }: {
      deadline?: number; /** Files that may stay. */
      ignore?: RegExp;
    } = {},
  ): Promise<void> {
    let left: string[] = [];
    try {
      await eventually("nothing is left", () => {
        const files = this.files().filter((file) => !ignore?.test(file));
        const running = this.processes().map(({ pid, args }) => `${pid} ${args.join(" ")}`);
        left = [...running, ...files];
        return left.length === 0;
      }, { deadline });
    } catch {
      throw new Error(`Left after ${deadline} ms:\n  ${left.join("\n  ")}`);
    }
  }

  /** Puts a program into {@linkcode bin}; `script` is /bin/sh unless it starts with `#!`. */
  async addProgram(name: string, script: string): Promise<string> {
    const path = `${this.bin}/${name}`;
    const text = script.startsWith("#!") ? script : `#!/bin/sh\n${script}\n`;
    await Deno.writeTextFile(path, text);
    await Deno.chmod(path, 0o755);
    return path;
  }

  /** Puts an `ssh` first in PATH that records its arguments, then goes on as `script` (sh) says. */
  fakeSsh(script = "exit 0"): Promise<string> {
    // One printf, so that simultaneous calls do not mix.
    return this.addProgram(
      "ssh",
      `printf '%s\\0' "$#" "$@" >>'${this.dir}/recorded'\n${script}`,
    );
  }

  /** Returns the arguments of each call of the fake ssh, in order. */
  recorded(): string[][] {
    let words: string[];
    try {
      words = Deno.readTextFileSync(`${this.dir}/recorded`).split("\0").slice(0, -1);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
    const calls: string[][] = [];
    while (words.length > 0) calls.push(words.splice(0, Number(words.shift())));
    return calls;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endAll(this.processes().map(({ pid }) => pid));
    await Deno.remove(this.dir, { recursive: true });
  }

  #command(
    [program, ...args]: readonly string[],
    { env = {}, cwd = this.home, signal }: SpawnOptions,
    stdin: "null" | "piped",
  ): Deno.Command {
    const entries = Object.entries({ ...this.env, ...env });
    return new Deno.Command(program, {
      args,
      env: Object.fromEntries(entries.filter((entry) => entry[1] !== undefined)) as typeof this.env,
      clearEnv: true,
      cwd,
      detached: true,
      signal,
      stdin,
      stdout: "piped",
      stderr: "piped",
    });
  }
}

async function feed(
  stdin: WritableStream<Uint8Array<ArrayBuffer>>,
  input: string | Uint8Array<ArrayBuffer>,
): Promise<void> {
  const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
  try {
    await new Blob([bytes]).stream().pipeTo(stdin);
  } catch (error) {
    // A program need not read all of its input.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
