/** What a case has measured: the form that the report, the chart and the targets read. Pure. */
import type { Found } from "./turns.ts";

export interface Table {
  /** `case` or `case/variant`, as in `slow/50`. */
  readonly id: string;
  readonly title: string;
  readonly columns: readonly Column[];
  /** Ratios compare with the first row. */
  readonly rows: readonly Row[];
  readonly notes?: readonly string[];
}

export interface Column {
  readonly name: string;
  /** Empty for a count. */
  readonly unit: string;
  /** Whether the report has ratios for it, as for the first column. */
  readonly isCompared?: boolean;
}

export interface Row {
  readonly name: string;
  /** One for each column. */
  readonly cells: readonly Summary[];
}

/** The one column of most tables. */
const WALL_TIME: readonly Column[] = [{ name: "wall time", unit: "ms" }];

/** Makes a table of what was found. */
export function tableOf(
  { found, columns = WALL_TIME, ...about }: Omit<Table, "rows" | "columns"> & {
    readonly found: Found;
    readonly columns?: readonly Column[];
  },
): Table {
  const rows = Object.entries(found).map(([name, taken]) => ({
    name,
    cells: columns.map((_, i) =>
      summarize(taken.map((values) => values[i]).filter((value) => !Number.isNaN(value)))
    ),
  }));
  return { ...about, columns, rows };
}

/** Returns the row's median as a multiple of the first row's; `undefined` if that is 0. */
export function ratio({ rows }: Table, row: Row, column = 0): number | undefined {
  const base = rows[0].cells[column].median;
  return base ? row.cells[column].median / base : undefined;
}

/**
 * A summary of many runs, NaN of none. The spread is p10 to p90: one run in ten is better, one in ten
 * worse.
 */
export interface Summary {
  readonly runs: number;
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
}

function summarize(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  return {
    runs: sorted.length,
    median: quantile(sorted, 0.5),
    p10: quantile(sorted, 0.1),
    p90: quantile(sorted, 0.9),
  };
}

/** Interpolates linearly between two values, as R and numpy do by default. */
function quantile(sorted: readonly number[], share: number): number {
  const place = (sorted.length - 1) * share;
  const [below, above] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return below + (above - below) * (place % 1);
}
