/** A call that finds nothing: no master, no sleeper, no state directory. */
import type { Effort } from "../effort.ts";
import { times } from "../hyperfine.ts";
import type { Lab } from "../lab.ts";
import { row, type Table } from "../table.ts";
import { takeTurns } from "../turns.ts";
import { EVERY_LINK, type Link, LINKS, WAYS } from "../way.ts";

export async function firstCall(lab: Lab, effort: Effort): Promise<Table[]> {
  const tables: Table[] = [];
  for (const link of EVERY_LINK) tables.push(await onLink(lab, link, effort.firstCalls[link]));
  return tables;
}

async function onLink(lab: Lab, link: Link, calls: number): Promise<Table> {
  const turns = { what: `first call, ${LINKS[link]}`, repeats: calls };
  const taken = await takeTurns(
    lab,
    turns,
    (way) => times(lab.call(way, link), { runs: 1, env: lab.env(way) }),
  );
  return {
    id: `first-call/${link}`,
    title: `First call, ${LINKS[link]}`,
    columns: [{ name: "wall time", unit: "ms" }],
    rows: Array.from(taken, ([way, times]) => row(WAYS[way], times.flat())),
    baseline: WAYS.plain,
  };
}
