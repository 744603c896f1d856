/** Sees to it that a sleeper is awake. The sleeper itself is in sleeper.ts. */
import { isSystemError, makeWay, openIfThere, readText, statOf } from "../os/files.ts";
import { keepDescriptors } from "../os/libc.ts";
import { sleeperCommand, VERSION } from "../os/program.ts";
import { INSIDE } from "../ssh/real_ssh.ts";
import type { System } from "../os/system.ts";

/** The file that names the sleeper: its pid, its version, its state. The sleeper holds a lock on it. */
export function sleeperFile(stateDir: string): string {
  return `${stateDir}/sleeper`;
}

/** How long a sleeper may take from its start until it has its lock, ms. */
const WAKING = 10_000;

/** The pid of the sleeper; `undefined` where none is awake. */
export function sleeperPid(
  stateDir: string,
  system: Pick<System, "isAlive" | "now">,
): number | undefined {
  const path = sleeperFile(stateDir);
  const [pid, , state] = (readText(path) ?? "").split("\n");
  if (!(Number(pid) > 1) || !system.isAlive(Number(pid))) return undefined;
  // One that was killed has left its file; its pid may be another process's by now, or a zombie's.
  const age = system.now() - (statOf(path)?.mtime?.getTime() ?? 0);
  const mayWake = state === "waking" && age >= 0 && age < WAKING;
  return mayWake || isLocked(path) ? Number(pid) : undefined;
}

/** Whether a sleeper has been started, and is not awake yet: it still needs this program. */
export function isWaking(stateDir: string, system: Pick<System, "isAlive" | "now">): boolean {
  const path = sleeperFile(stateDir);
  return sleeperPid(stateDir, system) !== undefined && !isLocked(path);
}

function isLocked(path: string): boolean {
  using file = openIfThere(path);
  return file !== undefined && !file.tryLockSync(false);
}

/** Whether a sleeper of this version, or of a later one, is awake. */
function isAwake(stateDir: string, system: Pick<System, "isAlive" | "now">): boolean {
  if (sleeperPid(stateDir, system) === undefined) return false;
  return !isOlder(readText(sleeperFile(stateDir))?.split("\n")[1] ?? "", VERSION);
}

/** Whether a version comes before another, number by number. */
export function isOlder(version: string, other: string): boolean {
  const [mine, theirs] = [version, other].map((text) => text.split(".").map(Number));
  const i = theirs.findIndex((number, i) => number !== mine[i]);
  return i >= 0 && !(mine[i] > theirs[i]);
}

/** How often the sleeper looks after its lanes, seconds: `SSHS_LOOK`, else 5. */
export function lookSeconds(system: Pick<System, "env">): number {
  const seconds = Number(system.env("SSHS_LOOK"));
  return seconds >= 0.1 && seconds <= 60 ? seconds : 5;
}

/** What the sleeper's file holds: until it has the lock it is waking. */
export function sleeperText(pid: number, state: "waking" | "awake"): string {
  return `${pid}\n${VERSION}\n${state}\n`;
}

/**
 * Starts a sleeper where none is awake. It is forked twice, holds nothing of the caller, and begins
 * its work a second later: the call that needed it goes first. Until then its pid, which an exec
 * keeps, already stands in the file, so that 50 calls at once do not start 50. One of an older version
 * goes when it finds that the file is another's.
 */
export async function wakeSleeper(
  stateDir: string,
  system: Pick<System, "env" | "isAlive" | "kill" | "now">,
): Promise<void> {
  if (isAwake(stateDir, system)) return;
  try {
    await startSleeper(stateDir, system);
  } catch (error) {
    // No process to be had, or a full disk: the lanes serve without it, and go after their grace.
    if (!isSystemError(error)) throw error;
  }
}

/** What Deno and we read; the rest of the caller's environment is not the sleeper's to keep. */
function sleeperEnv(stateDir: string, system: Pick<System, "env">): Record<string, string> {
  const names = ["PATH", "HOME", "TMPDIR", "DENO_DIR", "XDG_CACHE_HOME", "SSHS_LOOK"];
  const kept = names.flatMap((name) => {
    const value = system.env(name);
    return value === undefined ? [] : [[name, value]];
  });
  return {
    ...Object.fromEntries(kept),
    [INSIDE]: "sleeper",
    SSHS_DIR: stateDir,
    // Deno asks its makers for news in processes that stay.
    DENO_NO_UPDATE_CHECK: "1",
  };
}

async function startSleeper(
  stateDir: string,
  system: Pick<System, "env" | "isAlive" | "kill" | "now">,
): Promise<void> {
  keepDescriptors();
  const child = new Deno.Command("/bin/sh", {
    args: [
      "-c",
      '{ sleep 1; exec "$@"; } </dev/null >/dev/null 2>&1 & echo $!',
      "sh",
      ...sleeperCommand(stateDir),
    ],
    cwd: "/",
    env: sleeperEnv(stateDir, system),
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
    detached: true,
  }).spawn(); // Not at once by output(), which passes over `detached` (Deno 2.9).
  const { stdout } = await child.output();
  const pid = parseInt(new TextDecoder().decode(stdout));
  if (!(pid > 1)) return;
  makeWay(sleeperFile(stateDir));
  const draft = `${sleeperFile(stateDir)}.${Deno.pid}`;
  Deno.writeTextFileSync(draft, sleeperText(pid, "waking"), { mode: 0o600 });
  try {
    // Not over another's: who was first stays.
    Deno.linkSync(draft, sleeperFile(stateDir));
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    if (!isAwake(stateDir, system)) {
      Deno.renameSync(draft, sleeperFile(stateDir));
      return;
    }
    system.kill(-child.pid, "SIGTERM"); // Ours would only wake to find another one awake.
  }
  Deno.removeSync(draft);
}
