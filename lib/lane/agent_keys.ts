/**
 * The keys that an agent had when a lane logged in. The lane is unfit once the agent has others: another
 * list may lead to another account.
 */
import { readText } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { AGENT_DEADLINE, agentKeys, listedKeys, offeredKeys } from "../ssh/agent.ts";
import { closeLane } from "./master.ts";
import { isOpen } from "./lane.ts";
import { type Lane, lanesOf } from "./layout.ts";
import { type LaneRecord, readRecord } from "./record.ts";

/** Closes the lanes of an identity whose agent has other keys now than when they logged in. */
export async function checkAgents(
  dir: string,
  system: Pick<System, "births" | "isAlive" | "kill">,
): Promise<void> {
  for (const lane of lanesOf(dir).filter(isOpen)) {
    const record = readRecord(lane);
    if (!record?.agent) continue;
    const keys = await agentKeys(record.agent, { deadline: AGENT_DEADLINE });
    if (keys === "silent") continue;
    if (hasOtherKeys(record, notedKeys(lane), keys === "absent" ? [] : keys)) {
      await closeLane(lane, system);
    }
  }
}

/** Returns the keys in a lane's note, which is as `ssh-add -L` prints them; `undefined` without a note. */
export function notedKeys(lane: Lane): string[] | undefined {
  const text = readText(lane.agent);
  return text === undefined ? undefined : listedKeys(text.split("\n"));
}

/** Whether ssh would offer other keys now than when the lane logged in. */
export function hasOtherKeys(
  { offers }: Pick<LaneRecord, "offers">,
  noted: readonly string[] | undefined,
  keys: readonly string[],
): boolean {
  if (noted === undefined) return false;
  const rule = offers ?? { identitiesOnly: false, publicKeys: [] };
  return offeredKeys(noted, rule).join() !== offeredKeys(keys, rule).join();
}
