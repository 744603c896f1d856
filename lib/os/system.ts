/**
 * The operating system as an interface: helpers take `Pick<System, ...>`, so a signature says what a
 * function touches and a test needs no process of its own. All differences between Linux, macOS and
 * BSD are here and in libc.ts.
 */
import { isSystemError, readKernelFile } from "./files.ts";
import { SIGNAL_NUMBERS } from "./libc.ts";

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
  /** The network namespace of this process ("net:[4026531833]"), if the system has them. */
  networkNamespace(): string | undefined;
  /** The systemd service that this process is part of (cgroups(7)); `undefined` if there is none. */
  service(): string | undefined;
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
  /** Returns a process's command line, its words separated by blanks; `undefined` if it is gone. */
  commandLine(pid: number): Promise<string | undefined>;
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
  networkNamespace: () => namespace("net"),
  service: () => serviceOf(readKernelFile("/proc/self/cgroup") ?? ""),
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
  catches: (pid, signal) => hasSignal(pid, "SigCgt", signal),
  async commandLine(pid) {
    const words = readKernelFile(`/proc/${pid}/cmdline`);
    return words?.replaceAll("\0", " ") ?? await commandLineFromPs(pid, this);
  },
  pidNamespace: () => namespace("pid"),
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
      stdin: "null",
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

/** Returns the namespace of a kind that this process is in. */
function namespace(kind: "net" | "pid"): string | undefined {
  return Deno.build.os === "linux" ? Deno.readLinkSync(`/proc/self/ns/${kind}`) : undefined;
}

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

/**
 * Whether the terminal's signals for keys (Ctrl-C) go to this process: it has a terminal and is in its
 * foreground. True if the system does not say.
 */
export async function isInForeground(
  system: Pick<System, "pid" | "run">,
  os: typeof Deno.build.os = Deno.build.os,
): Promise<boolean> {
  const [path, ...args] = os === "linux"
    ? ["/bin/sh", "-c", `exec cat /proc/${system.pid}/stat`]
    : ["ps", "-o", "pgid=,tpgid=", "-p", `${system.pid}`];
  let stdout: string;
  try {
    stdout = (await system.run(path, args)).stdout;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return true; // Cannot start a process.
  }
  const [group, foreground] = os === "linux"
    ? [2, 5].map((i) => fieldsAfterName(stdout)?.[i])
    : stdout.trim().split(/\s+/);
  return foreground === undefined || group === foreground;
}

/** Exported for its test: Linux has /proc. */
export async function commandLineFromPs(
  pid: number,
  system: Pick<System, "run">,
): Promise<string | undefined> {
  // Through a shell, which has a PATH if we have none. Some versions of ps cut lines at 80 columns.
  const ps = ["-c", 'exec ps -o args= -p "$0"', `${pid}`];
  const { code, stdout } = await system.run("/bin/sh", ps, { env: { COLUMNS: "100000" } });
  return code === 0 ? `${stdout.trim()} ` : undefined;
}

/**
 * Returns the births of these processes. Leaves out those that are gone, or all if the system does not say.
 * Linux has them in /proc. Elsewhere ps(1) prints them, in words that depend on TZ.
 */
export async function births(
  pids: readonly number[],
  system: Pick<System, "run">,
): Promise<Map<number, string>> {
  return birthsFromProc(pids) ?? await birthsFromPs(pids, system);
}

function birthsFromProc(pids: readonly number[]): Map<number, string> | undefined {
  if (readKernelFile("/proc/self/stat") === undefined) return undefined;
  return new Map(pids.flatMap((pid) => {
    const birth = birthFromStat(readKernelFile(`/proc/${pid}/stat`) ?? "");
    return birth === undefined ? [] : [[pid, birth]];
  }));
}

/** Exported for its test: Linux has /proc. */
export async function birthsFromPs(
  pids: readonly number[],
  system: Pick<System, "run">,
): Promise<Map<number, string>> {
  if (pids.length === 0) return new Map();
  // Through a shell, which has a PATH if we have none.
  const ps = ["-c", 'exec ps -o pid= -o lstart= -p "$0"', pids.join(",")];
  let stdout: string;
  try {
    stdout = (await system.run("/bin/sh", ps, { env: { LC_ALL: "C", TZ: "UTC" } })).stdout;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return new Map(); // Cannot start a process.
  }
  return new Map(
    stdout.split("\n").flatMap((line) => {
      const [, pid, birth] = /^\s*(\d+)\s+(.+?)\s*$/.exec(line) ?? [];
      return birth ? [[Number(pid), birth]] : [];
    }),
  );
}

/**
 * Returns the fields after the name in a line of Linux's `/proc/PID/stat`: state, parent, group, session,
 * terminal, foreground group and so on; proc(5) numbers them from 3. The name before them may contain
 * anything. `undefined` if it is no such line.
 */
function fieldsAfterName(line: string): string[] | undefined {
  const end = line.lastIndexOf(")");
  return end < 0 ? undefined : line.slice(end + 1).trim().split(" ");
}

/** Returns the start time in such a line: field 22. */
function birthFromStat(line: string): string | undefined {
  const fields = fieldsAfterName(line);
  // A zombie has ended, though its parent may take long to reap it.
  return fields?.[0] === "Z" ? undefined : fields?.[19];
}

/**
 * Whether a process has ended and only waits for its parent to reap it: forever if the parent is an init
 * that reaps none, as in many containers. kill(2) does not tell it from a live process.
 */
function isZombie(pid: number): boolean {
  return fieldsAfterName(readKernelFile(`/proc/${pid}/stat`) ?? "")?.[0] === "Z";
}

/**
 * Whether a process handles (SigCgt) or ignores (SigIgn) a signal, from its `/proc/PID/status`; `undefined`
 * without one. The value is a mask, bit 0 for signal 1.
 */
function hasSignal(
  pid: number | "self",
  field: "SigCgt" | "SigIgn",
  signal: Deno.Signal,
): boolean | undefined {
  const status = readKernelFile(`/proc/${pid}/status`) ?? "";
  const mask = new RegExp(`^${field}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1];
  const number = SIGNAL_NUMBERS[signal];
  if (mask === undefined || number === undefined) return undefined;
  return (BigInt(`0x${mask}`) >> BigInt(number - 1) & 1n) === 1n;
}

/** Whether this process was started with a signal ignored, as nohup(1) does. False if the system does not say. */
export function ignores(signal: Deno.Signal): boolean {
  return hasSignal("self", "SigIgn", signal) === true;
}

/**
 * Returns the service that a process runs in: what the process leaves running ends when the service stops.
 * It is the first part of a path that ends in `.service`, below `/system.slice/` or below the user's own
 * manager (`user@1000.service`), in the text of /proc/PID/cgroup; `undefined` if there is none. Desktop
 * programs (`app-*.service`), sessions and containers do not count. The launcher has the same rule in sh.
 */
export function serviceOf(cgroups: string): string | undefined {
  for (const line of cgroups.split("\n")) {
    const [, system, own] =
      /\/(?:system\.slice\/(?:.*?\/)??([^/]+\.service)|user@[^/]*\.service\/(?:.*?\/)??([^/]+\.service))\//
        .exec(`${line}/`) ?? [];
    const service = system ?? own;
    if (service && (system || !own.startsWith("app-"))) return service;
  }
}
