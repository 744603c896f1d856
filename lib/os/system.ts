/**
 * The operating system as an interface: helpers take `Pick<System, ...>`, so a signature says what a
 * function touches and a test needs no process of its own. What differs between Linux, macOS and BSD
 * is here and in libc.ts, and nowhere else; what Linux alone has is in proc_stat.ts and resident.ts.
 */
import { isSystemError } from "./files.ts";
import { isZombie } from "./libc.ts";
import { birthFromStat, fieldsAfterName } from "./proc_stat.ts";

/** What a finished process left. */
export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface System {
  readonly pid: number;
  uid(): number | null;
  cwd(): string;
  env(name: string): string | undefined;
  /** Milliseconds of the wall clock. */
  now(): number;
  /** The addresses that this machine has now. */
  addresses(): string[];
  /** Whether a process of that pid lives. One that we may not signal does too. */
  isAlive(pid: number): boolean;
  /** Sends a signal; a process that is gone is no error. A negative pid means its process group. */
  kill(pid: number, signal: Deno.Signal): void;
  /**
   * Runs a program to its end with no standard input. `signal` ends it. What it leaves running is not
   * waited for, though it may hold the output: a daemon that a `Match exec` has started does.
   */
  run(path: string, args: readonly string[], options?: RunOptions): Promise<Output>;
}

export interface RunOptions {
  /** Variables put on top of the inherited ones. */
  readonly env?: Record<string, string>;
  readonly signal?: AbortSignal;
}

/** The system that this process runs on. */
export const realSystem: System = {
  pid: Deno.pid,
  uid: () => Deno.uid(),
  cwd: () => Deno.cwd(),
  env: (name) => Deno.env.get(name) || undefined,
  now: () => Date.now(),
  addresses: () => Deno.networkInterfaces().map(({ address }) => address),
  isAlive(pid) {
    try {
      Deno.kill(pid, 0);
      return !isZombie(pid);
    } catch (error) {
      if (error instanceof Deno.errors.PermissionDenied) return true;
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  },
  kill(pid, signal) {
    try {
      Deno.kill(pid, signal);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  },
  async run(path, args, options = {}) {
    const child = new Deno.Command(path, {
      args: [...args],
      env: options.env,
      signal: options.signal,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const [{ code }, stdout, stderr] = await Promise.all([
      child.status,
      textOf(child.stdout, child.status),
      textOf(child.stderr, child.status),
    ]);
    return { code, stdout, stderr };
  },
};

/** How long an output may stay open after its program has ended, ms: all of it is in the pipe by then. */
const HELD_OPEN = 300;

/** What comes out of a stream, to its end or to that of the program. */
async function textOf(
  stream: ReadableStream<Uint8Array>,
  ended: Promise<unknown>,
): Promise<string> {
  const reader = stream.getReader();
  let done = false;
  ended.then(() => {
    // Not setTimeout(), whose first use costs more than a run of ssh -G.
    if (!done) AbortSignal.timeout(HELD_OPEN).addEventListener("abort", () => reader.cancel());
  });
  const decoder = new TextDecoder();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text += decoder.decode(part.value, { stream: true });
  }
  done = true;
  return text + decoder.decode();
}

/**
 * When each of the processes was born, as an opaque word: the same pid with another word is another
 * process. Those that are gone are left out. One child process for all of them; Deno opens /proc to
 * no one without `--allow-all`, and `ps -o lstart` is unknown to busybox, so Linux asks cat(1).
 */
export async function births(
  pids: readonly number[],
  system: Pick<System, "run">,
): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  if (pids.length === 0) return found;
  if (Deno.build.os === "linux") {
    const files = pids.map((pid) => `/proc/${pid}/stat`);
    // By a shell, which has a PATH where we have none.
    const { stdout } = await system.run("/bin/sh", ["-c", 'exec cat "$@"', "cat", ...files]);
    for (const line of stdout.split("\n")) {
      const birth = birthFromStat(line);
      if (birth) found.set(parseInt(line), birth);
    }
    return found;
  }
  const { stdout } = await system.run("ps", ["-o", "pid=", "-o", "lstart=", "-p", pids.join(",")], {
    env: { LC_ALL: "C" },
  });
  for (const line of stdout.split("\n")) {
    const match = /^\s*(\d+)\s+(.+?)\s*$/.exec(line);
    if (match) found.set(Number(match[1]), match[2]);
  }
  return found;
}

/**
 * Whether what the terminal sends for a key (Ctrl-C) goes to this process: it has a terminal, and is in
 * its foreground. True where the system does not tell.
 */
export async function isInForeground(system: Pick<System, "pid" | "run">): Promise<boolean> {
  const [path, ...args] = Deno.build.os === "linux"
    ? ["/bin/sh", "-c", `exec cat /proc/${system.pid}/stat`]
    : ["ps", "-o", "pgid=,tpgid=", "-p", `${system.pid}`];
  let stdout: string;
  try {
    stdout = (await system.run(path, args)).stdout;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return true; // No process can be had.
  }
  const [group, foreground] = Deno.build.os === "linux"
    ? [2, 5].map((i) => fieldsAfterName(stdout)?.[i])
    : stdout.trim().split(/\s+/);
  return group === foreground;
}
