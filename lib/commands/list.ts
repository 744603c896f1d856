/**
 * `sshs --list [--json]`: lists what is shared, oldest first. `--json` prints an array; sshs.1 describes its
 * keys. Keys may be added; none is removed or changes its meaning. What is unknown or does not apply is null.
 */
import { pause } from "../os/system.ts";
import { Complaint, print, printJson, terminalSize } from "../os/terminal.ts";
import { type Here, type Words, WrongUse } from "./command.ts";
import { duration, NOTHING_SHARED } from "./phrases.ts";
import { seeAll, type Seen, type State } from "./seen.ts";
import { cell, type Colour, colour, table } from "./table.ts";

/** Prints what is shared; with --watch again and again, until Ctrl-C. */
export async function list({ options }: Words, here: Here): Promise<void> {
  if (!("watch" in options)) {
    const seen = await seeAll(here);
    if ("json" in options) printJson(seen);
    else print(...listLines(seen, terminalSize()?.columns));
  } else if ("json" in options) {
    throw new WrongUse("--list takes --watch or --json, not both");
  } else await watchList(here);
}

/** The time between two updates, ms: the sleeper looks as often by default. */
const EVERY = 1000;

/** Home, each line up to its end, and what is below them: nothing flickers, as after clearing it all. */
const [HOME, CLEAR_LINE, CLEAR_BELOW] = ["\x1b[H", "\x1b[K\n", "\x1b[J"];

async function watchList(here: Here): Promise<never> {
  for (let size = terminalSize(); size; size = terminalSize()) {
    const lines = listLines(await seeAll(here), size.columns);
    const shown = [...lines, "", colour("Ctrl-C to quit", "dim")].slice(0, size.rows - 1);
    print([HOME, ...shown.map((line) => line + CLEAR_LINE), CLEAR_BELOW].join(""));
    await pause(EVERY);
  }
  throw new Complaint("--watch needs a terminal", "sshs --list --json");
}

const isIdle = ({ idle, state }: Seen) => idle !== null && /^(open|unverified)$/.test(state);
const time = (seconds: number | null) => seconds === null ? null : duration(seconds);

/** The columns of the list, and the text of each; null: it does not apply. */
const COLUMNS:
  readonly (readonly [head: string, text: (seen: Seen) => string | 0 | false | null])[] = [
    ["HOST", ({ destination, resolved }) => destination ?? resolved],
    ["STATE", ({ state }) => state.replace("-", " ")],
    ["PID", ({ pid }) => pid && `${pid}`],
    ["IN USE", ({ sessions, maxSessions }) => maxSessions && `${sessions}/${maxSessions}`],
    ["AGE", ({ age }) => time(age)],
    ["IDLE", ({ idle }) => time(idle)],
    ["CLOSES IN", (seen) => isIdle(seen) && duration(seen.goesIn ?? Infinity)],
    ["PING", ({ roundTrip }) => roundTrip && `${Number(roundTrip.toPrecision(2))} ms`],
  ];

/** Other states are yellow. */
const COLOURS: Partial<Record<State, Colour>> = {
  open: "green",
  retired: "dim",
  direct: "dim",
  dead: "red",
};

/** Formats what is shared as lines of at most `columns` columns, two for each. */
export function listLines(seen: readonly Seen[], columns = Infinity): string[] {
  if (seen.length === 0) return [NOTHING_SHARED];
  const rows = seen.map((one) => COLUMNS.map(([, text]) => text(one) || "-"));
  const paint = (padded: string, row: number, column: number) => {
    if (row === 0) return colour(padded, "bold");
    return column === 1 ? colour(padded, COLOURS[seen[row - 1].state] ?? "yellow") : padded;
  };
  const [head, ...lines] = table([COLUMNS.map(([head]) => head), ...rows], paint, columns);
  const below = seen.map(detailOf).map((text) => text && `  ${cell(text, columns - 2)}`);
  return [head, ...lines.flatMap((line, i) => below[i] ? [line, colour(below[i], "dim")] : [line])];
}

/** How ssh resolved the destination and what is forwarded, or why calls are not shared. */
function detailOf({ destination, resolved, forwards, maxAge, note }: Seen): string | null {
  if (destination === null) return note;
  return [resolved, ...forwards, ...maxAge ? [`(at most ${duration(maxAge)} old)`] : []].join(" ");
}
