/** `sshs --hold DURATION HOST`: keeps a lane for that long, whatever its linger; 0 takes it back. */
import type { DecideSystem } from "../call/decide.ts";
import { type Lane, readRecord, writeRecord } from "../lane/lane.ts";
import type { RouteSystem } from "../lane/route.ts";
import type { System } from "../os/system.ts";
import { say } from "../os/terminal.ts";
import { openLaneOf } from "./open.ts";
import { print } from "./print.ts";
import { seeLanes, type SeeSystem } from "./seen_lane.ts";
import { lanesMeant } from "./select.ts";
import { cell } from "./table.ts";
import { commandWords } from "./words.ts";

/** The last moment of JavaScript's clock, ms since the epoch: JSON has no Infinity. */
const FOR_EVER = 8.64e15;

/** How long the sleeper may take to wake and to look, ms. */
const TAKE_DEADLINE = 10_000;

/** Holds the lane of a call, opening it if need be. Returns the exit status. */
export async function hold(
  seconds: number,
  argv: readonly string[],
  system: RouteSystem & SeeSystem,
): Promise<number> {
  const host = cell(argv[argv.length - 1]);
  if (seconds === 0) return await release(host, argv, system);
  const until = Math.min(system.now() + seconds * 1000, FOR_EVER);
  const opened = await openLaneOf(argv, system, (lane) => setHold(lane, until));
  if (opened.kind === "failed") {
    say(`${host}: ${opened.reason}`);
    return 1;
  }
  await untilTaken(opened.lane, system);
  print(commandWords.held(host, seconds, new Date(until)));
  return 0;
}

async function release(
  host: string,
  argv: readonly string[],
  system: DecideSystem & SeeSystem,
): Promise<number> {
  const meant = await lanesMeant(argv, await seeLanes(system), system);
  const held = meant.filter(({ record }) => (record.holdUntil ?? 0) > system.now());
  for (const { lane } of held) setHold(lane, undefined);
  if (held.length === 0) say(commandWords.notHeld(host));
  else print(commandWords.released(host));
  return held.length === 0 ? 1 : 0;
}

/**
 * Waits until the sleeper has taken the lane, which it tells by noting the master's birth: a master
 * that must not linger has a grace of 2 s only, counted from the end of this process.
 */
async function untilTaken(lane: Lane, system: Pick<System, "now">): Promise<void> {
  const end = system.now() + TAKE_DEADLINE;
  while (readRecord(lane)?.birth === undefined && system.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function setHold(lane: Lane, holdUntil: number | undefined): void {
  const record = readRecord(lane);
  if (record) writeRecord(lane, { ...record, holdUntil });
}
