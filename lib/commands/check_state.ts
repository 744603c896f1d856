/** The doctor's look at what sshs keeps and is told: state directory, sleeper, settings. */
import { removePath } from "../os/files.ts";
import { parseDuration, readSettingsFile } from "../call/settings.ts";
import { openStateDir, StateDirError, stateDirPath } from "../lane/state_dir.ts";
import type { System } from "../os/system.ts";
import { sleeperPid } from "../sleeper/sleeper_start.ts";
import { type Finding, ok, warn } from "./finding.ts";
import { seeLanes, type SeeSystem } from "./seen_lane.ts";
import { count } from "./words.ts";

export async function checkState(
  system: SeeSystem & Pick<System, "pid">,
): Promise<Finding[]> {
  const problem = stateDirProblem(system);
  if (problem) {
    const [what, next] = problem.split("; ");
    return [warn(`the state directory ${what}`, next), ...checkSettings(system)];
  }
  const dir = stateDirPath(system);
  return [
    ok(`the state directory is ${dir}, and yours alone`),
    checkSockets(dir, system),
    await checkSleeper(dir, system),
    ...checkSettings(system),
  ];
}

/** Why the state directory is not used, if it is not. */
export function stateDirProblem(system: Pick<System, "env" | "uid">): string | undefined {
  try {
    openStateDir(system);
  } catch (error) {
    if (error instanceof StateDirError) return error.message;
    throw error;
  }
}

/** Whether a control socket can be made there: ssh binds it and links it into place (mux.c). */
function checkSockets(dir: string, system: Pick<System, "pid">): Finding {
  const path = `${dir}/doctor.${system.pid}`;
  try {
    Deno.listen({ transport: "unix", path }).close();
    Deno.writeTextFileSync(`${path}.file`, "", { mode: 0o600 });
    Deno.linkSync(`${path}.file`, `${path}.link`);
    return ok("sockets and hard links can be made there");
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    const why = (error as Error).message;
    return warn(`no control socket can be made there: ${why}`, "set SSHS_DIR to a local directory");
  } finally {
    for (const end of ["", ".file", ".link"]) removePath(path + end);
  }
}

async function checkSleeper(dir: string, system: SeeSystem): Promise<Finding> {
  const lanes = (await seeLanes(system)).filter(({ state }) => state !== "dead").length;
  const pid = sleeperPid(dir, system);
  if (pid !== undefined) {
    return ok(`the sleeper is awake (pid ${pid}), over ${count(lanes, "lane")}`);
  }
  if (lanes === 0) return ok("nothing is shared, and no sleeper is awake");
  return warn(`no sleeper is awake over ${count(lanes, "lane")}`, "ssh HOST  (any call wakes it)");
}

/** The settings file, and the variables whose wrong values would be passed over in silence. */
function checkSettings(system: Pick<System, "env">): Finding[] {
  const findings: Finding[] = [];
  const file = readSettingsFile(system);
  if (file?.problem) findings.push(warn(`not read: ${file.problem}`, `edit ${file.path}`));
  else if (file?.rules.length) findings.push(ok(`settings are read from ${file.path}`));
  if (system.env("SSHS") === "off") {
    findings.push(warn("SSHS=off: nothing is shared", "unset SSHS"));
  }
  const linger = system.env("SSHS_LINGER");
  if (linger !== undefined && parseDuration(linger) === undefined) {
    findings.push(warn(`SSHS_LINGER=${linger} is no duration`, "export SSHS_LINGER=10m"));
  }
  const sessions = system.env("SSHS_MAX_SESSIONS");
  if (sessions !== undefined && !/^[1-9]\d{0,5}$/.test(sessions)) {
    findings.push(
      warn(`SSHS_MAX_SESSIONS=${sessions} is no number from 1`, "export SSHS_MAX_SESSIONS=10"),
    );
  }
  return findings;
}
