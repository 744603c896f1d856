/** How much is measured: enough for the record, or just enough to see that a case works. */
export interface Effort {
  /** Rounds of the calls that are timed one by one. In each round every way has its turn. */
  readonly rounds: number;
  /** Runs of a warm call in a round, by link. */
  readonly warmRuns: { readonly loopback: number; readonly far: number };
  /** First calls of each way, by link. */
  readonly firstCalls: { readonly loopback: number; readonly far: number };
  /** Repetitions of what is itself many calls. */
  readonly repeats: number;
  /** Numbers of idle lanes. */
  readonly lanes: readonly number[];
  /** Windows in which idle lanes are watched, and their length in s. */
  readonly windows: number;
  readonly windowSeconds: number;
  /** When the calls after a cut are made, in s after it, and how many each time. */
  readonly cutDelays: readonly number[];
  readonly cutCalls: number;
}

export const FULL: Effort = {
  rounds: 5,
  warmRuns: { loopback: 20, far: 6 },
  firstCalls: { loopback: 30, far: 12 },
  repeats: 3,
  lanes: [1, 10, 50],
  windows: 2,
  windowSeconds: 15,
  cutDelays: [1, 8, 25],
  cutCalls: 3,
};

export const QUICK: Effort = {
  rounds: 2,
  warmRuns: { loopback: 3, far: 2 },
  firstCalls: { loopback: 3, far: 2 },
  repeats: 1,
  lanes: [1, 3],
  windows: 1,
  windowSeconds: 5,
  cutDelays: [1, 20],
  cutCalls: 1,
};
