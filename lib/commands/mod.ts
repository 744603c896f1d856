/**
 * Runs our own commands: `sshs --list` and the like. Their results go to stdout, as there is no session that
 * stdout would belong to.
 */
import { isSystemError } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { Complaint, print, say } from "../os/terminal.ts";
import { parseCommand } from "./command.ts";
import { doctor } from "./doctor.ts";
import { HELP, versionLine } from "./help.ts";
import { hold } from "./hold.ts";
import { completions, installCommand, uninstallCommand } from "./install.ts";
import { list, watchList } from "./list.ts";
import { socket } from "./socket.ts";
import { fresh, stop } from "./stop.ts";
import { warm } from "./warm.ts";
import { why } from "./why.ts";
import { prepareJob } from "./with.ts";

/** The exit status for wrong use, the same as that of shells and their builtins. */
const MISUSE = 2;

/**
 * Runs the command on a command line whose first word begins with `--`. Returns the exit status: 0, 1
 * if something failed or is wrong, 2 for wrong use. After 0 from `--fresh` and `--with` the launcher goes on.
 *
 * @param caller the pid of the launcher that becomes the command of `--with`
 */
export async function runCommand(
  argv: readonly string[],
  given: Given,
  system: System,
  caller: number = system.pid,
): Promise<number> {
  const command = parseCommand(argv);
  try {
    switch (command.kind) {
      case "list":
        return await list(command.json, given, system);
      case "watch":
        return await watchList(given, system);
      case "stop":
        return await stop(command.argv, command.now, given, system);
      case "warm":
        return await warm(command, given, system);
      case "hold":
        return await hold(command.seconds, command.argv, given, system);
      case "socket":
        return await socket(command.argv, given, system);
      case "with":
        return await prepareJob(command, caller, given, system);
      case "fresh":
        return await fresh(command.argv, given, system);
      case "why":
        return await why(command.argv, command.json, given, system);
      case "doctor":
        return await doctor(command.argv, given, system);
      case "install":
        return await installCommand(command.prefix, system);
      case "uninstall":
        return await uninstallCommand(command.prefix, command.now, given, system);
      case "completions":
        return completions(command.shell);
      case "help":
        print(HELP.trimEnd());
        return 0;
      case "version":
        print(await versionLine(given, system));
        return 0;
      case "misuse":
        say({ fault: command.reason, hint: command.hint });
        return MISUSE;
      default:
        return command satisfies never;
    }
  } catch (error) {
    if (!(error instanceof Complaint) && !isSystemError(error)) throw error;
    say({ fault: error.message, hint: error instanceof Complaint ? error.hint : undefined });
    return 1;
  }
}
