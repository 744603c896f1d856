/**
 * Removes what is left over: broken-off attempts to log in, what was not used for a day, and the state
 * directory of a job (`sshs --with`). A job lasts as long as its owner's process; the owner removes the
 * directory, or the sleeper if the owner was killed.
 */
import { directOf } from "../lane/direct.ts";
import { closeLane, isSameProcess } from "../lane/health.ts";
import { readProcess, removeLane, writeProcess } from "../lane/lane.ts";
import {
  allLanes,
  identityDirs,
  type Lane,
  laneAt,
  lanesOf,
  ownerPath,
  plansDir,
  starterPath,
} from "../lane/layout.ts";
import { type Starter, startersOf } from "../lane/starter.ts";
import { isJobDir } from "../lane/state_dir.ts";
import {
  createText,
  isSystemError,
  namesIn,
  removeIfEmpty,
  removePath,
  statOf,
} from "../os/files.ts";
import { pause, type System } from "../os/system.ts";

type UnusedSystem = Pick<System, "commandLine" | "isAlive" | "kill" | "now" | "pid">;

const DAY = 24 * 3600_000;
/** In ms. A file system records reads only once a day, if at all (relatime). */
const PLAN_UNUSED = 2 * DAY;

export async function clearUnused(stateDir: string, system: UnusedSystem): Promise<void> {
  for (const dir of identityDirs(stateDir)) await clearIdentity(dir, system);
  for (const name of namesIn(plansDir(stateDir))) {
    const path = `${plansDir(stateDir)}/${name}`;
    const info = statOf(path);
    const last = Math.max(info?.mtime?.getTime() ?? 0, info?.atime?.getTime() ?? 0);
    if (system.now() - last > PLAN_UNUSED) removePath(path);
  }
}

/** Whether a call is logging in. */
export function isLoggingIn(stateDir: string, system: Pick<System, "isAlive" | "now">): boolean {
  return identityDirs(stateDir).some((dir) => startersOf(dir, system).some(isRunning));
}

async function clearIdentity(dir: string, system: UnusedSystem): Promise<void> {
  const starters = startersOf(dir, system);
  for (const starter of starters) {
    if (starter.state === "broken off") await endAttempt(dir, starter, system);
  }
  if (starters.some(isRunning)) return;
  const last = starters.at(-1)?.number ?? 0;
  // Keep the highest, so that no name is used twice.
  for (const { number, path } of starters) if (number !== last) removePath(path);
  if (lanesOf(dir).length > 0 || directOf(dir, system.now())) return;
  const unusedFor = system.now() - (statOf(dir)?.mtime?.getTime() ?? 0);
  if (unusedFor > DAY) removeIdentity(dir, last, system);
}

function isRunning({ state }: Starter): boolean {
  return state === "running";
}

/** Removes an identity's directory, as its starter so that no call works in it meanwhile. */
function removeIdentity(dir: string, last: number, system: Pick<System, "pid">): void {
  const mine = starterPath(dir, last + 1);
  if (!createText(mine, `${system.pid} 0\n`)) return;
  for (const name of namesIn(dir)) if (`${dir}/${name}` !== mine) removePath(`${dir}/${name}`);
  removePath(mine);
  removeIfEmpty(dir);
}

/** Ends the ssh of an attempt whose starter was killed: it might wait forever for a silent server. */
async function endAttempt(
  dir: string,
  { number, ssh }: Starter,
  system: UnusedSystem,
): Promise<void> {
  const lane = laneAt(dir, `${number}`);
  if (statOf(lane.record)) return; // It had already logged in.
  if (ssh > 1 && await isStarting(ssh, lane, system)) system.kill(ssh, "SIGTERM");
  removeLane(lane);
}

/** Whether a process is the ssh that was to become a lane's master: its argv contains the socket. */
async function isStarting(
  pid: number,
  lane: Lane,
  system: Pick<System, "commandLine" | "isAlive">,
): Promise<boolean> {
  return system.isAlive(pid) &&
    (await system.commandLine(pid))?.includes(` ${lane.socket} `) === true;
}

export type JobSystem = Pick<System, "births" | "commandLine" | "isAlive" | "kill" | "now" | "pid">;

/** Makes this process the owner of a job's directory. */
export async function ownJob(
  stateDir: string,
  system: Pick<System, "births" | "pid">,
): Promise<void> {
  const { pid } = system;
  writeProcess(ownerPath(stateDir), { pid, birth: (await system.births([pid])).get(pid) });
}

/** Whether a state directory belongs to a job whose owner has ended. */
export async function isAbandoned(
  stateDir: string,
  system: Pick<System, "births" | "isAlive">,
): Promise<boolean> {
  if (!isJobDir(stateDir)) return false;
  const owner = readProcess(ownerPath(stateDir));
  return !owner || !await isSameProcess(owner, system);
}

/** How often, and after how long (ms), we try again while calls that still end make files in the directory. */
const TRIES = 10;
const PAUSE = 50;

/** Ends all sessions, connections and logins of a job, and removes its directory. */
export async function endJob(stateDir: string, system: JobSystem): Promise<void> {
  for (const dir of identityDirs(stateDir)) {
    for (const starter of startersOf(dir, system)) {
      if (starter.state !== "up") await endAttempt(dir, starter, system);
    }
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
