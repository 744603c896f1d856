/** A call that finds a connection: what sharing costs beside the round trips. */
import type { Effort } from "../effort.ts";
import { type Host, HOSTS, type Lab, type Way, WAYS } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns, type Turns } from "../turns.ts";

export async function warm(lab: Lab, { warm }: Effort): Promise<Table[]> {
  const all = ["mux", "sshs", "auto", "plain"] as const;
  return [
    await calls(lab, "steady", "near", ["mux", "sshs"], { rounds: warm.steady, pace: 500 }),
    await calls(lab, "rapid", "near", all, { rounds: warm.rapid, runs: 10 }),
    await calls(lab, "far", "far", all, { rounds: warm.far }),
    await calls(lab, "inner", "inner", ["plain", "auto", "sshs"], { rounds: warm.far }),
  ];
}

const TITLES = { steady: ", each once a second", rapid: ", back to back", far: "", inner: "" };

/** The ways in turns, and at the end all of them without a connection. */
async function calls(
  lab: Lab,
  variant: keyof typeof TITLES,
  host: Host,
  ways: readonly Way[],
  turns: Omit<Turns, "what">,
): Promise<Table> {
  const title = `Warm call, ${HOSTS[host]}${TITLES[variant]}`;
  for (const way of ways) await lab.warm(way, host);
  const logins = lab.sshd.logins();
  const found = await takeTurns(
    { what: title, ...turns },
    measuresOf(ways, (way) => lab.time(way, host)),
  );
  const plain = ways.includes("plain") ? found[WAYS.plain].length * (host === "inner" ? 2 : 1) : 0;
  const extra = lab.sshd.logins() - logins - plain;
  for (const way of ways) await lab.cold(way);
  const notes = extra === 0 ? [] : [`${extra} calls of ways that share logged in.`];
  return tableOf({ id: `warm/${variant}`, title, found, notes });
}
