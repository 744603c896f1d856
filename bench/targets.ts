/** The targets, and whether they were met. Pure. */
import { NO_CALL } from "./cases/first.ts";
import { SLEEPER } from "./cases/idle_lanes.ts";
import { WAYS } from "./lab.ts";
import { ratio, type Table } from "./table.ts";

export interface Target {
  readonly what: string;
  /** The highest value that meets the target. */
  readonly limit: number;
  readonly unit: string;
  /** `undefined` where the case was not run. */
  readonly measured?: number;
}

/** Finds the figure in the tables; `undefined` where one is missing. */
type Measure = (tables: readonly Table[]) => number | undefined;

type Row = readonly [what: string, limit: number, unit: string, measure: Measure];

const { plain, sshs, fresh } = WAYS;

const TARGETS: readonly Row[] = [
  ["warm call / ssh -S, once a second", 1.10, "x", times("warm/steady", sshs)],
  ["warm call / ssh -S, back to back", 1.10, "x", times("warm/rapid", sshs)],
  ["warm call / ssh -S, 50 ms link", 1.10, "x", times("warm/far", sshs)],
  ["first call / plain ssh", 1.08, "x", times("first/near", sshs)],
  ["first call / plain ssh, 50 ms link", 1.04, "x", times("first/far", sshs)],
  ["Deno starts of a first call", 0, "", cell("starts", "first call")],
  ["Deno starts of a warm call", 0, "", cell("starts", "warm call")],
  [
    "words never seen: more than plain ssh and an empty Deno",
    30,
    "ms",
    beyond("first/near", fresh, plain, NO_CALL),
  ],
  ["direct by words: more than ssh", 3, "ms", beyond("direct/version", sshs, plain)],
  ["direct by plan: more than ssh", 3, "ms", beyond("direct/plan", sshs, plain)],
  ["50 first calls at once / 50 plain", 0.30, "x", times("simultaneous/some/200", sshs)],
  ["the same, words never seen", 0.45, "x", times("simultaneous/some/200", fresh)],
  ...(["200", "delivered"] as const).flatMap((startups) =>
    ([[sshs, ""], [fresh, ", words never seen"]] as const).flatMap(([way, words]): Row[] => {
      const id = `simultaneous/some/${startups}`;
      const what = `50 at once, MaxStartups ${startups}${words}`;
      return [
        [`${what}: logins`, 5, "", cell(id, way, 1, "p90")],
        [`${what}: failed calls`, 0, "", cell(id, way, 2, "p90")],
        [`${what}: bytes on stderr`, 0, "", cell(id, way, 3, "p90")],
      ];
    })
  ),
  ...(["idle", "open"] as const).flatMap((state) =>
    [0.1, 1, 5, 15, 25].map((cut): Row => {
      const what = state === "idle" ? "idle" : "with an open session";
      return [
        `recovery, ${what}, cut ${cut} s before`,
        6000,
        "ms",
        cell(`recovery/${state}/${cut}`, sshs, 0, "p90"),
      ];
    })
  ),
  ["sleeper with 1 idle lane: private dirty", 20_480, "kB", cell("idle-lanes/1", SLEEPER)],
  ["sleeper with 50 idle lanes: private dirty", 20_480, "kB", cell("idle-lanes/50", SLEEPER)],
  ["sleeper with 50 idle lanes: CPU", 3, "ms/s", cell("idle-lanes/50", SLEEPER, 2)],
];

/** Returns the targets with what was measured. */
export function targets(tables: readonly Table[]): Target[] {
  return TARGETS.map(([what, limit, unit, measure]) => {
    return { what, limit, unit, measured: measure(tables) };
  });
}

/** Returns "met", "missed" or "not run". */
export function verdict({ measured, limit }: Target): string {
  return measured === undefined ? "not run" : measured <= limit ? "met" : "**missed**";
}

function find(tables: readonly Table[], id: string, name: string) {
  return tables.find((table) => table.id === id)?.rows.find((row) => row.name === name);
}

/** Measures a row as a multiple of the first row of its table. */
function times(id: string, name: string): Measure {
  return (tables) => {
    const row = find(tables, id, name);
    return row && ratio(tables.find((table) => table.id === id)!, row);
  };
}

function cell(
  id: string,
  name: string,
  column = 0,
  which: "median" | "p90" = "median",
): Measure {
  return (tables) => find(tables, id, name)?.cells[column][which];
}

/** Measures how much more a row is than other rows together. */
function beyond(id: string, name: string, ...others: readonly string[]): Measure {
  return (tables) => {
    const [more, ...rest] = [name, ...others].map((row) => find(tables, id, row)?.cells[0].median);
    return rest.reduce(
      (left, other) => left === undefined || other === undefined ? undefined : left - other,
      more,
    );
  };
}
