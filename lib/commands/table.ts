/** Text in columns for a terminal: widths, cutting and colours. */
import stringWidth from "string-width";
import { harmless, hasColours } from "../os/terminal.ts";

/** Returns the text on one line, with control characters made visible, cut to `columns` columns. */
export function cell(text: string, columns = Infinity): string {
  const line = harmless(text).replace(/[\t\n]/g, " ");
  if (stringWidth(line) <= columns) return line;
  const parts = Array.from(new Intl.Segmenter().segment(line), ({ segment }) => segment);
  while (stringWidth(parts.join("")) >= columns) parts.pop();
  return `${parts.join("")}…`;
}

/**
 * Aligns rows of cells in columns, two blanks apart. The first column gets the room that the others leave
 * of `columns`, but at least 8. `paint` colours a padded cell.
 */
export function table(
  rows: readonly (readonly string[])[],
  paint: (padded: string, row: number, column: number) => string,
  columns = Infinity,
): string[] {
  const shown = rows.map((row) => row.map((text) => cell(text)));
  const widthOf = (x: number) => Math.max(...shown.map((row) => stringWidth(row[x])));
  const others = shown[0].slice(1).reduce((sum, _, i) => sum + 2 + widthOf(i + 1), 0);
  for (const row of shown) row[0] = cell(row[0], Math.max(8, columns - others));
  const widths = shown[0].map((_, x) => widthOf(x));
  return shown.map((row, y) =>
    row.map((text, x) => {
      const blanks = x === row.length - 1 ? 0 : widths[x] - stringWidth(text);
      return paint(text + " ".repeat(blanks), y, x);
    }).join("  ")
  );
}

const COLOURS = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 } as const;
export type Colour = keyof typeof COLOURS;

/** Colours a text if colours are visible and wanted. */
export function colour(text: string, name: Colour): string {
  return hasColours() ? `\x1b[${COLOURS[name]}m${text}\x1b[0m` : text;
}
