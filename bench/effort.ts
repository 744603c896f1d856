/** How much is measured: enough for the record, or just enough to see that a case works. */
export interface Effort {
  /** Rounds of single calls, by case. */
  readonly warm: number;
  readonly first: number;
  /** How many calls come at once, and how often. The targets are for 50. */
  readonly bursts: readonly Burst[];
  /** How many idle lanes; when they are at rest, in s; how long they are watched, in s. */
  readonly lanes: number;
  readonly restSeconds: number;
  readonly windowSeconds: number;
  /** When calls are made after a cut, in s; how many each time, and how long each may take, in s. */
  readonly cuts: readonly number[];
  readonly cutCalls: number;
  readonly cutDeadline: number;
}

export interface Burst {
  readonly calls: number;
  readonly rounds: number;
}

export const FULL: Effort = {
  warm: 30,
  first: 20,
  bursts: [{ calls: 20, rounds: 2 }, { calls: 50, rounds: 2 }, { calls: 200, rounds: 1 }],
  lanes: 50,
  // The sleeper frees memory 10 s after lanes have come.
  restSeconds: 15,
  windowSeconds: 20,
  cuts: [1, 10],
  cutCalls: 3,
  cutDeadline: 12,
};

export const QUICK: Effort = {
  warm: 4,
  first: 2,
  bursts: [{ calls: 12, rounds: 1 }],
  lanes: 2,
  restSeconds: 1,
  windowSeconds: 3,
  cuts: [1],
  cutCalls: 1,
  cutDeadline: 8,
};
