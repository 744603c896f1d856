/**
 * `sshs --list [--json]`: lists what is shared. `--json` prints an array, `[]` if nothing is, of
 *
 *     {
 *       "destination": "web1",                as typed when the connection was opened
 *       "resolved": "deploy@192.0.2.1:22",    as ssh resolved it
 *       "identity": "0123456789abcdef",       equal for connections that the same call could share
 *       "lane": "7",
 *       "socket": "/run/user/1000/sshs/0123456789abcdef/7.sock",
 *       "pid": 4711,                          of the connection master, or of the call that is logging in
 *       "state": "open",                      open, full, unverified, retired or dead: seen.ts;
 *                                             "logging-in": other calls wait for it; "direct": calls are
 *                                             not shared, for a reason that was learned
 *       "sessions": 2,
 *       "maxSessions": 10,
 *       "forwards": ["-D 1080"],              what its sessions have forwarded, as ssh options
 *       "age": 930,                           seconds since the login, or since it began
 *       "idle": null,                         seconds since the last session; null: there is one
 *       "linger": 600,                        seconds it stays when idle; null: forever
 *       "goesIn": null,                       seconds until it closes; null: in use, or never
 *       "held": false,                        --hold is in effect
 *       "roundTrip": 11.3,                    ms to the server and back, as last measured; null: unknown
 *       "note": null                          why it is not shared
 *     }
 *
 * oldest first. What is unknown or does not apply is null. Keys may be added; none is removed or changes its
 * meaning.
 */
import { basename } from "@std/path/posix/basename";
import { laneAt } from "../lane/layout.ts";
import type { System } from "../os/system.ts";
import { outputColumns, print, printJson, say, Screen } from "../os/terminal.ts";
import { sleeperPid } from "../sleeper/sleeper_file.ts";
import {
  type LaneState,
  resolvedOf,
  seeAll,
  type Seen,
  type SeenDirect,
  type SeenLane,
  type SeenLogin,
  type SeeSystem,
  stateDirOf,
} from "./seen.ts";
import { cell, type Colour, colour, duration, table, width } from "./table.ts";
import { commandWords } from "./words.ts";

/** Prints what is shared. Returns the exit status. */
export async function list(json: boolean, system: SeeSystem): Promise<number> {
  const seen = await seeAll(system);
  if (json) printJson(seen.map(seenJson));
  else print(...listLines(seen, system, outputColumns()));
  return 0;
}

/** Formats what is shared as lines of at most `columns` columns. */
export function listLines(
  seen: readonly Seen[],
  system: Pick<System, "isAlive" | "now">,
  columns = Infinity,
): string[] {
  if (seen.length === 0) return [commandWords.nothingShared()];
  const lines = seenTable(seen, columns);
  const dirs = seen.flatMap((one) => one.kind === "lane" ? stateDirOf(one.lane) : []);
  return dirs.every((dir) => sleeperPid(dir, system) !== undefined)
    ? lines
    : [...lines, "", commandWords.noSleeper()];
}

/** An element of the array that `--json` prints. */
function seenJson(seen: Seen) {
  switch (seen.kind) {
    case "lane":
      return laneJson(seen);
    case "login":
      return loginJson(seen);
    case "direct":
      return directJson(seen);
    default:
      return seen satisfies never;
  }
}

/** A lane as `--json` shows it. */
export function laneJson({ lane, record, ...seen }: SeenLane) {
  const round = (seconds: number | undefined) =>
    seconds === undefined || !isFinite(seconds) ? null : Math.round(seconds);
  return {
    destination: record.destination,
    resolved: record.resolved,
    identity: basename(lane.dir),
    lane: lane.name,
    socket: lane.socket,
    pid: seen.pid ?? null,
    state: seen.state,
    sessions: seen.sessions,
    maxSessions: record.maxSessions,
    forwards: seen.forwards,
    age: round(seen.age),
    idle: round(seen.idle),
    linger: record.linger,
    goesIn: round(seen.closesIn),
    held: seen.isHeld,
    roundTrip: seen.roundTrip ?? null,
    note: null,
  };
}

function loginJson({ dir, name, pid, age }: SeenLogin) {
  return {
    ...identityJson(dir),
    lane: name,
    socket: laneAt(dir, name).socket,
    pid,
    state: "logging-in",
    age: Math.round(age),
  };
}

function directJson({ dir, reason }: SeenDirect) {
  return { ...identityJson(dir), state: "direct", note: reason };
}

function identityJson(dir: string) {
  return {
    destination: null,
    resolved: resolvedOf(dir),
    identity: basename(dir),
    lane: null,
    socket: null,
    pid: null,
    state: null,
    sessions: 0,
    maxSessions: null,
    forwards: [],
    age: null,
    idle: null,
    linger: null,
    goesIn: null,
    held: false,
    roundTrip: null,
    note: null,
  };
}

const HEAD = ["STATE", "PID", "IN USE", "AGE", "IDLE", "CLOSES IN", "PING"];

const COLOURS: Record<LaneState | "logging in" | "direct", Colour> = {
  open: "green",
  full: "yellow",
  unverified: "yellow",
  retired: "dim",
  dead: "red",
  "logging in": "yellow",
  direct: "dim",
};

/**
 * Formats a line for each, and one below it: how ssh resolved the destination and what is forwarded, or why
 * calls are not shared.
 */
function seenTable(seen: readonly Seen[], columns: number): string[] {
  const facts = [HEAD, ...seen.map(factsOf)];
  // The host's name gets the room that the other columns leave.
  const room = Math.max(8, columns - 2 - Math.max(...table(facts).map(width)));
  const rows = facts.map((row, i) => [i === 0 ? "HOST" : cell(nameOf(seen[i - 1]), room), ...row]);
  const [head, ...lines] = table(rows, (padded, row, column) => {
    if (row === 0) return colour(padded, "bold");
    const state = facts[row][0] as keyof typeof COLOURS;
    return column === 1 ? colour(padded, COLOURS[state]) : padded;
  });
  const below = seen.map(detailOf).map((text) => text && `  ${cell(text, columns - 2)}`);
  return [
    head,
    ...lines.flatMap((line, i) => below[i] ? [line, colour(below[i], "dim")] : [line]),
  ];
}

function nameOf(seen: Seen): string {
  return seen.kind === "lane" ? seen.record.destination : resolvedOf(seen.dir);
}

function detailOf(seen: Seen): string | undefined {
  if (seen.kind === "login") return undefined;
  if (seen.kind === "direct") return seen.reason;
  return [seen.record.resolved, ...seen.forwards].join(" ");
}

/** The columns after the host's name. */
function factsOf(seen: Seen): string[] {
  const time = (seconds: number | undefined) => seconds === undefined ? "-" : duration(seconds);
  if (seen.kind === "direct") return ["direct", "-", "-", "-", "-", "-", "-"];
  if (seen.kind === "login") {
    return ["logging in", `${seen.pid}`, "-", time(seen.age), "-", "-", "-"];
  }
  return [
    seen.state,
    `${seen.pid ?? "-"}`,
    `${seen.sessions}/${seen.record.maxSessions}`,
    ...[seen.age, seen.idle, seen.closesIn].map(time),
    seen.roundTrip === undefined ? "-" : `${Number(seen.roundTrip.toPrecision(2))} ms`,
  ];
}

/** The time between two updates, ms: the sleeper looks as often by default. */
const EVERY = 1000;

const CTRL_C = "\x03";

/**
 * `sshs --list --watch`: the table, kept current on a terminal until `q` or Ctrl-C. Returns the
 * exit status.
 */
export async function watchList(system: SeeSystem): Promise<number> {
  using screen = Screen.open();
  if (!screen) {
    say(commandWords.noTerminal());
    return 1;
  }
  const ended = untilQuit(screen);
  let redraw = () => {};
  screen.onResize(() => redraw());
  for (let isOver = false; !isOver;) {
    const lines = listLines(await seeAll(system), system, screen.columns);
    screen.draw([...lines, "", colour(commandWords.watchKeys(), "dim")]);
    const next = Promise.withResolvers<false>();
    redraw = () => next.resolve(false);
    const timer = setTimeout(redraw, EVERY);
    isOver = await Promise.race([ended, next.promise]);
    clearTimeout(timer);
  }
  return 0;
}

async function untilQuit(screen: Screen): Promise<true> {
  for await (const key of screen.keys()) if (["q", "Q", CTRL_C].includes(key)) break;
  return true;
}
