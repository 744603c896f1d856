/** A call that finds a connection: what sharing costs beside the round trips. */
import { findProgram, SSHS } from "../../tests/support/programs.ts";
import type { Effort } from "../effort.ts";
import { times } from "../hyperfine.ts";
import type { Lab } from "../lab.ts";
import { progress } from "../progress.ts";
import { row, type Table } from "../table.ts";
import { EVERY_LINK, type Link, LINKS, type Way, WAYS } from "../way.ts";

/** No call, but the start that the full program cannot be faster than. */
const NO_CALL = "deno, an empty file";

export async function warmCall(lab: Lab, effort: Effort): Promise<Table[]> {
  const tables: Table[] = [];
  for (const link of EVERY_LINK) tables.push(await onLink(lab, link, effort));
  return tables;
}

async function onLink(lab: Lab, link: Link, effort: Effort): Promise<Table> {
  const ways: Way[] = ["mux", "launcher", "slow", "auto", "plain"];
  if (findProgram("plink") && findProgram("puttygen")) ways.splice(4, 0, "plink");
  for (const way of ways) await lab.warm(way, link);
  const empty = `${lab.dir}/empty.js`;
  await Deno.writeTextFile(empty, "");
  const deno: number[] = [];
  const found = new Map(ways.map((way) => [way, { times: [] as number[], logins: 0 }]));
  let planHeld = 0;
  for (let round = 1; round <= effort.rounds; round++) {
    progress(`warm call, ${LINKS[link]}: round ${round} of ${effort.rounds}`);
    for (const [way, { times: taken }] of found) {
      const [logins, plan] = [lab.sshd.logins(), lab.planned()];
      const options = { runs: effort.warmRuns[link], env: lab.env(way) };
      taken.push(...await times(lab.call(way, link), options));
      found.get(way)!.logins += lab.sshd.logins() - logins;
      if (way === "launcher" && lab.planned() === plan) planHeld++;
    }
    const start = [...SSHS.slice(0, -1), empty];
    deno.push(...await times(start, { runs: effort.warmRuns[link], env: lab.env("slow") }));
  }
  for (const way of ways) await lab.cold(way);
  return {
    id: `warm-call/${link}`,
    title: `Warm call, ${LINKS[link]}`,
    columns: [{ name: "wall time", unit: "ms" }, { name: "logins", unit: "" }],
    rows: [
      ...Array.from(found, ([way, { times, logins }]) => row(WAYS[way], times, [logins])),
      row(NO_CALL, deno, [0]),
    ],
    baseline: WAYS.mux,
    notes: [
      `The launcher found its plan to hold in ${planHeld} of ${effort.rounds} rounds.`,
    ],
  };
}
