/**
 * `sshs --hold DURATION HOST`: keeps a lane open that long, whatever its linger; 0 releases it. If there is
 * no lane, the launcher opens one without a session, as for --warm.
 */
import { parseDuration } from "../call/settings.ts";
import { isOpen, readMaster } from "../lane/lane.ts";
import type { Lane } from "../lane/layout.ts";
import { MuxConnection } from "../lane/mux_client.ts";
import { isMuxTrouble } from "../lane/mux_protocol.ts";
import { endOf, readRecord } from "../lane/record.ts";
import { removePath, writeText } from "../os/files.ts";
import { pause } from "../os/system.ts";
import { Complaint, print } from "../os/terminal.ts";
import { type Here, takeHost, type Words, WrongUse } from "./command.ts";
import { openLane } from "./open.ts";
import { clock, duration } from "./phrases.ts";
import { laneOf } from "./seen.ts";
import { lanesMeant, tellSleepers } from "./stop.ts";
import { cell } from "./table.ts";

/** The last moment of JavaScript's clock, ms since the epoch. */
const LAST_MOMENT = 8.64e15;

/** How long the sleeper may take to start and to take the lane, ms. */
const TAKE_DEADLINE = 10_000;

/** Holds the lane of a call for a duration, opening it if need be, or releases it. */
export async function hold(words: Words, here: Here): Promise<void> {
  const [time, ...rest] = words.argv;
  if (time === undefined) throw new WrongUse("--hold takes a duration and a host");
  const seconds = parseDuration(time);
  if (seconds === undefined) {
    throw new WrongUse(`not a duration (30m, 1h30m, 2d, forever, or 0 to release): ${time}`);
  }
  const call = takeHost({ ...words, argv: rest });
  const host = cell(call[call.length - 1]);
  if (seconds === 0) return await release(host, call, here);
  const until = Math.min(here.system.now() + seconds * 1000, LAST_MOMENT);
  const lane = await openAndKeep(host, call, until, here);
  await tellSleepers([lane], here);
  await untilTaken(lane);
  const record = readRecord(lane);
  const end = record ? endOf(lane, record) : Infinity;
  const length = seconds === Infinity
    ? "forever"
    : `for ${duration(seconds)}, until ${clock(until)}`;
  const shorter = `until ${clock(end)}, the end of its maximum age or certificate`;
  print(`${host}: held ${end < until ? shorter : length}`);
}

/** Opens the lane of a call and writes down until when to keep it (ms since the epoch). */
async function openAndKeep(host: string, call: readonly string[], until: number, here: Here) {
  for (let tries = 1;; tries++) {
    const { lane, problem } = await openLane(call, here, { mayAsk: true });
    if (!lane) throw new Complaint(`${host}: ${problem?.fault}`, problem?.hint);
    writeText(lane.keep, until < LAST_MOMENT ? `${Math.ceil(until / 1000)}\n` : "forever\n");
    // Without a linger, the sleeper may close the lane before it sees that it is kept.
    if (isOpen(lane) || tries === 3) return lane;
    removePath(lane.keep);
  }
}

async function release(host: string, call: readonly string[], here: Here): Promise<void> {
  const held = (await lanesMeant(here, call)).filter(({ held }) => held).map(laneOf);
  if (held.length === 0) throw new Complaint(`${host}: no connection is held`);
  for (const { keep } of held) removePath(keep);
  await tellSleepers(held, here);
  print(`${host}: no longer held`);
}

/**
 * Stays connected to the lane until the sleeper has taken it and noted its master: by itself, a master that
 * must not linger exits after a grace of 2 s.
 */
async function untilTaken(lane: Lane): Promise<void> {
  try {
    using _connection = await MuxConnection.connect(lane.socket);
    const end = performance.now() + TAKE_DEADLINE;
    while (!readMaster(lane) && performance.now() < end) await pause(50);
  } catch (error) {
    if (!isMuxTrouble(error)) throw error; // Otherwise the next call finds it dead.
  }
}
