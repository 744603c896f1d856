/** Ten calls at once of words never seen, where Deno never answers. */
import { Lab, WAYS } from "../lab.ts";
import { atOnce } from "../at_once.ts";
import { writeLaunchers } from "../../tests/support/launchers.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns } from "../turns.ts";

const CALLS = 10;

export async function stuck(): Promise<Table[]> {
  await using lab = await Lab.open(["MaxStartups 200"]);
  const [deno, log] = [`${lab.dir}/stuck-deno`, `${lab.dir}/stuck-starts`];
  await Deno.writeTextFile(deno, `#!/bin/sh\necho $$ >>'${log}'\nexec sleep 30\n`, { mode: 0o755 });
  writeLaunchers(`${lab.dir}/stuck`, { deno });
  const title = `${CALLS} first calls at once, and a Deno that never answers`;
  const found = await takeTurns(
    { what: title, rounds: 1 },
    measuresOf(["plain", "stuck"], async (way) => {
      await Deno.writeTextFile(log, "");
      const options = { calls: CALLS, trace: false, said: new Set<string>() };
      const [ms, , , failed] = await atOnce(lab, way, { ...options, prepare: () => lab.cold(way) });
      const starts = (await Deno.readTextFile(log)).split("\n").length - 1;
      return [ms, failed, starts];
    }),
  );
  return [tableOf({
    id: "stuck",
    title,
    columns: [
      { name: "wall time", unit: "ms" },
      { name: "failed calls", unit: "" },
      { name: "Deno starts", unit: "" },
    ],
    found,
    notes: [`${WAYS.stuck}: the launchers have a program that sleeps for 30 s as their Deno.`],
  })];
}
