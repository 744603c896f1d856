/** Ways that take turns, so that what else the machine does meets all of them alike. */
import type { Lab } from "./lab.ts";
import { progress } from "./progress.ts";
import { WAYS } from "./way.ts";

/** The ways that begin without a connection. */
const PEERS = ["plain", "auto", "launcher"] as const;

export type Peer = typeof PEERS[number];

/** Measures each way `repeats` times, one after the other, with no connection left when its turn comes. */
export async function takeTurns<T>(
  lab: Lab,
  { what, repeats }: { readonly what: string; readonly repeats: number },
  measure: (way: Peer) => Promise<T>,
): Promise<Map<Peer, T[]>> {
  const found = new Map<Peer, T[]>(PEERS.map((way) => [way, []]));
  for (let repeat = 1; repeat <= repeats; repeat++) {
    for (const [way, taken] of found) {
      progress(`${what}, ${WAYS[way]}: ${repeat} of ${repeats}`);
      await lab.cold(way);
      taken.push(await measure(way));
    }
  }
  for (const way of PEERS) await lab.cold(way);
  return found;
}
