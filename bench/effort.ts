/** How much is measured: enough for the record, or just enough to see that a case works. */
export interface Effort {
  /** Rounds of warm calls, by pace, and on the far link. */
  readonly warm: { readonly steady: number; readonly rapid: number; readonly far: number };
  /** Rounds of first calls on loopback; half as many where a call takes longer. */
  readonly first: number;
  readonly direct: number;
  /** How many calls come at once, and how often. */
  readonly bursts: readonly { readonly calls: number; readonly rounds: number }[];
  /** Rounds of cases that make many calls each. */
  readonly repeats: number;
  /** Numbers of idle lanes; when they are at rest, in s; how often and how long they are watched, in s. */
  readonly lanes: readonly number[];
  readonly restSeconds: number;
  readonly windows: number;
  readonly windowSeconds: number;
  /** When calls are made after a cut, in s; how many each time, and how long each may take, in s. */
  readonly cuts: readonly number[];
  readonly cutCalls: number;
  readonly cutDeadline: number;
}

export const FULL: Effort = {
  warm: { steady: 30, rapid: 6, far: 15 },
  first: 24,
  direct: 30,
  bursts: [{ calls: 50, rounds: 3 }, { calls: 200, rounds: 1 }],
  repeats: 3,
  lanes: [1, 50],
  // The sleeper frees memory 10 s after lanes have come.
  restSeconds: 15,
  windows: 2,
  windowSeconds: 20,
  cuts: [0.1, 1, 5, 15, 25],
  cutCalls: 3,
  cutDeadline: 30,
};

export const QUICK: Effort = {
  warm: { steady: 3, rapid: 1, far: 2 },
  first: 2,
  direct: 3,
  bursts: [{ calls: 12, rounds: 1 }],
  repeats: 1,
  lanes: [2],
  restSeconds: 1,
  windows: 1,
  windowSeconds: 3,
  cuts: [1],
  cutCalls: 1,
  cutDeadline: 8,
};
