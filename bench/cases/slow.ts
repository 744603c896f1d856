/** First calls at the same moment to a server whose login takes 5 s, as one that asks a slow directory. */
import { account } from "../../tests/support/account.ts";
import type { Effort } from "../effort.ts";
import { Lab, type Way } from "../lab.ts";
import type { Table } from "../table.ts";
import { take } from "./burst.ts";

export async function slow(_: Lab, { bursts }: Effort): Promise<Table[]> {
  // ssh asks whether a key will do before it signs with it: so the server looks it up twice.
  await using lab = await Lab.open([
    "AuthorizedKeysFile none",
    'AuthorizedKeysCommand /bin/sh -c "sleep 2.5; echo %t %k"',
    `AuthorizedKeysCommandUser ${(await account()).name}`,
    "MaxStartups 1000",
  ]);
  await lab.plan();
  const tables: Table[] = [];
  for (const { calls } of bursts) {
    const title = `${calls} first calls at once, a login takes 5 s`;
    // ControlMaster auto is plain ssh here. 200 calls of words never seen show nothing that 50 do not.
    const ways: Way[] = calls > 50 ? ["plain", "sshs"] : ["plain", "sshs", "fresh"];
    tables.push(await take(lab, "slow", title, { calls, rounds: 1 }, ways, (way) => lab.cold(way)));
  }
  return tables;
}
