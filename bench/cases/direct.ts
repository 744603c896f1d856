/** Calls that sshs does not share: what they cost more than ssh's own. */
import { call } from "../call.ts";
import type { Effort } from "../effort.ts";
import type { Lab } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns } from "../turns.ts";

/** Words behind ssh's own. The last call fails at once, its port being closed. */
const CALLS = {
  version: { title: "ssh -V", words: ["-V"], host: "near" },
  forward: {
    title: "ssh -N -o ControlPath=none, connection refused",
    words: ["-N", "-oControlPath=none", "host"],
    host: "direct",
  },
  plan: {
    title: "direct by its configuration, connection refused",
    words: ["host"],
    host: "direct",
  },
} as const;

export async function direct(lab: Lab, { direct }: Effort): Promise<Table[]> {
  const tables: Table[] = [];
  for (const [id, { title, words, host }] of Object.entries(CALLS)) {
    const time = async (way: "plain" | "sshs") =>
      (await call([...lab.rsh(way, host), ...words], lab.env(way))).ms;
    await time("sshs"); // Decides, where that has to be.
    const measures = measuresOf(["plain", "sshs"], time);
    const found = await takeTurns({ what: title, rounds: direct }, measures);
    tables.push(tableOf({ id: `direct/${id}`, title: `Not shared: ${title}`, found }));
  }
  return tables;
}
