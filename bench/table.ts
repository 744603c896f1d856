/** What a case has measured: the form that the report, the chart and the targets read. */
import { summarize, type Summary } from "./stats.ts";

export interface Table {
  /** `case` or `case/variant`, as in `warm-call/loopback`. */
  readonly id: string;
  readonly title: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
  /** The row that the ratios of the first column are to. */
  readonly baseline: string;
  readonly notes?: readonly string[];
}

export interface Column {
  readonly name: string;
  readonly unit: string;
}

export interface Row {
  readonly name: string;
  /** One for each column. */
  readonly cells: readonly Summary[];
}

/** A row from the values of each column. */
export function row(name: string, ...columns: readonly (readonly number[])[]): Row {
  return { name, cells: columns.map(summarize) };
}

export function findRow(table: Table, name: string): Row | undefined {
  return table.rows.find((row) => row.name === name);
}

/** How many times the baseline's median the first column is; `undefined` where there is none. */
export function ratio(table: Table, row: Row): number | undefined {
  const base = findRow(table, table.baseline)?.cells[0].median;
  return base ? row.cells[0].median / base : undefined;
}
