/** A call that finds nothing: no master, no sleeper, no state directory. */
import type { Effort } from "../effort.ts";
import { times } from "../hyperfine.ts";
import type { Lab } from "../lab.ts";
import { progress } from "../progress.ts";
import { row, type Table } from "../table.ts";
import { EVERY_LINK, type Link, LINKS, WAYS } from "../way.ts";

export async function firstCall(lab: Lab, effort: Effort): Promise<Table[]> {
  const tables: Table[] = [];
  for (const link of EVERY_LINK) tables.push(await onLink(lab, link, effort.firstCalls[link]));
  return tables;
}

async function onLink(lab: Lab, link: Link, calls: number): Promise<Table> {
  const ways = ["plain", "launcher", "auto"] as const;
  const taken = { plain: [] as number[], launcher: [] as number[], auto: [] as number[] };
  for (let call = 1; call <= calls; call++) {
    progress(`first call, ${LINKS[link]}: ${call} of ${calls}`);
    for (const way of ways) {
      if (way !== "plain") await lab.cold(way);
      taken[way].push(...await times(lab.call(way, link), { runs: 1, env: lab.env(way) }));
    }
  }
  for (const way of ["launcher", "auto"] as const) await lab.cold(way);
  return {
    id: `first-call/${link}`,
    title: `First call, ${LINKS[link]}`,
    columns: [{ name: "wall time", unit: "ms" }],
    rows: ways.map((way) => row(WAYS[way], taken[way])),
    baseline: WAYS.plain,
  };
}
