/** Our own commands: `sshs --list` and the like. What they print is no session's, so stdout is theirs. */
import { StateDirError } from "../lane/state_dir.ts";
import type { System } from "../os/system.ts";
import { say } from "../os/terminal.ts";
import { parseCommand } from "./command.ts";
import { doctor } from "./doctor.ts";
import { fresh } from "./fresh.ts";
import { HELP } from "./help.ts";
import { hold } from "./hold.ts";
import { list } from "./list.ts";
import { print } from "./print.ts";
import { stop } from "./stop.ts";
import { versionLine } from "./version.ts";
import { warm } from "./warm.ts";
import { why } from "./why.ts";
import { commandWords } from "./words.ts";

/** Wrong use, as shells and their builtins tell it. */
const MISUSE = 2;

/**
 * Runs the command of a command line whose first word begins with `--`. Returns the exit status: 0, 1
 * when something failed or is wrong, 2 for wrong use; `--fresh` ends as the call does.
 */
export async function runCommand(argv: readonly string[], system: System): Promise<number> {
  try {
    return await run(argv, system);
  } catch (error) {
    if (!(error instanceof StateDirError)) throw error;
    say(error.message);
    return 1;
  }
}

async function run(argv: readonly string[], system: System): Promise<number> {
  const command = parseCommand(argv);
  switch (command.kind) {
    case "list":
      return await list(command.json, system);
    case "stop":
      return await stop(command.argv, command.now, system);
    case "warm":
      return await warm(command.calls, system);
    case "hold":
      return await hold(command.seconds, command.argv, system);
    case "fresh":
      return await fresh(command.argv, system);
    case "why":
      return await why(command.argv, command.json, system);
    case "doctor":
      return await doctor(command.argv, system);
    case "help":
      print(HELP.trimEnd());
      return 0;
    case "version":
      print(await versionLine(system));
      return 0;
    case "misuse":
      say(commandWords.misuse(command));
      return MISUSE;
    default:
      return command satisfies never;
  }
}
