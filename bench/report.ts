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
  const rows = table.rows.map((row) => {
    const times = ratio(table, row);
    const cells = row.cells.map((cell, i) => cellText(cell, table.columns[i]));
    return [
      row.name,
      ...cells,
      times === undefined ? "" : times.toFixed(2),
      `${row.cells[0].runs}`,
    ];
  });
  const heads = table.columns.map(({ name, unit }) => unit ? `${name}, ${unit}` : name);
  return [
    ...["", `## ${table.title}`, ""],
    ...grid(["", ...heads, "ratio", "runs"], rows),
    ...(table.notes ?? []).flatMap((note) => ["", note]),
  ];
}

function cellText({ median, p10, p90 }: Summary, { unit }: Column): string {
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
