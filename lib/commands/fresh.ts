/** `sshs --fresh HOST [COMMAND...]`: a new login now; what was shared takes no more sessions. */
import { callSsh } from "../call/call.ts";
import { decide, type DecideSystem } from "../call/decide.ts";
import { closeLane } from "../lane/health.ts";
import { lanesOf } from "../lane/lane.ts";
import { findRealSsh } from "../ssh/real_ssh.ts";
import type { System } from "../os/system.ts";

/**
 * Closes the lanes of a call, then makes the call. New groups, another shell, changed settings of
 * sshd: a login knows them, and a session on an old lane does not.
 */
export async function fresh(
  argv: readonly string[],
  system: DecideSystem & Pick<System, "isAlive" | "kill">,
): Promise<never> {
  const ssh = findRealSsh(system);
  const decision = ssh === undefined ? undefined : await decide(argv, ssh, system);
  if (decision?.kind === "share") {
    await Promise.all(lanesOf(decision.dir).map((lane) => closeLane(lane, system)));
  }
  return await callSsh(argv);
}
