/** Calls at the same moment to a host that there is no connection to yet. */
import { call } from "../call.ts";
import type { Effort } from "../effort.ts";
import { Lab, type Way } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns } from "../turns.ts";

/** sshd_config's default is 10:30:100: of more than 10 that are logging in it drops some. */
const MAX_STARTUPS = { delivered: [], 200: ["MaxStartups 200"] };

export async function simultaneous(_: Lab, { bursts }: Effort): Promise<Table[]> {
  const tables: Table[] = [];
  for (const [startups, config] of Object.entries(MAX_STARTUPS)) {
    await using lab = await Lab.open([...config, "MaxSessions 10"]);
    await lab.plan("near");
    for (const { calls, rounds } of bursts) {
      const title = `${calls} first calls at once, MaxStartups ${
        startups === "delivered" ? "as delivered" : startups
      }`;
      const said = new Set<string>();
      const measures = measuresOf(
        ["plain", "auto", "sshs", "fresh"],
        (way) => burst(lab, way, calls, said),
      );
      tables.push(tableOf({
        // The first number of calls is the one of the targets.
        id: `simultaneous/${calls === bursts[0].calls ? "some" : "many"}/${startups}`,
        title,
        columns: [
          { name: "wall time", unit: "ms" },
          { name: "logins", unit: "" },
          { name: "failed calls", unit: "" },
          { name: "bytes on stderr", unit: "" },
        ],
        found: await takeTurns({ what: title, rounds }, measures),
        notes: [
          "A call that sshd drops ends early: the wall time of ways with failed calls says little.",
          ...said.size > 0 ? [`Said by sshs: ${[...said].join("; ")}`] : [],
        ],
      }));
    }
  }
  return tables;
}

/** Adds to `said` what sshs wrote to stderr. */
async function burst(
  lab: Lab,
  way: Way,
  calls: number,
  said: Set<string>,
): Promise<number[]> {
  await lab.cold(way);
  const before = lab.sshd.logins();
  const argv = lab.argv(way, "near");
  const start = performance.now();
  const done = await Promise.all(Array.from({ length: calls }, async () => {
    const started = performance.now();
    const outcome = await call(argv, lab.env(way));
    return { ...outcome, end: started + outcome.ms };
  }));
  if (way === "sshs" || way === "fresh") {
    done.flatMap((outcome) => outcome.said.split(/\r?\n/)).forEach((line) =>
      line && said.add(line)
    );
  }
  return [
    Math.max(...done.map(({ end }) => end)) - start,
    lab.sshd.logins() - before,
    done.filter(({ success }) => !success).length,
    done.reduce((sum, { said }) => sum + said.length, 0),
  ];
}
