/** Text in columns for a terminal: how wide it is, and how it is coloured. */
import { harmless } from "../os/terminal.ts";

/** What fits everywhere. */
export const COLUMNS = 80;

const graphemes = new Intl.Segmenter();
// Unicode's East Asian Width has no property in regular expressions: these are the blocks that are wide.
const WIDE =
  /[\p{sc=Han}\p{sc=Hangul}\u3000-\u303e\u3041-\u33ff\ua000-\ua4cf\uff01-\uff60\uffe0-\uffe6\p{Emoji_Presentation}\ufe0f]/u;
const HALF = /^[\uff61-\uffdc]/u;
const NOTHING = /^[\p{M}\p{Cf}\p{Cc}]*$/u;

/** The columns that a text takes on a terminal. */
export function width(text: string): number {
  let columns = 0;
  for (const { segment } of graphemes.segment(text)) {
    if (NOTHING.test(segment)) continue;
    // A voicing mark is a column of its own here, though no grapheme.
    if (HALF.test(segment)) columns += [...segment].length;
    else columns += WIDE.test(segment) ? 2 : 1;
  }
  return columns;
}

/** The text on one line, without control characters, and cut to so many columns. */
export function cell(text: string, columns = Infinity): string {
  const line = harmless(text).replace(/[\t\n]/g, " ");
  if (width(line) <= columns) return line;
  let cut = "";
  for (const { segment } of graphemes.segment(line)) {
    if (width(cut + segment) >= columns) break;
    cut += segment;
  }
  return `${cut}…`;
}

/** Fills a text up to so many columns. */
export function pad(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - width(text)));
}

/** Lines of cells in aligned columns, two blanks apart; `paint` colours a padded cell. */
export function table(
  rows: readonly (readonly string[])[],
  paint: (padded: string, row: number, column: number) => string = (padded) => padded,
): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((text, i) => widths[i] = Math.max(widths[i] ?? 0, width(text)));
  }
  return rows.map((row, y) =>
    row.map((text, x) => paint(x === row.length - 1 ? text : pad(text, widths[x]), y, x)).join("  ")
  );
}

const COLOURS = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 } as const;
export type Colour = keyof typeof COLOURS;

/** Colours a text, but only on a terminal, and not under NO_COLOR (no-color.org: set and not empty). */
export function colour(text: string, name: Colour): string {
  // Deno.noColor also stands for NO_COLOR.
  if (Deno.noColor || !Deno.stdout.isTerminal()) return text;
  return `\x1b[${COLOURS[name]}m${text}\x1b[0m`;
}

const UNITS = [["w", 604800], ["d", 86400], ["h", 3600], ["m", 60], ["s", 1]] as const;

/** Seconds in their two largest units: `45s`, `3m`, `2h5m`, `3d`. */
export function duration(seconds: number): string {
  if (seconds === Infinity) return "never";
  let rest = Math.max(0, Math.round(seconds));
  const largest = UNITS.findIndex(([, size]) => rest >= size);
  if (largest < 0) return "0s";
  let text = "";
  for (const [unit, size] of UNITS.slice(largest, largest + 2)) {
    if (rest >= size) text += `${Math.floor(rest / size)}${unit}`;
    rest %= size;
  }
  return text;
}
