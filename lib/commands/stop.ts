/**
 * `sshs --stop HOST|--all [--now]`: ends what is shared. Gently, the sessions on it live on and new
 * ones log in anew; with --now they end too. HOST is whatever --list shows, or the words of a call.
 */
import { closeLane } from "../health.ts";
import { stateDirPath } from "../state_dir.ts";
import type { System } from "../system.ts";
import { say } from "../ui.ts";
import { wakeSleeper } from "../wake.ts";
import type { DecideSystem } from "../decide.ts";
import { print } from "./print.ts";
import { seeLanes, type SeenLane, type SeeSystem } from "./seen_lane.ts";
import { lanesMeant } from "./select.ts";
import { cell } from "./table.ts";
import { commandWords } from "./words.ts";

/** How long a master that was told to end may take, ms. */
const END_DEADLINE = 3000;

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
  if (lanes.length === 0) {
    print(commandWords.nothingShared());
    return 0;
  }
  const ended = await Promise.all(lanes.map((seen) => stopLane(seen, now, system)));
  // What is left of them is for the sleeper to clear away.
  await wakeSleeper(stateDirPath(system), system);
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
  if (await isGone(record.pid, system)) {
    print(commandWords.stopped(host, sessions));
    return true;
  }
  say(commandWords.notStopped(host, record.pid));
  return false;
}

async function isGone(pid: number, system: Pick<System, "isAlive">): Promise<boolean> {
  const end = performance.now() + END_DEADLINE;
  while (system.isAlive(pid)) {
    if (performance.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return true;
}
