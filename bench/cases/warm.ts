/** A call that finds a connection: what sharing costs beside the round trips. */
import type { Effort } from "../effort.ts";
import { type Host, HOSTS, type Lab, type Way } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns } from "../turns.ts";

const WAYS_WARM: readonly Way[] = ["mux", "script", "sshs", "auto", "plain"];

export async function warm(lab: Lab, { warm }: Effort): Promise<Table[]> {
  return [await calls(lab, "near", warm), await calls(lab, "far", Math.ceil(warm / 2))];
}

async function calls(lab: Lab, host: Host, rounds: number): Promise<Table> {
  const title = `Warm call, ${HOSTS[host]}`;
  for (const way of WAYS_WARM) await lab.warm(way, host);
  const logins = lab.sshd.logins();
  const measures = measuresOf(WAYS_WARM, (way) => lab.time(way, host));
  const found = await takeTurns({ what: title, rounds }, measures);
  const extra = lab.sshd.logins() - logins - rounds;
  for (const way of WAYS_WARM) await lab.cold(way);
  const notes = extra === 0 ? [] : [`${extra} calls of ways that share logged in.`];
  return tableOf({ id: `warm/${host}`, title, found, notes });
}
