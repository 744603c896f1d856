/** Medians with their spread. Pure. */

/** What many runs come to. The spread is p10 to p90: what one run in ten is better or worse than. */
export interface Summary {
  readonly runs: number;
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
}

/** @throws {Error} for no values at all */
export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new Error("Cannot summarize no values");
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
