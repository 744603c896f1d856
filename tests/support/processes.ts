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
  return pids().flatMap((pid) => {
    const stat = readStat(pid);
    // Of the others one file is enough: tests look some thousand times.
    if (stat === undefined || stat.born < BEGUN) return [];
    const args = readProc(pid, "cmdline").replace(/\0+$/, "").split("\0");
    return { ...stat, args, environ: readProc(pid, "environ") };
  });
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
  return pids().filter((pid) => unlessGone(() => Deno.statSync(`/proc/${pid}`).uid, -1) === uid);
}

/** Returns the processes that keep a directory busy: they work in it or below, or have a file open there. */
export function usersOf(dir: string): Process[] {
  return processes().filter(({ pid }) => {
    const open = unlessGone(() => [...Deno.readDirSync(`/proc/${pid}/fd`)], []);
    return ["cwd", ...open.map(({ name }) => `fd/${name}`)].some((link) =>
      unlessGone(() => Deno.readLinkSync(`/proc/${pid}/${link}`), "").startsWith(dir)
    );
  });
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
  for (const pid of pids) unlessGone(() => Deno.kill(pid, name), undefined);
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

/** Whether all that a shell has started and not ended is stopped. */
export function isStopped(shell: number): boolean {
  const jobs = descendants(shell).filter((pid) => readStat(pid)?.sid === readStat(shell)?.sid);
  return jobs.every((pid) => (readStat(pid)?.state ?? "T") === "T");
}

/** proc(5): pid (comm) state ppid pgrp session ...; comm may itself hold blanks and brackets. */
function readStat(pid: number) {
  const text = readProc(pid, "stat");
  const [state, ...rest] = text.slice(text.lastIndexOf(")") + 2).split(" ", 20);
  if (!state || state === "Z" || state === "X") return undefined;
  const [ppid, pgid, sid] = rest.map(Number);
  return { pid, ppid, pgid, sid, state, born: Number(rest[18]) };
}

/** When the tests have started, in clock ticks since the boot (field 22 of proc(5)). */
const BEGUN = readStat(Deno.pid)?.born ?? 0;

function readProc(pid: number, name: string): string {
  return unlessGone(() => Deno.readTextFileSync(`/proc/${pid}/${name}`), "");
}

/** Returns what `act` gives, or `otherwise` if the process is gone or not ours. */
function unlessGone<T>(act: () => T, otherwise: T): T {
  try {
    return act();
  } catch (error) {
    // ESRCH, which Deno throws as a plain Error for a read and as NotFound for a kill.
    if (error instanceof Deno.errors.NotFound) return otherwise;
    if (error instanceof Deno.errors.PermissionDenied) return otherwise;
    if (error instanceof Error && /os error 3\)/.test(error.message)) return otherwise;
    throw error;
  }
}
