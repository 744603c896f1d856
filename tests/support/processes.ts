import { eventually } from "./eventually.ts";

/** A living process, as /proc shows it. */
export interface Process {
  pid: number;
  ppid: number;
  pgid: number;
  sid: number;
  args: string[];
  /** NUL-separated; empty where we may not read it. */
  environ: string;
}

/** Returns the living processes (no zombies) that have started since the tests have. */
export function processes(): Process[] {
  return pids().flatMap((pid) => readProcess(pid) ?? []);
}

/** Returns the children of `pid`, their children and so on. */
export function descendants(pid: number): number[] {
  const all = pids().flatMap((pid) => readStat(pid) ?? []);
  const found = [pid];
  for (const parent of found) {
    found.push(...all.filter(({ ppid }) => ppid === parent).map(({ pid }) => pid));
  }
  return found.slice(1);
}

/** Returns the processes of the user `uid`. */
export function processesOf(uid: number): number[] {
  return pids().filter((pid) => {
    try {
      return Deno.statSync(`/proc/${pid}`).uid === uid;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  });
}

/** Returns the processes that keep a directory busy: they work in it or below, or have a file open there. */
export function usersOf(dir: string): Process[] {
  return processes().filter(({ pid }) =>
    [`/proc/${pid}/cwd`, ...namesOfFiles(pid)].some((link) => readLink(link).startsWith(dir))
  );
}

function namesOfFiles(pid: number): string[] {
  try {
    return [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => `/proc/${pid}/fd/${name}`);
  } catch (error) {
    if (isGone(error) || error instanceof Deno.errors.PermissionDenied) return [];
    throw error;
  }
}

function readLink(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch (error) {
    if (isGone(error) || error instanceof Deno.errors.PermissionDenied) return "";
    throw error;
  }
}

/** Whether `pid` is a living process; a zombie is not. */
export function isAlive(pid: number): boolean {
  return readStat(pid) !== undefined;
}

/** Waits until a process and all below it wait in the kernel, as for input: so they do at three looks. */
export async function untilAsleep(pid: number): Promise<void> {
  let looks = 0;
  await eventually(`the process ${pid} waits`, () => {
    const isAsleep = [pid, ...descendants(pid)].every((each) => readStat(each)?.state === "S");
    looks = isAsleep ? looks + 1 : 0;
    return looks === 3;
  });
}

/** Sends a signal to each; ignores those that are gone. */
export function signal(pids: Iterable<number>, name: Deno.Signal): void {
  for (const pid of pids) {
    try {
      Deno.kill(pid, name);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
}

/** Ends these processes, after 2 s with SIGKILL; resolves when all are gone. */
export async function endAll(pids: readonly number[]): Promise<void> {
  signal(pids, "SIGTERM");
  // A stopped process takes no signal but SIGKILL until it goes on.
  signal(pids, "SIGCONT");
  const end = performance.now() + 2_000;
  await eventually(`the end of the processes ${pids}`, () => {
    const left = pids.filter(isAlive);
    if (performance.now() > end) signal(left, "SIGKILL");
    return left.length === 0;
  });
}

function pids(): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name)).filter((pid) => pid > 0);
}

type Stat = Pick<Process, "pid" | "ppid" | "pgid" | "sid"> & { state: string; born: number };

function readStat(pid: number): Stat | undefined {
  // proc(5): pid (comm) state ppid pgrp session ...; comm may itself hold blanks and brackets.
  const text = readProc(pid, "stat");
  const [state, ...rest] = text.slice(text.lastIndexOf(")") + 2).split(" ", 20);
  if (!state || state === "Z" || state === "X") return undefined;
  const [ppid, pgid, sid] = rest.map(Number);
  return { pid, ppid, pgid, sid, state, born: Number(rest[18]) };
}

/** When the tests have started, in clock ticks since the boot (field 22 of proc(5)). */
const BEGUN = readStat(Deno.pid)?.born ?? 0;

function readProcess(pid: number): Process | undefined {
  const stat = readStat(pid);
  // Of the others one file is enough: tests look some thousand times.
  if (stat === undefined || stat.born < BEGUN) return undefined;
  const { ppid, pgid, sid } = stat;
  const args = readProc(pid, "cmdline").replace(/\0+$/, "").split("\0");
  return { pid, ppid, pgid, sid, args, environ: readProc(pid, "environ") };
}

function readProc(pid: number, name: string): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/${name}`);
  } catch (error) {
    if (isGone(error) || error instanceof Deno.errors.PermissionDenied) return "";
    throw error;
  }
}

function isGone(error: unknown): boolean {
  // ESRCH, which Deno throws as a plain Error for a read and as NotFound for a kill.
  return error instanceof Deno.errors.NotFound ||
    (error instanceof Error && /os error 3\)/.test(error.message));
}
