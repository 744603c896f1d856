/** Which lanes are meant by the words of an ssh call: for --stop, --hold and --fresh. */
import { decide, type DecideSystem } from "../call/decide.ts";
import type { LaneRecord } from "../lane/lane.ts";
import { findRealSsh } from "../ssh/real_ssh.ts";
import type { SeenLane } from "./seen_lane.ts";

/** Whether a lane goes by this name: its destination as written or as resolved, or a part of that. */
export function isNamed({ destination, resolved }: LaneRecord, name: string): boolean {
  const [login] = resolved.split(/:\d+$/);
  const host = login.slice(login.lastIndexOf("@") + 1);
  return [destination, resolved, login, host].includes(name);
}

/** The lanes that a call with these words could use, and those that go by its one word. */
export async function lanesMeant(
  argv: readonly string[],
  lanes: readonly SeenLane[],
  system: DecideSystem,
): Promise<SeenLane[]> {
  // Nothing to choose from: no need to ask ssh, or to make a state directory.
  if (lanes.length === 0) return [];
  const dir = await identityDirOf(argv, system);
  return lanes.filter(({ lane, record }) =>
    lane.dir === dir || (argv.length === 1 && isNamed(record, argv[0]))
  );
}

async function identityDirOf(
  argv: readonly string[],
  system: DecideSystem,
): Promise<string | undefined> {
  const ssh = findRealSsh(system);
  const decision = ssh === undefined ? undefined : await decide(argv, ssh, system);
  return decision?.kind === "share" ? decision.dir : undefined;
}
