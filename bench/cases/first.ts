/** A call that finds no master and no sleeper. */
import { FLAGS } from "../../lib/os/program.ts";
import { call } from "../call.ts";
import type { Effort } from "../effort.ts";
import { type Host, HOSTS, type Lab } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns } from "../turns.ts";

/** No call, but what deciding cannot be faster than. */
export const NO_CALL = "Deno, an empty file";

export async function first(lab: Lab, effort: Effort): Promise<Table[]> {
  const tables: Table[] = [];
  for (const host of ["near", "far"] as const) {
    const rounds = host === "near" ? effort.first : Math.ceil(effort.first / 2);
    tables.push(await calls(lab, host, rounds));
  }
  return tables;
}

async function calls(lab: Lab, host: Host, rounds: number): Promise<Table> {
  const empty = `${lab.dir}/empty.js`;
  await Deno.writeTextFile(empty, "");
  await lab.plan(host);
  const title = `First call, ${HOSTS[host]}`;
  const found = await takeTurns({ what: title, rounds }, {
    ...measuresOf(["plain", "auto", "sshs", "fresh"], async (way) => {
      await lab.cold(way);
      return await lab.time(way, host);
    }),
    [NO_CALL]: async () =>
      (await call([Deno.execPath(), "run", ...FLAGS, empty], lab.env("fresh"))).ms,
  });
  for (const way of ["auto", "sshs", "fresh"] as const) await lab.cold(way);
  return tableOf({ id: `first/${host}`, title, found });
}
