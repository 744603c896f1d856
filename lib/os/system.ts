/**
 * The operating system as an interface: helpers take `Pick<System, ...>`, so a signature says what a
 * function touches and a test needs no process of its own. What the system says of other processes is in
 * processes.ts.
 */
import { births, catches, commandLines, isZombie, kernelLink, localAddress } from "./processes.ts";

/** The result of a finished process. */
export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface System {
  readonly pid: number;
  uid(): number | null;
  cwd(): string;
  exit(status: number): never;
  env(name: string): string | undefined;
  /** Sets a variable, also for programs that this process starts. */
  setEnv(name: string, value: string): void;
  /** The whole environment. */
  environment(): Record<string, string>;
  /** Milliseconds of the wall clock. */
  now(): number;
  /** Milliseconds of a monotonic clock. */
  steady(): number;
  /** The addresses that this machine has now. */
  addresses(): string[];
  /** Whether a process with that pid is alive, even one that we may not signal. */
  isAlive(pid: number): boolean;
  /** Returns when each process was born. A birth is an opaque word that never changes; the
   * same pid with another birth is another process. Never throws. */
  births(pids: readonly number[]): Promise<ReadonlyMap<number, string>>;
  /** Whether the process handles a signal itself; `undefined` if the system does not say. */
  catches(pid: number, signal: Deno.Signal): boolean | undefined;
  /** Returns the command line of each process, its words separated by blanks. */
  commandLines(): Promise<ReadonlyMap<number, string>>;
  /** Returns the local address of a process's first TCP connection; `undefined` if it has none, or the
   * system does not say. */
  localAddress(pid: number): string | undefined;
  /** The pid namespace of this process, if the system has them. */
  pidNamespace(): string | undefined;
  /** Sends a signal; a missing process is no error. A negative pid means a process group. */
  kill(pid: number, signal: Deno.Signal): void;
  /**
   * Runs a program to its end without standard input. `signal` ends it. Does not wait for what the program
   * leaves running, even if that holds the output open, as a daemon started by a `Match exec` does.
   */
  run(path: string, args: readonly string[], options?: RunOptions): Promise<Output>;
}

export interface RunOptions {
  /** Variables added to the inherited ones. */
  readonly env?: Record<string, string>;
  /** Its directory, if not ours. */
  readonly cwd?: string;
  /** Gives the program our standard input, if it asks whether that is a terminal. */
  readonly stdin?: "inherit";
  /** Sends the program's stderr to ours; the output then has none. */
  readonly showStderr?: boolean;
  readonly signal?: AbortSignal;
}

/** The system that this process runs on. */
export const realSystem: System = {
  pid: Deno.pid,
  uid: () => Deno.uid(),
  cwd: () => Deno.cwd(),
  exit: (status) => Deno.exit(status),
  env: (name) => Deno.env.get(name) || undefined,
  setEnv: (name, value) => Deno.env.set(name, value),
  environment: () => Deno.env.toObject(),
  now: () => Date.now(),
  steady: () => performance.now(),
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
  births: (pids) => births(pids, realSystem),
  catches,
  commandLines: () => commandLines(realSystem),
  localAddress,
  pidNamespace: () => kernelLink("/proc/self/ns/pid"),
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
      cwd: options.cwd,
      signal: options.signal,
      stdin: options.stdin ?? "null",
      stdout: "piped",
      stderr: options.showStderr ? "inherit" : "piped",
    }).spawn();
    const [{ code }, stdout, stderr] = await Promise.all([
      child.status,
      textOf(child.stdout, child.status),
      options.showStderr ? "" : textOf(child.stderr, child.status),
    ]);
    return { code, stdout, stderr };
  },
};

/** Waits for `ms`. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** How long an output may stay open after its program has ended, ms. By then all of it is in the pipe. */
const HELD_OPEN = 300;

/** Reads a stream to its end, or to that of the program. */
async function textOf(
  stream: ReadableStream<Uint8Array>,
  ended: Promise<unknown>,
): Promise<string> {
  const reader = stream.getReader();
  let done = false;
  ended.then(() => {
    // Not setTimeout(): its first use costs more than a run of ssh -G.
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
