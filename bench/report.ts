/** The results as a value for JSON and as Markdown. Pure. */
import type { Machine } from "./machine.ts";
import { type Column, ratio, type Summary, type Table } from "./table.ts";
import { type Target, verdict } from "./targets.ts";

/** A whole run: what results.json contains. */
export interface Results {
  readonly machine: Machine;
  readonly targets: readonly Target[];
  readonly tables: readonly Table[];
  /** What could not be run, and why. */
  readonly skipped: readonly Skipped[];
}

export interface Skipped {
  readonly case: string;
  readonly reason: string;
}

export function markdown({ machine, targets, tables, skipped }: Results): string {
  return [
    "# Benchmarks",
    "",
    "Written by `deno task bench`. Every figure is the median of its runs; in brackets what one run in",
    "ten is better and worse than (p10-p90). All ways of a table were measured in turns, in one run; a ratio",
    "is to its first row.",
    "",
    ...grid(["", ""], Object.entries(machine)),
    "",
    "## Targets",
    "",
    ...grid(["target", "at most", "measured", ""], targets.map(targetCells)),
    ...skipped.length === 0 ? [] : ["", "## Not run", ""],
    ...skipped.map((skipped) => `- ${skipped.case}: ${skipped.reason}`),
    ...tables.flatMap(section),
    "",
  ].join("\n");
}

function targetCells(target: Target): string[] {
  const { what, limit, unit, measured } = target;
  const show = (value: number) => `${number(value, unit)} ${unit}`.trim();
  return [what, show(limit), measured === undefined ? "" : show(measured), verdict(target)];
}

function section(table: Table): string[] {
  const isCompared = (i: number) =>
    i === 0 ? table.columns[0].unit !== "" : table.columns[i].isCompared;
  const rows = table.rows.map((row) => [
    row.name,
    ...row.cells.flatMap((cell, i) => {
      const text = cellText(cell, table.columns[i]);
      return isCompared(i) ? [text, ratio(table, row, i)?.toFixed(2) ?? ""] : [text];
    }),
    `${row.cells[0].runs}`,
  ]);
  const heads = table.columns.flatMap(({ name, unit }, i) => {
    const head = unit ? `${name}, ${unit}` : name;
    return isCompared(i) ? [head, "ratio"] : [head];
  });
  return [
    ...["", `## ${table.title}`, ""],
    ...grid(["", ...heads, "runs"], rows),
    ...(table.notes ?? []).flatMap((note) => ["", note]),
  ];
}

function cellText({ runs, median, p10, p90 }: Summary, { unit }: Column): string {
  if (runs === 0) return "-";
  if (p10 === p90) return number(median, unit);
  return `${number(median, unit)} (${number(p10, unit)}-${number(p90, unit)})`;
}

/** Formats a value with three significant digits, and a whole count (no unit) without decimals. */
export function number(value: number, unit: string): string {
  if (unit === "") return value.toFixed(Number.isInteger(value) ? 0 : 1);
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** Formats a table; the first column is aligned left, the rest right. */
function grid(heads: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(heads), line(heads.map((_, i) => i === 0 ? ":--" : "--:")), ...rows.map(line)];
}
