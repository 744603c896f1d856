/** Calls at the same moment to a host that there is no connection to yet, and to one that there is. */
import { atOnce, COLUMNS } from "../at_once.ts";
import type { Burst, Effort } from "../effort.ts";
import { Lab, type Way } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns } from "../turns.ts";

const FIRST: readonly Way[] = ["plain", "auto", "sshs", "fresh"];
const OVER: readonly Way[] = ["mux", "sshs"];

export async function burst(_: Lab, { bursts }: Effort): Promise<Table[]> {
  // sshd_config's default is 10:30:100: of more than 10 that are logging in it drops some.
  const delivered = bursts.filter(({ calls }) => calls <= 50).slice(-1);
  return [
    ...await onServer("200", ["MaxStartups 200"], bursts),
    ...await onServer("delivered", [], delivered),
  ];
}

async function onServer(
  startups: string,
  config: readonly string[],
  bursts: readonly Burst[],
): Promise<Table[]> {
  await using lab = await Lab.open(config);
  await lab.plan();
  const tables: Table[] = [];
  for (const burst of bursts) {
    const title = `${burst.calls} first calls at once, MaxStartups ${
      startups === "200" ? startups : "as delivered"
    }`;
    tables.push(
      await take(lab, `burst/${startups}`, title, burst, FIRST, (way) => lab.cold(way)),
    );
  }
  if (startups !== "200") return tables;
  for (const way of OVER) await lab.warm(way);
  for (const burst of bursts) {
    const title = `${burst.calls} calls at once over an open connection`;
    tables.push(await take(lab, "burst/open", title, burst, OVER, () => Promise.resolve()));
  }
  return tables;
}

/** Takes the ways in turns. */
export async function take(
  lab: Lab,
  id: string,
  title: string,
  { calls, rounds }: Burst,
  ways: readonly Way[],
  prepare: (way: Way) => Promise<void>,
): Promise<Table> {
  const said = new Set<string>();
  const traced = new Set<Way>();
  const measures = measuresOf(ways, (way) => {
    // Once; of 20 calls all ways, and then those that start other programs than ssh.
    const trace = !traced.has(way) && (calls <= 20 || way === "sshs" || way === "fresh");
    traced.add(way);
    const isOurs = way === "sshs" || way === "fresh";
    return atOnce(lab, way, {
      calls,
      trace,
      prepare: () => prepare(way),
      said: isOurs ? said : new Set(),
    });
  });
  const found = await takeTurns({ what: title, rounds }, measures);
  return tableOf({
    id: `${id}/${calls}`,
    title,
    columns: COLUMNS,
    found,
    notes: [
      "CPU time is that of the calls and of what they leave; the server's is not in it.",
      ...said.size > 0 ? [`Said by sshs: ${[...said].slice(0, 5).join("; ")}`] : [],
    ],
  });
}
