/**
 * `sshs --hold DURATION HOST`: keeps a lane open that long, whatever its linger; 0 releases it. If there is
 * no lane, the launcher opens one without a session, as for --warm.
 */
import { isOpen, readMaster } from "../lane/lane.ts";
import type { Lane } from "../lane/layout.ts";
import { MuxConnection } from "../lane/mux_client.ts";
import { isMuxTrouble } from "../lane/mux_protocol.ts";
import { endOf, readRecord } from "../lane/record.ts";
import { removePath, writeText } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import { pause, type System } from "../os/system.ts";
import { print, say } from "../os/terminal.ts";
import { tellSleeper } from "../sleeper/sleeper_file.ts";
import { type Opened, openLane } from "./open.ts";
import { clock, duration } from "./phrases.ts";
import { laneOf, seeLanes, stateDirOf } from "./seen.ts";
import { lanesMeant } from "./stop.ts";
import { cell } from "./table.ts";

/** The last moment of JavaScript's clock, ms since the epoch. */
const LAST_MOMENT = 8.64e15;

/** How long the sleeper may take to start and to take the lane, ms. */
const TAKE_DEADLINE = 10_000;

/** Holds the lane of a call for `seconds`, opening it if need be. Returns the exit status. */
export async function hold(
  seconds: number,
  argv: readonly string[],
  given: Given,
  system: System,
): Promise<number> {
  const host = cell(argv[argv.length - 1]);
  if (seconds === 0) return await release(host, argv, given, system);
  const until = Math.min(system.now() + seconds * 1000, LAST_MOMENT);
  const { lane, problem } = await openAndKeep(argv, until, given, system);
  if (!lane) {
    say({ ...problem, fault: `${host}: ${problem?.fault}` });
    return 1;
  }
  await tellSleeper(stateDirOf(lane), given, system);
  await untilTaken(lane, system);
  const record = readRecord(lane);
  const end = record ? endOf(lane, record) : Infinity;
  print(
    end < until
      ? `${host}: held until ${clock(new Date(end))}, the end of its maximum age or certificate`
      : seconds === Infinity
      ? `${host}: held forever`
      : `${host}: held for ${duration(seconds)}, until ${clock(new Date(until))}`,
  );
  return 0;
}

/** Opens the lane of a call and writes down until when to keep it (ms since the epoch). */
async function openAndKeep(
  argv: readonly string[],
  until: number,
  given: Given,
  system: System,
): Promise<Opened> {
  for (let tries = 1;; tries++) {
    const opened = await openLane(argv, given, system, { mayAsk: true });
    if (!opened.lane) return opened;
    const { keep } = opened.lane;
    writeText(keep, until < LAST_MOMENT ? `${Math.ceil(until / 1000)}\n` : "forever\n");
    // Without a linger, the sleeper may close the lane before it sees that it is kept.
    if (isOpen(opened.lane) || tries === 3) return opened;
    removePath(keep);
  }
}

async function release(
  host: string,
  argv: readonly string[],
  given: Given,
  system: System,
): Promise<number> {
  const meant = await lanesMeant(argv, await seeLanes(given, system), given, system);
  const held = meant.filter(({ held }) => held).map(laneOf);
  for (const { keep } of held) removePath(keep);
  for (const dir of new Set(held.map(stateDirOf))) {
    await tellSleeper(dir, given, system);
  }
  if (held.length === 0) say({ fault: `${host}: no connection is held` });
  else print(`${host}: no longer held`);
  return held.length === 0 ? 1 : 0;
}

/**
 * Stays connected to the lane until the sleeper has taken it and noted its master: by itself, a master that
 * must not linger exits after a grace of 2 s.
 */
async function untilTaken(lane: Lane, system: Pick<System, "now">): Promise<void> {
  try {
    using _connection = await MuxConnection.connect(lane.socket);
    const end = system.now() + TAKE_DEADLINE;
    while (!readMaster(lane) && system.now() < end) {
      await pause(50);
    }
  } catch (error) {
    if (!isMuxTrouble(error)) throw error; // Otherwise the next call finds it dead.
  }
}
