/**
 * `sshs --list [--json]`: lists what is shared, oldest first. `--json` prints an array; sshs.1 describes its
 * keys. Keys may be added; none is removed or changes its meaning. What is unknown or does not apply is null.
 */
import { dirname } from "@std/path/posix/dirname";
import type { Given } from "../os/given.ts";
import { pause, type System } from "../os/system.ts";
import { print, printJson, say, terminalSize } from "../os/terminal.ts";
import { sleeperPid } from "../sleeper/sleeper_file.ts";
import { duration, NOTHING_SHARED } from "./phrases.ts";
import { seeAll, type Seen, type SeeSystem, type State } from "./seen.ts";
import { cell, type Colour, colour, table, width } from "./table.ts";

/** Prints what is shared. Returns the exit status. */
export async function list(json: boolean, given: Given, system: SeeSystem): Promise<number> {
  const seen = await seeAll(given, system);
  if (json) printJson(seen);
  else print(...listLines(seen, system, terminalSize()?.columns));
  return 0;
}

/** The time between two updates, ms: the sleeper looks as often by default. */
const EVERY = 1000;

/** Home, each line up to its end, and what is below them: nothing flickers, as after clearing it all. */
const [HOME, CLEAR_LINE, CLEAR_BELOW] = ["\x1b[H", "\x1b[K\n", "\x1b[J"];

/** `sshs --list --watch`: prints the table at the top of the terminal again and again, until Ctrl-C. */
export async function watchList(given: Given, system: SeeSystem): Promise<number> {
  for (let size = terminalSize(); size; size = terminalSize()) {
    const lines = listLines(await seeAll(given, system), system, size.columns);
    const shown = [...lines, "", colour("Ctrl-C to quit", "dim")].slice(0, size.rows - 1);
    print([HOME, ...shown.map((line) => line + CLEAR_LINE), CLEAR_BELOW].join(""));
    await pause(EVERY);
  }
  say({ fault: "--watch needs a terminal", hint: "sshs --list --json" });
  return 1;
}

/** Formats what is shared as lines of at most `columns` columns. */
export function listLines(
  seen: readonly Seen[],
  system: Pick<System, "isAlive" | "now">,
  columns = Infinity,
): string[] {
  if (seen.length === 0) return [NOTHING_SHARED];
  const lines = seenTable(seen, columns);
  const lanes = seen.filter(({ destination }) => destination !== null);
  const dirs = lanes.map(({ socket }) => dirname(dirname(socket ?? "")));
  if (dirs.every((dir) => sleeperPid(dir, system) !== undefined)) return lines;
  return [
    ...lines,
    "",
    "the background process (sleeper) is not running; idle connections close soon; any call starts it",
  ];
}

const HEAD = ["STATE", "PID", "IN USE", "AGE", "IDLE", "CLOSES IN", "PING"];

const COLOURS: Record<State, Colour> = {
  open: "green",
  full: "yellow",
  unverified: "yellow",
  retired: "dim",
  dead: "red",
  "logging-in": "yellow",
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
    return column === 1 ? colour(padded, COLOURS[seen[row - 1].state]) : padded;
  });
  const below = seen.map(detailOf).map((text) => text && `  ${cell(text, columns - 2)}`);
  return [
    head,
    ...lines.flatMap((line, i) => below[i] ? [line, colour(below[i], "dim")] : [line]),
  ];
}

function nameOf({ destination, resolved }: Seen): string {
  return destination ?? resolved;
}

function detailOf({ destination, resolved, forwards, maxAge, note }: Seen): string | null {
  if (destination === null) return note;
  return [resolved, ...forwards, ...maxAge ? [`(at most ${duration(maxAge)} old)`] : []].join(" ");
}

/** The columns after the host's name. */
function factsOf(seen: Seen): string[] {
  const time = (seconds: number | null) => seconds === null ? "-" : duration(seconds);
  const { state, maxSessions, roundTrip, idle, goesIn } = seen;
  const isOpen = state === "open" || state === "unverified";
  return [
    state.replace("-", " "),
    `${seen.pid ?? "-"}`,
    maxSessions === null ? "-" : `${seen.sessions}/${maxSessions}`,
    time(seen.age),
    time(idle),
    time(isOpen && idle !== null ? goesIn ?? Infinity : null),
    roundTrip === null ? "-" : `${Number(roundTrip.toPrecision(2))} ms`,
  ];
}
