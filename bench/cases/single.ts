/** One call at a time: over a connection, without one, and not shared. */
import { FLAGS } from "../../lib/os/program.ts";
import { call } from "../call.ts";
import type { Effort } from "../effort.ts";
import type { Lab, Way } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns } from "../turns.ts";

const OVER: readonly Way[] = ["mux", "script", "sshs", "auto", "plain"];
const FIRST: readonly Way[] = ["plain", "auto", "sshs", "fresh"];

/** No call, but what deciding cannot be faster than. */
export const NO_CALL = "Deno, an empty file";

/** What sharing costs beside the round trips. */
export async function warm(lab: Lab, { warm }: Effort): Promise<Table[]> {
  const title = "The second call";
  for (const way of OVER) await lab.warm(way);
  const logins = lab.sshd.logins();
  const measures = measuresOf(OVER, (way) => lab.time(way));
  const found = await takeTurns({ what: title, rounds: warm }, measures);
  const extra = lab.sshd.logins() - logins - warm;
  for (const way of OVER) await lab.cold(way);
  const notes = extra === 0 ? [] : [`${extra} calls of ways that share logged in.`];
  return [tableOf({ id: "warm", title, found, notes })];
}

/** There is no master and no sleeper. */
export async function first(lab: Lab, { first }: Effort): Promise<Table[]> {
  const empty = `${lab.dir}/empty.js`;
  await Deno.writeTextFile(empty, "");
  await lab.plan();
  const title = "The first call";
  const found = await takeTurns({ what: title, rounds: first }, {
    ...measuresOf(FIRST, async (way) => {
      await lab.cold(way);
      return await lab.time(way);
    }),
    [NO_CALL]: async () =>
      (await call([Deno.execPath(), "run", ...FLAGS, empty], lab.env("fresh"))).ms,
  });
  for (const way of FIRST) await lab.cold(way);
  return [tableOf({ id: "first", title, found })];
}

/** By its words, and by its configuration, where the port is closed. */
export async function direct(lab: Lab, { first }: Effort): Promise<Table[]> {
  await lab.plan("direct");
  const tables: Table[] = [];
  for (const [id, word] of [["version", "-V"], ["plan", "host"]]) {
    const title = `Not shared: ssh ${word}${word === "host" ? ", connection refused" : ""}`;
    const measures = measuresOf(
      ["plain", "sshs"],
      async (way) => (await call([...lab.rsh(way, "direct"), word], lab.env(way))).ms,
    );
    const found = await takeTurns({ what: title, rounds: first }, measures);
    tables.push(tableOf({ id: `direct/${id}`, title, found }));
  }
  return tables;
}
