/**
 * `<state>/sleeper` names the sleeper: its pid, its version, "waking" or "awake", the path of its Deno, its birth
 * and its namespaces, by which the launcher tells it from another process with its pid. A process that needs
 * a sleeper starts one if the pid is dead or the version older. If several are started, the one that gets
 * the lock on the file stays.
 */
import { sleeperPath, usedPath } from "../lane/layout.ts";
import type { Process } from "../lane/process.ts";
import { isSystemError, LockedFile, readText, removePath, statOf, writeText } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import { DENO, sleeperCommand, VERSION } from "../os/program.ts";
import type { System } from "../os/system.ts";

/** How long a sleeper may take from its start until it has the lock, ms. */
const WAKING = 10_000;

/** Returns the pid of the sleeper that is awake or about to be. */
export function sleeperPid(
  stateDir: string,
  system: Pick<System, "isAlive" | "now">,
): number | undefined {
  const path = sleeperPath(stateDir);
  const [pid, , state] = (readText(path) ?? "").split("\n");
  if (!(Number(pid) > 1) || !system.isAlive(Number(pid))) return undefined;
  // A killed sleeper leaves its file, and another process may have its pid by now.
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
   * Takes the file. Returns `undefined` if a sleeper of this version or a later one is awake, or if the state
   * directory is gone. A sleeper of an older version finds out that the file is not its own any more.
   */
  static tryTake(
    { stateDir, spaces }: Pick<Given, "stateDir" | "spaces">,
    { pid, birth = "" }: Process,
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
    file?.write([pid, VERSION, "awake", DENO, birth, spaces, ""].join("\n"));
    return file && new SleeperFile(path, file);
  }

  /** Whether the state directory still exists and its sleeper is this one. */
  isMine(): boolean {
    return this.#file.isAt(this.#path);
  }

  /** Removes the file: from now on calls start another sleeper. */
  remove(): void {
    if (this.isMine()) removePath(this.#path);
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

/** The variables that Deno and we read; the sleeper keeps nothing else of the caller's environment. */
const KEPT = ["PATH", "HOME", "TMPDIR", "DENO_DIR", "XDG_CACHE_HOME", "SSHS_LOOK"];

/** What the launcher has settled, as far as it is known. */
type SleeperGiven = Pick<Given, "stateDir"> & Partial<Given>;

/** Starts a sleeper if none is awake. If that fails, lanes work without it and close after their grace. */
export async function startSleeper(
  given: SleeperGiven,
  system: Pick<System, "env" | "isAlive" | "now" | "run">,
): Promise<void> {
  if (isAwake(given.stateDir, system)) return;
  const env = KEPT.flatMap((name) => {
    const value = system.env(name);
    return value === undefined ? [] : [`${name}=${value}`];
  });
  const script = `{ trap '' HUP INT QUIT; exec env -i "$@"; } </dev/null >/dev/null 2>&1 &`;
  // Deno checks for updates in long-running processes.
  const command = [...env, "DENO_NO_UPDATE_CHECK=1", ...sleeperCommand(given)];
  try {
    await system.run("/bin/sh", ["-c", script, "sh", ...command]);
  } catch (error) {
    if (!isSystemError(error)) throw error; // Cannot start a process.
  }
}

/** Whether a sleeper of this version, or of a later one, is awake or about to be. */
function isAwake(stateDir: string, system: Pick<System, "isAlive" | "now">): boolean {
  if (sleeperPid(stateDir, system) === undefined) return false;
  return !isOlder(readText(sleeperPath(stateDir))?.split("\n")[1] ?? "", VERSION);
}

export type TellSystem = Pick<System, "env" | "isAlive" | "now" | "run">;

/** Makes the sleeper of a state directory look at what a command has changed; starts one if none is awake. */
export async function tellSleeper(given: SleeperGiven, system: TellSystem): Promise<void> {
  try {
    writeText(usedPath(given.stateDir), "\n");
  } catch (error) {
    if (!isSystemError(error)) throw error; // A full disk: the sleeper looks by itself, but later.
  }
  await startSleeper(given, system);
}
