/**
 * Removes what is left over: broken-off attempts to log in, what was not used for a day, and the state
 * directory of a job (`sshs --with`). A job lasts as long as its owner's process; the owner removes the
 * directory, or the sleeper if the owner was killed.
 */
import { removeLane } from "../lane/lane.ts";
import { allLanes, identityDirs, laneAt, lanesOf } from "../lane/layout.ts";
import { directOf } from "../lane/learned.ts";
import { closeLane, endStopped } from "../lane/master.ts";
import { isSameProcess, processOf, readProcess, writeProcess } from "../lane/process.ts";
import { isRunning, type Starter, startersOf } from "../lane/starter.ts";
import { isJobDir } from "../lane/state_dir.ts";
import {
  createText,
  exists,
  isSystemError,
  namesIn,
  removeIfEmpty,
  removePath,
  statOf,
} from "../os/files.ts";
import { pause, type System } from "../os/system.ts";

type ClearSystem = Pick<System, "births" | "commandLines" | "isAlive" | "kill" | "now" | "pid">;

const DAY = 24 * 3600_000;
/** In ms. A file system records reads only once a day, if at all (relatime). */
const PLAN_UNUSED = 2 * DAY;

export async function clearUnused(stateDir: string, system: ClearSystem): Promise<void> {
  for (const dir of identityDirs(stateDir)) await clearIdentity(dir, system);
  for (const name of namesIn(`${stateDir}/plans`)) {
    const path = `${stateDir}/plans/${name}`;
    const info = statOf(path);
    const last = Math.max(info?.mtime?.getTime() ?? 0, info?.atime?.getTime() ?? 0);
    if (system.now() - last > PLAN_UNUSED) removePath(path);
  }
  // The pipes of calls that were killed while they waited.
  for (const name of namesIn(`${stateDir}/waiting`)) {
    const pid = Number(/\.(\d+)$/.exec(name)?.[1]);
    if (pid > 0 && !system.isAlive(pid)) removePath(`${stateDir}/waiting/${name}`);
  }
}

/** Whether a call is logging in. */
export async function isLoggingIn(
  stateDir: string,
  system: Pick<System, "births" | "isAlive" | "now">,
): Promise<boolean> {
  const starters = identityDirs(stateDir).flatMap((dir) => startersOf(dir, system));
  return (await Promise.all(starters.map((starter) => isRunning(starter, system)))).includes(true);
}

async function clearIdentity(dir: string, system: ClearSystem): Promise<void> {
  const starters = startersOf(dir, system);
  for (const starter of starters) {
    if (await isRunning(starter, system)) return;
    if (!["up", "failed"].includes(starter.state)) await endAttempt(dir, starter, system);
  }
  const last = starters.at(-1)?.number ?? 0;
  // Keep the highest, so that no name is used twice.
  for (const { number, path } of starters) if (number !== last) removePath(path);
  if (lanesOf(dir).length > 0 || directOf(dir, system.now())) return;
  if (system.now() - (statOf(dir)?.mtime?.getTime() ?? 0) <= DAY) return;
  // As its starter, so that no call works in it meanwhile.
  const mine = `${dir}/starter.${last + 1}`;
  if (!createText(mine, `${system.pid}\n`)) return;
  for (const name of namesIn(dir)) if (`${dir}/${name}` !== mine) removePath(`${dir}/${name}`);
  removePath(mine);
  removeIfEmpty(dir);
}

/**
 * Ends the ssh of an attempt whose starter was killed, since it might wait forever for a silent server, and
 * removes the files. Its argv contains the socket.
 */
async function endAttempt(
  dir: string,
  { number }: Starter,
  system: Pick<System, "commandLines" | "kill">,
): Promise<void> {
  const lane = laneAt(dir, `${number}`);
  if (exists(lane.record)) return; // It had already logged in.
  for (const [pid, line] of await system.commandLines()) {
    if (line.includes(` -S ${lane.socket} `)) endStopped(pid, system);
  }
  removeLane(lane);
}

/** Makes a process the owner of a job's directory. */
export async function ownJob(
  stateDir: string,
  pid: number,
  system: Pick<System, "births">,
): Promise<void> {
  writeProcess(`${stateDir}/owner`, await processOf(pid, system));
}

/** Whether a state directory belongs to a job whose owner has ended. */
export async function isAbandoned(
  stateDir: string,
  system: Pick<System, "births" | "isAlive">,
): Promise<boolean> {
  if (!isJobDir(stateDir)) return false;
  const owner = readProcess(`${stateDir}/owner`);
  return !owner || !await isSameProcess(owner, system);
}

/** How often, and after how long (ms), we try again while calls that still end make files in the directory. */
const TRIES = 10;
const PAUSE = 50;

/** Ends all sessions, connections and logins of a job, and removes its directory. */
export async function endJob(stateDir: string, system: ClearSystem): Promise<void> {
  for (const dir of identityDirs(stateDir)) {
    for (const starter of startersOf(dir, system)) await endAttempt(dir, starter, system);
  }
  await Promise.all(allLanes(stateDir).map((lane) => closeLane(lane, system, { now: true })));
  for (let tries = 1;; tries++) {
    try {
      return removePath(stateDir);
    } catch (error) {
      if (!isSystemError(error) || tries === TRIES) throw error;
      await pause(PAUSE);
    }
  }
}
