/**
 * `<state>/sleeper` names the sleeper: its pid, its version, the number under which it has this file open, by
 * which the launcher tells it from another process with its pid, and its namespaces. A process that needs a
 * sleeper starts one if none has the file open or the version is older. If several are started, the one that
 * gets the lock on the file stays.
 */
import { readProcess } from "../lane/process.ts";
import { isSystemError, readText, removePath, writeText } from "../os/files.ts";
import { LockedFile } from "../os/locked_file.ts";
import type { Given } from "../os/given.ts";
import { VERSION } from "../os/program.ts";
import type { System } from "../os/system.ts";

/**
 * Returns the pid of the sleeper: of the one that is awake, or of the one that is being started, which the
 * launcher names in `sleeper.start`.
 */
export function sleeperPid(stateDir: string, system: Pick<System, "isAlive">): number | undefined {
  const path = `${stateDir}/sleeper`;
  // A killed sleeper leaves its file, and another process may have its pid by now.
  const awake = LockedFile.isLocked(path) ? Number(readText(path)?.split("\n")[0]) : NaN;
  if (awake > 1) return awake;
  const starting = readProcess(`${path}.start`);
  return starting && system.isAlive(starting.pid) ? starting.pid : undefined;
}

/** Whether a version comes before another, number by number. */
export function isOlder(version: string, other: string): boolean {
  const [mine, theirs] = [version, other].map((text) => text.split(".").map(Number));
  const i = theirs.findIndex((number, i) => number !== mine[i]);
  return i >= 0 && !(mine[i] > theirs[i]);
}

/**
 * Makes a process the sleeper of a state directory, for as long as the file is at its path. Returns
 * `undefined` if a sleeper of this version or a later one is awake, or if the state directory is gone. A
 * sleeper of an older version finds out that the file is not its own any more.
 */
export function takeSleeperFile(
  { stateDir, spaces }: Pick<Given, "stateDir" | "spaces">,
  { pid }: Pick<System, "pid">,
): LockedFile | undefined {
  const path = `${stateDir}/sleeper`;
  let file = LockedFile.tryTake(path);
  // Its holder may not have written its version yet.
  const version = file ? undefined : readText(path)?.split("\n")[1];
  if (version && isOlder(version, VERSION)) {
    removePath(path);
    file = LockedFile.tryTake(path);
  }
  if (!file) return undefined;
  file.write([pid, VERSION, file.descriptor, spaces, ""].join("\n"));
  removePath(`${path}.start`);
  return file;
}

/** Starts a sleeper if none is awake: the launcher does. Without one, lanes close after their grace. */
export async function startSleeper(
  stateDir: string,
  { library }: Pick<Given, "library">,
  system: Pick<System, "run">,
): Promise<void> {
  try {
    await system.run("/bin/sh", [`${library}/bin/ssh`], {
      env: { SSHS_TASK: "wake", SSHS_DIR: stateDir },
    });
  } catch (error) {
    if (!isSystemError(error)) throw error; // Cannot start a process.
  }
}

/** Makes the sleeper of a state directory look at what a command has changed; starts one if none is awake. */
export async function tellSleeper(
  stateDir: string,
  given: Pick<Given, "library">,
  system: Pick<System, "run">,
): Promise<void> {
  try {
    writeText(`${stateDir}/used`, "\n");
  } catch (error) {
    if (!isSystemError(error)) throw error; // A full disk: the sleeper looks by itself, but later.
  }
  await startSleeper(stateDir, given, system);
}
