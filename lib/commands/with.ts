/**
 * `sshs --with HOST... -- COMMAND`: logs in to the hosts, runs the command with shared connections that
 * nobody else uses, and closes them when it ends: for jobs that nothing of theirs should outlive.
 *
 * All of a job is in a state directory of its own (`SSHS_DIR`), so that its calls are like any others. Its
 * sleeper lives as long as the job, and ends all if this process is killed.
 */
import { makeJobDir } from "../lane/state_dir.ts";
import { ownPrefix, placesBelow } from "../launcher/install.ts";
import { placeLauncher } from "../launcher/launcher.ts";
import { linkPath } from "../os/files.ts";
import { endAs, type Ending, runAsChild } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { endJob, ownJob } from "../sleeper/leftovers.ts";
import { sleeperPid, startSleeper } from "../sleeper/sleeper_file.ts";
import type { WithCommand } from "./command.ts";
import { openAll } from "./warm.ts";

/** As ssh's where it cannot log in. */
const LOGIN_FAILED = 255;

/**
 * Runs the command and ends as it does; with 255 where a host cannot be logged in to, and nothing has run.
 *
 * @throws {StateDirError} where there can be no directory for the job
 */
export async function runWith(command: WithCommand, system: System): Promise<never> {
  const dir = makeJobDir(system);
  system.setEnv("SSHS_DIR", dir);
  let ending: Ending;
  try {
    await ownJob(dir, system);
    const path = [placeLaunchers(dir, system), system.env("PATH")];
    system.setEnv("PATH", path.filter(Boolean).join(":"));
    await startSleeper(dir, system);
    ending = await logInAndRun(command, system);
  } finally {
    const sleeper = sleeperPid(dir, system);
    if (sleeper !== undefined) system.kill(sleeper, "SIGTERM");
    await endJob(dir, system);
  }
  endAs(ending);
}

async function logInAndRun(
  { options, hosts, argv: [program, ...args] }: WithCommand,
  system: System,
): Promise<Ending> {
  const outcomes = await openAll(options, hosts, system);
  if (outcomes.some(({ problem }) => problem)) return { code: LOGIN_FAILED };
  return await runAsChild(program, args);
}

/** The directory of the launchers: those that are installed, or some of the job's own. */
function placeLaunchers(dir: string, system: System): string {
  const prefix = ownPrefix();
  if (prefix !== undefined) return placesBelow(prefix).bin;
  placeLauncher(system);
  for (const name of ["scp", "sftp", "sshs"]) linkPath("ssh", `${dir}/${name}`);
  return dir;
}
