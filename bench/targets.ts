/** What has to be shown, and whether it was. Pure. */
import { findRow, ratio, type Table } from "./table.ts";
import { WAYS } from "./way.ts";

export interface Target {
  readonly what: string;
  /** The most that it may be. */
  readonly limit: number;
  readonly unit: string;
  /** `undefined` where the case was not run. */
  readonly measured?: number;
  /** Why a target that is missed is missed, and what was tried. */
  readonly why?: string;
}

type Measure = (tables: readonly Table[]) => number | undefined;

const TARGETS: readonly (Omit<Target, "measured"> & { readonly measure: Measure })[] = [
  {
    what: "Warm call through the launcher, loopback: times ssh -S",
    limit: 1.2,
    unit: "x",
    measure: ratioOf("warm-call/loopback", WAYS.launcher),
  },
  {
    what: "Warm call through the launcher, 50 ms link: times ssh -S",
    limit: 1.2,
    unit: "x",
    measure: ratioOf("warm-call/far", WAYS.launcher),
  },
  {
    what: "Warm call without the launcher, loopback: more than ssh -S",
    limit: 25,
    unit: "ms",
    why:
      "Deno takes most of it: see the row of the empty file, which alone is beyond the target on a " +
      "slow machine. The rest is ssh -G (a third), the modules of Deno that are loaded on first use " +
      "(processes, which bring web streams along, 12 ms; FFI, 5 ms) and our own code. V8's flags (--single-threaded, --no-opt, " +
      "--max-lazy, --no-lazy, --lite-mode) and a minified bundle made no difference that could be seen.",
    measure: (tables) => {
      const slow = cellOf("warm-call/loopback", WAYS.slow, 0)(tables);
      const mux = cellOf("warm-call/loopback", WAYS.mux, 0)(tables);
      return slow === undefined || mux === undefined ? undefined : slow - mux;
    },
  },
  {
    what: "First call, loopback: times plain ssh",
    limit: 1.2,
    unit: "x",
    why:
      "Before the login come Deno's start and ssh -G, and after it a session of its own, which plain " +
      "ssh has in the same process.",
    measure: ratioOf("first-call/loopback", WAYS.launcher),
  },
  {
    what: "First call, 50 ms link: times plain ssh",
    limit: 1.08,
    unit: "x",
    why:
      "The round trips are those of plain ssh; what is added is Deno's start and ssh -G before the " +
      "login, and ssh's own start for the session after it.",
    measure: ratioOf("first-call/far", WAYS.launcher),
  },
  {
    what: "50 simultaneous first calls, default MaxStartups: logins",
    limit: 5,
    unit: "",
    measure: cellOf("simultaneous/default", WAYS.launcher, 1, "p90"),
  },
  {
    what: "50 simultaneous first calls, default MaxStartups: failed calls",
    limit: 0,
    unit: "",
    measure: cellOf("simultaneous/default", WAYS.launcher, 2, "p90"),
  },
  {
    what: "50 simultaneous first calls, MaxStartups 200: times plain ssh",
    limit: 0.35,
    unit: "x",
    why:
      "Each call starts Deno, and an empty file takes it more processor time than ssh's own side of a " +
      "login: with two cores there is no time to be won. With more cores, a far server, or where " +
      "logins are rationed, there is. Waiting for the lock instead of looking again and again was " +
      "tried; the processor time stayed the same, and the calls look no more than eight times each.",
    measure: ratioOf("simultaneous/200", WAYS.launcher),
  },
  {
    what: "Sleeper with 1 idle lane: resident memory",
    limit: 45 * 1024,
    unit: "kB",
    measure: cellOf("sleeper/1", WAYS.launcher, 1),
  },
  {
    what: "Sleeper with 50 idle lanes: resident memory",
    limit: 45 * 1024,
    unit: "kB",
    measure: cellOf("sleeper/50", WAYS.launcher, 1),
  },
  {
    what: "Sleeper with 50 idle lanes: private dirty memory",
    limit: 16 * 1024,
    unit: "kB",
    measure: cellOf("sleeper/50", WAYS.launcher, 0),
  },
  {
    what: "Sleeper with 50 idle lanes: processor time for each second",
    limit: 2,
    unit: "ms",
    measure: cellOf("sleeper/50", WAYS.launcher, 2),
    why:
      "It is near the line, and now on one side of it, now on the other: a third more or less from run " +
      "to run. To give back memory costs a part of it.",
  },
];

/** The targets with what was measured. */
export function targets(tables: readonly Table[]): Target[] {
  return TARGETS.map(({ measure, ...target }) => ({ ...target, measured: measure(tables) }));
}

/** "met", "missed by 0.05 x" or "not run". */
export function verdict({ measured, limit, unit }: Target): string {
  if (measured === undefined) return "not run";
  if (measured <= limit) return "met";
  return `missed by ${show(measured - limit, unit)}`;
}

/** A figure of a target with its unit. */
export function show(value: number, unit: string): string {
  const digits = unit === "x" ? 2 : unit === "ms" ? 1 : 0;
  return `${value.toFixed(digits)}${unit && ` ${unit}`}`;
}

function ratioOf(id: string, name: string): Measure {
  return (tables) => {
    const table = tables.find((table) => table.id === id);
    const row = table && findRow(table, name);
    return table && row && ratio(table, row);
  };
}

function cellOf(
  id: string,
  name: string,
  column: number,
  which: "median" | "p90" = "median",
): Measure {
  return (tables) => {
    const table = tables.find((table) => table.id === id);
    return table && findRow(table, name)?.cells[column][which];
  };
}
