/** Measures that take turns, so that other load on the machine affects all of them alike. */
import { pause } from "../tests/support/eventually.ts";
import { type Way, WAYS } from "./lab.ts";

/** What each measure found, by its name: a row of values for each run. */
export type Found = Readonly<Record<string, readonly (readonly number[])[]>>;

export interface Turns {
  readonly what: string;
  readonly rounds: number;
  /** Calls that follow one another within a turn; 1 by default. */
  readonly runs?: number;
  /** From the start of one run to that of the next, in ms; by default they follow at once. */
  readonly pace?: number;
}

/** Takes each measure in turn, round by round. A measure gives one value, or one for each column. */
export async function takeTurns(
  { what, rounds, runs = 1, pace = 0 }: Turns,
  measures: Readonly<Record<string, () => Promise<number | readonly number[]>>>,
): Promise<Found> {
  const found = Object.fromEntries(Object.keys(measures).map((name) => [name, [] as number[][]]));
  for (let round = 1; round <= rounds; round++) {
    progress(`${what}: ${round} of ${rounds}`);
    for (const [name, measure] of Object.entries(measures)) {
      for (let run = 0; run < runs; run++) {
        const next = pause(pace);
        found[name].push([await measure()].flat());
        await next;
      }
    }
  }
  return found;
}

/** Returns the measures of some ways, by their names in the report. */
export function measuresOf<W extends Way, T>(
  ways: readonly W[],
  measure: (way: W) => Promise<T>,
): Record<string, () => Promise<T>> {
  return Object.fromEntries(ways.map((way) => [WAYS[way], () => measure(way)]));
}

/** Prints a progress line on stderr, with the minutes and seconds since the start. */
export function progress(text: string): void {
  const seconds = Math.round(performance.now() / 1000);
  const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  console.error(`[${clock}] ${text}`);
}
