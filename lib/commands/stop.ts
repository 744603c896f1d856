/**
 * `sshs --stop HOST|--all [--now]`: ends what is shared. Gently, the sessions on it live on and new
 * ones log in anew; with --now they end too. HOST is whatever --list shows, or the words of a call.
 */
import { closeLane } from "../lane/health.ts";
import { removeLane } from "../lane/lane.ts";
import { stateDirPath } from "../lane/state_dir.ts";
import type { System } from "../os/system.ts";
import { say } from "../os/terminal.ts";
import { isWaking, wakeSleeper } from "../sleeper/sleeper_start.ts";
import type { DecideSystem } from "../call/decide.ts";
import { print } from "./print.ts";
import { seeLanes, type SeenLane, type SeeSystem } from "./seen_lane.ts";
import { lanesMeant } from "./select.ts";
import { cell } from "./table.ts";
import { commandWords } from "./words.ts";

/** How long a master that was told to end may take, and a sleeper to wake, ms. */
const DEADLINE = 3000;

type StopSystem = DecideSystem & SeeSystem & Pick<System, "kill">;

/** Stops the lanes that are meant, all without `argv`. Returns 1 where none is, or one did not end. */
export async function stop(
  argv: readonly string[] | undefined,
  now: boolean,
  system: StopSystem,
): Promise<number> {
  const all = (await seeLanes(system)).filter(({ state }) => state !== "dead");
  const lanes = argv ? await lanesMeant(argv, all, system) : all;
  if (lanes.length === 0 && argv) {
    say(commandWords.nothingToStop(argv.join(" "), all.map(({ record }) => record.destination)));
    return 1;
  }
  const stateDir = stateDirPath(system);
  const ended = await Promise.all(lanes.map((seen) => stopLane(seen, now, system)));
  // What is left of them is for the sleeper to clear away.
  if (lanes.length > 0) await wakeSleeper(stateDir, system);
  else print(commandWords.nothingShared());
  // Who ends all may remove this program next.
  if (!argv && now) await holds(() => !isWaking(stateDir, system));
  return ended.every(Boolean) ? 0 : 1;
}

/** Stops one lane and says so. False: its master is still there when it should not be. */
async function stopLane(seen: SeenLane, now: boolean, system: StopSystem): Promise<boolean> {
  const { lane, record, sessions } = seen;
  const host = cell(record.destination);
  await closeLane(lane, system, { now });
  if (sessions > 0 && !now) {
    print(commandWords.closed(host, sessions));
    return true;
  }
  if (await holds(() => !system.isAlive(record.pid))) {
    removeLane(lane);
    print(commandWords.stopped(host, sessions));
    return true;
  }
  say(commandWords.notStopped(host, record.pid));
  return false;
}

/** Waits until something is so. False: it was not in time. */
async function holds(condition: () => boolean): Promise<boolean> {
  const end = performance.now() + DEADLINE;
  while (!condition()) {
    if (performance.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return true;
}
