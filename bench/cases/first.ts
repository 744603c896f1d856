/** A call that finds no master and no sleeper. */
import { FLAGS } from "../../lib/os/program.ts";
import { call } from "../call.ts";
import type { Effort } from "../effort.ts";
import type { Lab } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns } from "../turns.ts";

/** No call, but what deciding cannot be faster than. */
export const NO_CALL = "Deno, an empty file";

export async function first(lab: Lab, { first }: Effort): Promise<Table[]> {
  const empty = `${lab.dir}/empty.js`;
  await Deno.writeTextFile(empty, "");
  await lab.plan();
  const title = "The first call";
  const found = await takeTurns({ what: title, rounds: first }, {
    ...measuresOf(["plain", "auto", "sshs", "fresh"], async (way) => {
      await lab.cold(way);
      return await lab.time(way);
    }),
    [NO_CALL]: async () =>
      (await call([Deno.execPath(), "run", ...FLAGS, empty], lab.env("fresh"))).ms,
  });
  for (const way of ["auto", "sshs", "fresh"] as const) await lab.cold(way);
  return [tableOf({ id: "first", title, found })];
}
