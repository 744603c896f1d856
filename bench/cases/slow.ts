/** First calls at the same moment to a server whose login takes 5 s, as one that asks a slow directory. */
import type { Effort } from "../effort.ts";
import { Lab, type Way } from "../lab.ts";
import type { Table } from "../table.ts";
import { take } from "./burst.ts";

/** ssh asks whether a key will do before it signs with it: so the server looks it up twice. */
const SLOW_LOGIN = ["AuthorizedKeysCommand /bin/sleep 2.5", "AuthorizedKeysCommandUser root"];

export async function slow(_: Lab, { slow }: Effort): Promise<Table[]> {
  await using lab = await Lab.open([...SLOW_LOGIN, "MaxStartups 1000"]);
  await lab.plan("near");
  const tables: Table[] = [];
  for (const burst of slow) {
    const title = `${burst.calls} first calls at once, a login takes 5 s`;
    // ControlMaster auto is plain ssh here. 200 calls of words never seen show nothing that 50 do not.
    const ways: Way[] = burst.calls > 50 ? ["plain", "sshs"] : ["plain", "sshs", "fresh"];
    tables.push(await take(lab, "slow", title, burst, ways, (way) => lab.cold(way)));
  }
  return tables;
}
