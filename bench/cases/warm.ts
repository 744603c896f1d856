/** A call that finds a connection: what sharing costs beside the round trips. */
import type { Effort } from "../effort.ts";
import type { Lab, Way } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { measuresOf, takeTurns } from "../turns.ts";

const WAYS_WARM: readonly Way[] = ["mux", "script", "sshs", "auto", "plain"];

export async function warm(lab: Lab, { warm }: Effort): Promise<Table[]> {
  const title = "The second call";
  for (const way of WAYS_WARM) await lab.warm(way);
  const logins = lab.sshd.logins();
  const measures = measuresOf(WAYS_WARM, (way) => lab.time(way));
  const found = await takeTurns({ what: title, rounds: warm }, measures);
  const extra = lab.sshd.logins() - logins - warm;
  for (const way of WAYS_WARM) await lab.cold(way);
  const notes = extra === 0 ? [] : [`${extra} calls of ways that share logged in.`];
  return [tableOf({ id: "warm", title, found, notes })];
}
