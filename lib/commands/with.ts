/**
 * `sshs --with HOST... -- COMMAND`: logs in to the hosts, runs the command with shared connections that
 * nobody else uses, and closes them when it ends: for jobs that must leave nothing behind.
 *
 * A job has a state directory of its own (`SSHS_DIR`), so that its calls work like any others. Its sleeper
 * lives as long as the job, and ends everything if this process is killed.
 */
import { makeJobDir, stateDirPath } from "../lane/state_dir.ts";
import { placeLibrary } from "../launcher/launcher.ts";
import { endAs, type Ending, runAsChild } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { endJob, ownJob } from "../sleeper/leftovers.ts";
import { sleeperPid, startSleeper } from "../sleeper/sleeper_file.ts";
import type { WithCommand } from "./command.ts";
import { LOGIN_FAILED } from "./hold.ts";
import { openAll } from "./warm.ts";

/**
 * Runs the command and exits as it does, or with 255 before running it if a login fails.
 *
 * @throws {StateDirError} if the job's directory cannot be made
 */
export async function runWith(command: WithCommand, system: System): Promise<never> {
  const dir = makeJobDir({ stateDir: stateDirPath(system) }, system);
  system.setEnv("SSHS_DIR", dir);
  let ending: Ending;
  try {
    await ownJob(dir, system);
    const path = [`${await placeLibrary(dir, system)}/bin`, system.env("PATH")];
    system.setEnv("PATH", path.filter(Boolean).join(":"));
    await startSleeper({ stateDir: dir }, system);
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
