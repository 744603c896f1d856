/** What a case has measured: the form that the report, the chart and the targets read. Pure. */
import type { Found } from "./turns.ts";

export interface Table {
  /** `case` or `case/variant`, as in `warm/near`. */
  readonly id: string;
  readonly title: string;
  readonly columns: readonly Column[];
  /** The ratios of the first column are to the first row. */
  readonly rows: readonly Row[];
  readonly notes?: readonly string[];
}

export interface Column {
  readonly name: string;
  /** Empty for what is counted. */
  readonly unit: string;
}

export interface Row {
  readonly name: string;
  /** One for each column. */
  readonly cells: readonly Summary[];
}

/** The one column of most tables. */
const WALL_TIME: readonly Column[] = [{ name: "wall time", unit: "ms" }];

/** A table of what was found. */
export function tableOf(
  { found, columns = WALL_TIME, ...about }: Omit<Table, "rows" | "columns"> & {
    readonly found: Found;
    readonly columns?: readonly Column[];
  },
): Table {
  const rows = Object.entries(found).map(([name, taken]) => ({
    name,
    cells: columns.map((_, i) => summarize(taken.map((values) => values[i]))),
  }));
  return { ...about, columns, rows };
}

/** How many times the first row's median the first column is; `undefined` where that is 0. */
export function ratio({ rows }: Table, row: Row): number | undefined {
  const base = rows[0].cells[0].median;
  return base ? row.cells[0].median / base : undefined;
}

/** What many runs come to. The spread is p10 to p90: what one run in ten is better or worse than. */
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

/** Between two values the straight line, as R's and numpy's default. */
function quantile(sorted: readonly number[], share: number): number {
  const place = (sorted.length - 1) * share;
  const [below, above] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return below + (above - below) * (place % 1);
}
