/**
 * `sshs --list [--json]`: what is shared. With `--json` an array, `[]` where there is nothing, of
 *
 *     {
 *       "destination": "web1",                as the user wrote it, when the lane was opened
 *       "resolved": "deploy@192.0.2.1:22",    as ssh resolved it
 *       "identity": "0123456789abcdef",       lanes of one identity are alike
 *       "lane": "x7a2",
 *       "socket": "/run/user/1000/sshs/0123456789abcdef/x7a2.sock",
 *       "pid": 4711,                          of the connection master
 *       "state": "open",                      open, full, unverified, retired or dead: seen_lane.ts
 *       "sessions": 2,
 *       "maxSessions": 10,
 *       "age": 930,                           seconds since the login
 *       "idle": null,                         seconds since the last session; null: there is one
 *       "linger": 600,                        seconds it stays when idle; null: for ever
 *       "goesIn": null,                       seconds until it is let go; null: in use, or for ever
 *       "held": false,                        --hold is in force
 *       "roundTrip": 11.3                     ms to the server and back, as last asked; null: unknown
 *     }
 *
 * oldest first. Keys may be added, and none is ever taken away or given another meaning.
 */
import { basename } from "@std/path/posix/basename";
import { stateDirPath } from "../lane/state_dir.ts";
import { sleeperPid } from "../sleeper/sleeper_start.ts";
import { print, printJson } from "./print.ts";
import { type LaneState, seeLanes, type SeenLane, type SeeSystem } from "./seen_lane.ts";
import { cell, type Colour, colour, COLUMNS, duration, table, width } from "./table.ts";
import { commandWords } from "./words.ts";

/** Prints the lanes. Returns the exit status. */
export async function list(json: boolean, system: SeeSystem): Promise<number> {
  const lanes = await seeLanes(system);
  if (json) {
    printJson(lanes.map((seen) => laneJson(seen, system.now())));
    return 0;
  }
  if (lanes.length === 0) {
    print(commandWords.nothingShared());
    return 0;
  }
  print(...laneTable(lanes));
  if (sleeperPid(stateDirPath(system), system) === undefined) print("", commandWords.noSleeper());
  return 0;
}

/** A lane as `--json` shows it. */
export function laneJson({ lane, record, ...seen }: SeenLane, now: number) {
  return {
    destination: record.destination,
    resolved: record.resolved,
    identity: basename(lane.dir),
    lane: lane.name,
    socket: lane.socket,
    pid: record.pid,
    state: seen.state,
    sessions: seen.sessions,
    maxSessions: record.maxSessions,
    age: Math.round(seen.age),
    idle: seen.idle === undefined ? null : Math.round(seen.idle),
    linger: record.linger,
    goesIn: seen.goesIn === undefined || !isFinite(seen.goesIn) ? null : Math.round(seen.goesIn),
    held: (record.holdUntil ?? 0) > now,
    roundTrip: seen.roundTrip ?? null,
  };
}

const HEAD = ["STATE", "PID", "IN USE", "AGE", "IDLE", "GOES IN", "PING"];
const STATE_COLOURS: Record<LaneState, Colour> = {
  open: "green",
  full: "yellow",
  unverified: "yellow",
  retired: "dim",
  dead: "red",
};

/** The lanes in columns, each with its resolved destination in a line below. */
export function laneTable(lanes: readonly SeenLane[]): string[] {
  const facts = [HEAD, ...lanes.map(factsOf)];
  // The host's name has what the others leave of the line.
  const room = COLUMNS - 2 - Math.max(...table(facts).map(width));
  const rows = facts.map((row, i) => [
    i === 0 ? "HOST" : cell(lanes[i - 1].record.destination, Math.max(8, room)),
    ...row,
  ]);
  const [head, ...lines] = table(rows, (padded, row, column) => {
    if (row === 0) return colour(padded, "bold");
    return column === 1 ? colour(padded, STATE_COLOURS[lanes[row - 1].state]) : padded;
  });
  const below = lanes.map(({ record }) => `  ${cell(record.resolved, COLUMNS - 2)}`);
  return [head, ...lines.flatMap((line, i) => [line, colour(below[i], "dim")])];
}

function factsOf({ record, ...seen }: SeenLane): string[] {
  const time = (seconds: number | undefined) => seconds === undefined ? "-" : duration(seconds);
  return [
    seen.state,
    `${record.pid}`,
    `${seen.sessions}/${record.maxSessions}`,
    ...[seen.age, seen.idle, seen.goesIn].map(time),
    seen.roundTrip === undefined ? "-" : `${Number(seen.roundTrip.toPrecision(2))} ms`,
  ];
}
