/**
 * `sshs --with HOST... -- COMMAND`: logs in to the hosts, runs the command with shared connections that
 * nobody else uses, and closes them when it ends: for jobs that must leave nothing behind.
 *
 * A job has a state directory of its own (`SSHS_DIR`), so that its calls work like any others. This program
 * prepares it, and then the launcher becomes the command, whose environment, limits, signals and exit status
 * are thus its own. The job lasts as long as that process; the directory's sleeper sees its end, and ends
 * everything in it.
 */
import { makeJobDir } from "../lane/state_dir.ts";
import { print } from "../os/terminal.ts";
import { endJob, ownJob } from "../sleeper/leftovers.ts";
import { sleeperPid, startSleeper } from "../sleeper/sleeper_file.ts";
import { type Here, takeHosts, type Words, WrongUse } from "./command.ts";
import { LOGIN_FAILED } from "./open.ts";
import { openAll } from "./warm.ts";

/**
 * Prepares a job: makes its directory, logs in to the hosts, and prints the directory's path. Returns the
 * exit status: 255 if a login failed; then nothing is left of it.
 *
 * @throws {StateDirError} if the directory cannot be made
 */
export async function prepareJob(words: Words, here: Here): Promise<number | void> {
  const { given, system, caller } = here;
  const end = words.argv.indexOf("--"); // The first one ends the hosts; the command follows it.
  if (end < 0 || end === words.argv.length - 1) {
    throw new WrongUse("--with takes a command after --");
  }
  const [options, hosts] = end === 0
    ? [[], []]
    : takeHosts({ ...words, argv: words.argv.slice(0, end) });
  const stateDir = makeJobDir(given, system);
  await ownJob(stateDir, caller, system);
  await startSleeper(stateDir, given, system);
  const outcomes = await openAll(options, hosts, here, stateDir);
  if (outcomes.every(({ open }) => open)) return print(stateDir);
  const sleeper = sleeperPid(stateDir, system);
  if (sleeper !== undefined) system.kill(sleeper, "SIGTERM");
  await endJob(stateDir, system);
  return LOGIN_FAILED;
}
