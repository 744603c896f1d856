/** The targets, and whether they were met. Pure. */
import { COLUMNS } from "./at_once.ts";
import { NO_CALL } from "./cases/single.ts";
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

const { plain, sshs, fresh, stuck } = WAYS;
const [WALL, CPU, LOGINS, FAILED, SAID, PROGRAMS] = COLUMNS.keys();

/** @param isBusy whether busy loops ran beside it: deciding is work, and waits for them */
function rows(isBusy: boolean): Row[] {
  return [
    ["warm call / ssh -S", 1.10, "x", times("warm", sshs)],
    ["first call / plain ssh", 1.06, "x", times("first", sshs)],
    ["first call: programs", 7, "", cell("programs", "first call")],
    ["first call: Deno starts", 0, "", cell("programs", "first call", 1)],
    ["warm call: Deno starts", 0, "", cell("programs", "warm call", 1)],
    [
      "words never seen: more than plain ssh and an empty Deno",
      30,
      "ms",
      beyond("first", fresh, plain, NO_CALL),
    ],
    ["direct by words: more than ssh", 3, "ms", beyond("direct/version", sshs, plain)],
    ["direct by plan: more than ssh", 3, "ms", beyond("direct/plan", sshs, plain)],
    ["50 first calls at once / plain", 0.35, "x", times("burst/200/50", sshs)],
    ["50, words never seen / plain", isBusy ? 1 : 0.55, "x", times("burst/200/50", fresh)],
    ["50, MaxStartups as delivered / plain", 0.40, "x", times("burst/delivered/50", sshs)],
    ...["burst/200/50", "burst/delivered/50"].flatMap((id) =>
      [sshs, fresh].flatMap((way): Row[] => {
        const startups = id.includes("200") ? "200" : "as delivered";
        const what = `50, MaxStartups ${startups}${way === fresh ? ", words never seen" : ""}`;
        return [
          [`${what}: logins`, 5, "", cell(id, way, LOGINS, "p90")],
          [`${what}: failed calls`, 0, "", cell(id, way, FAILED, "p90")],
          [`${what}: bytes on stderr`, 0, "", cell(id, way, SAID, "p90")],
        ];
      })
    ),
    ["50 over an open connection / ssh -S", 1.25, "x", times("burst/open/50", sshs)],
    ["50 that wait for a login of 5 s: CPU / plain", 0.6, "x", times("slow/50", sshs, CPU)],
    ["200 that wait for a login of 5 s: CPU / plain", 0.6, "x", times("slow/200", sshs, CPU)],
    ["50 that wait: programs per call", 8, "", cell("slow/50", sshs, PROGRAMS)],
    ["200 that wait: programs per call", 8, "", cell("slow/200", sshs, PROGRAMS)],
    ["10, a Deno that never answers: Deno starts", 1, "", cell("stuck", stuck, 2)],
    ["10, a Deno that never answers: failed calls", 0, "", cell("stuck", stuck, 1)],
    ["10, a Deno that never answers: wall time", 11_000, "ms", cell("stuck", stuck, WALL)],
    ...["idle/1", "idle/10", "open/1", "open/10"].map((id): Row => {
      const [state, cut] = id.split("/");
      const what = `${state === "idle" ? "idle" : "with an open session"}, cut ${cut} s before`;
      return [`recovery, ${what}`, 6000, "ms", cell(`recovery/${id}`, sshs, 0, "p90")];
    }),
    ["sleeper with 50 idle connections: private dirty", 20_480, "kB", cell("idle-lanes", SLEEPER)],
    ["sleeper with 50 idle connections: CPU", 3, "ms/s", cell("idle-lanes", SLEEPER, 1)],
  ];
}

/** Returns the targets with what was measured. */
export function targets(
  tables: readonly Table[],
  { busy }: { readonly busy: number },
): Target[] {
  return rows(busy > 0).map(([what, limit, unit, measure]) => {
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
function times(id: string, name: string, column = 0): Measure {
  return (tables) => {
    const row = find(tables, id, name);
    return row && ratio(tables.find((table) => table.id === id)!, row, column);
  };
}

function cell(
  id: string,
  name: string,
  column = 0,
  which: "median" | "p90" = "median",
): Measure {
  return (tables) => {
    const value = find(tables, id, name)?.cells[column][which];
    return Number.isNaN(value) ? undefined : value;
  };
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
