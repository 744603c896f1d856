/** `sshs --doctor [HOST]`: what stands in the way of sharing, each with the next thing to type. */
import { decide, type DecideSystem } from "../call/decide.ts";
import { findRealSsh } from "../ssh/real_ssh.ts";
import { checkPrograms } from "./check_programs.ts";
import { checkState, stateDirProblem } from "./check_state.ts";
import { type Finding, findingLines, ok, warn } from "./finding.ts";
import { print } from "./print.ts";
import type { SeeSystem } from "./seen_lane.ts";

/** Stands for a host that no rule of ssh's configuration names: RFC 6761 keeps `.invalid` free. */
const ANY_HOST = "any-host.invalid";

/** Prints all findings. Returns 1 where something is wrong. */
export async function doctor(
  argv: readonly string[],
  system: DecideSystem & SeeSystem,
): Promise<number> {
  const findings = [
    ...await checkPrograms(system),
    ...await checkState(system),
    ...await checkHost(argv, system),
  ];
  print(...findings.flatMap(findingLines));
  return findings.every(({ ok }) => ok) ? 0 : 1;
}

/** What ssh's configuration says against sharing, for a host or for those that it does not name. */
async function checkHost(argv: readonly string[], system: DecideSystem): Promise<Finding[]> {
  const ssh = findRealSsh(system);
  // Each of these has a finding of its own.
  if (ssh === undefined || system.env("SSHS") === "off" || stateDirProblem(system)) return [];
  const host = argv.length > 0 ? argv.join(" ") : "a host without rules of its own";
  const decision = await decide(argv.length > 0 ? argv : [ANY_HOST], ssh, system);
  if (decision.kind === "share") return [ok(`${host} would be shared`)];
  const why = `sshs --why ${argv.length > 0 ? argv.join(" ") : "HOST"}`;
  return [warn(`${host} would go direct: ${decision.reason}`, decision.remedy ?? why)];
}
