/**
 * `<state>/sleeper` names the sleeper: its pid, its version, and "waking" or "awake". Whoever needs one
 * and finds the pid dead, or the version older, starts it; of several that are started the lock on the
 * file lets one stay.
 */
import { sleeperPath, usedPath } from "../lane/layout.ts";
import { isSystemError, LockedFile, readText, removePath, statOf, writeText } from "../os/files.ts";
import { sleeperCommand, VERSION } from "../os/program.ts";
import type { System } from "../os/system.ts";

/** How long a sleeper may take from its start until it has the lock, ms. */
const WAKING = 10_000;

/** The pid of the sleeper that is awake, or about to be. */
export function sleeperPid(
  stateDir: string,
  system: Pick<System, "isAlive" | "now">,
): number | undefined {
  const path = sleeperPath(stateDir);
  const [pid, , state] = (readText(path) ?? "").split("\n");
  if (!(Number(pid) > 1) || !system.isAlive(Number(pid))) return undefined;
  // One that was killed has left its file, and its pid may be another process's by now.
  const age = system.now() - (statOf(path)?.mtime?.getTime() ?? 0);
  const mayWake = state === "waking" && age >= 0 && age < WAKING;
  return mayWake || LockedFile.isLocked(path) ? Number(pid) : undefined;
}

/** Whether a version comes before another, number by number. */
export function isOlder(version: string, other: string): boolean {
  const [mine, theirs] = [version, other].map((text) => text.split(".").map(Number));
  const i = theirs.findIndex((number, i) => number !== mine[i]);
  return i >= 0 && !(mine[i] > theirs[i]);
}

/** The right to be the sleeper of a state directory. */
export class SleeperFile implements Disposable {
  readonly #path: string;
  readonly #file: LockedFile;

  private constructor(path: string, file: LockedFile) {
    this.#path = path;
    this.#file = file;
  }

  /**
   * Takes the file. `undefined`: another of this version, or of a later one, is awake, or the state
   * directory is gone. One of an older version finds that the file is another's.
   */
  static tryTake(
    stateDir: string,
    system: Pick<System, "pid">,
  ): SleeperFile | undefined {
    const path = sleeperPath(stateDir);
    let file = LockedFile.tryTake(path);
    if (!file) {
      // Its holder may not have written its version yet.
      const version = readText(path)?.split("\n")[1];
      if (!version || !isOlder(version, VERSION)) return undefined;
      removePath(path);
      file = LockedFile.tryTake(path);
    }
    file?.write(`${system.pid}\n${VERSION}\nawake\n`);
    return file && new SleeperFile(path, file);
  }

  /** Whether the state directory is there still, and its sleeper is this one. */
  isMine(): boolean {
    return this.#file.isAt(this.#path);
  }

  /** Removes the file: who comes from now on starts another sleeper. */
  remove(): void {
    if (this.isMine()) removePath(this.#path);
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

/** What Deno and we read; the rest of the caller's environment is not the sleeper's to keep. */
const KEPT = ["PATH", "HOME", "TMPDIR", "DENO_DIR", "XDG_CACHE_HOME", "SSHS_LOOK"];

/**
 * Starts a sleeper where none is awake. Where that cannot be, lanes serve without it and go after
 * their grace.
 */
export async function startSleeper(
  stateDir: string,
  system: Pick<System, "env" | "isAlive" | "now" | "run">,
): Promise<void> {
  if (isAwake(stateDir, system)) return;
  const env = KEPT.flatMap((name) => {
    const value = system.env(name);
    return value === undefined ? [] : [`${name}=${value}`];
  });
  const script = `{ trap '' HUP INT QUIT; exec env -i "$@"; } </dev/null >/dev/null 2>&1 &`;
  // Deno asks its makers for news in processes that stay.
  const command = [...env, "DENO_NO_UPDATE_CHECK=1", ...sleeperCommand(stateDir)];
  try {
    await system.run("/bin/sh", ["-c", script, "sh", ...command]);
  } catch (error) {
    if (!isSystemError(error)) throw error; // No process to be had.
  }
}

/** Whether a sleeper of this version, or of a later one, is awake or about to be. */
function isAwake(stateDir: string, system: Pick<System, "isAlive" | "now">): boolean {
  if (sleeperPid(stateDir, system) === undefined) return false;
  return !isOlder(readText(sleeperPath(stateDir))?.split("\n")[1] ?? "", VERSION);
}

export type TellSystem = Pick<System, "env" | "isAlive" | "now" | "run">;

/** Has the sleeper of a state directory look at what a command has changed; starts one where none is awake. */
export async function tellSleeper(stateDir: string, system: TellSystem): Promise<void> {
  try {
    writeText(usedPath(stateDir), "\n");
  } catch (error) {
    if (!isSystemError(error)) throw error; // A full disk: it looks by itself, if later.
  }
  await startSleeper(stateDir, system);
}
