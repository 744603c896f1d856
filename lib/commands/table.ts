/** Text in columns for a terminal: widths, cutting and colours. */
import stringWidth from "string-width";
import { harmless, hasColours } from "../os/terminal.ts";

const graphemes = new Intl.Segmenter();

/** Returns how many columns a text takes on a terminal. */
export const width: (text: string) => number = stringWidth;

/** Returns the text on one line, with control characters made visible, cut to `columns` columns. */
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

/** Whether {@linkcode cell} shows `text` as `shown`, whole or cut. */
export function isShownAs(text: string, shown: string): boolean {
  const whole = cell(text);
  return whole === shown ||
    (shown.length > 1 && shown.endsWith("…") && whole.startsWith(shown.slice(0, -1)));
}

/** Pads a text to `columns` columns. */
function pad(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - width(text)));
}

/** Aligns rows of cells in columns, two blanks apart. `paint` colours a padded cell. */
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

/** Colours a text if colours are visible and wanted. */
export function colour(text: string, name: Colour): string {
  return hasColours() ? `\x1b[${COLOURS[name]}m${text}\x1b[0m` : text;
}
