/**
 * Runs our own commands: `sshs --list` and the like. Their results go to stdout, as there is no session that
 * stdout would belong to. Each is loaded only when it is used.
 */
import { StateDirError } from "../lane/state_dir.ts";
import { restorePath } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { print, say } from "../os/terminal.ts";
import { type Command, parseCommand } from "./command.ts";

/** The exit status for wrong use, the same as that of shells and their builtins. */
const MISUSE = 2;

/**
 * Runs the command on a command line whose first word begins with `--`. Returns the exit status: 0, 1
 * if something failed or is wrong, 2 for wrong use. `--fresh` and `--with` exit as what they run does.
 */
export async function runCommand(argv: readonly string[], system: System): Promise<number> {
  restorePath();
  try {
    return await run(parseCommand(argv), system);
  } catch (error) {
    if (!(error instanceof StateDirError)) throw error;
    say({ fault: error.message, hint: error.hint });
    return 1;
  }
}

async function run(command: Command, system: System): Promise<number> {
  switch (command.kind) {
    case "list": {
      const { list } = await import("./list.ts");
      return await list(command.json, system);
    }
    case "watch": {
      const { watchList } = await import("./list.ts");
      return await watchList(system);
    }
    case "stop": {
      const { stop } = await import("./stop.ts");
      return await stop(command.argv, command.now, system);
    }
    case "warm": {
      const { warm } = await import("./warm.ts");
      return await warm(command, system);
    }
    case "hold": {
      const { hold } = await import("./hold.ts");
      return await hold(command.seconds, command.argv, system);
    }
    case "with": {
      const { runWith } = await import("./with.ts");
      return await runWith(command, system);
    }
    case "fresh": {
      const { fresh } = await import("./stop.ts");
      return await fresh(command.argv, system);
    }
    case "why": {
      const { why } = await import("./why.ts");
      return await why(command.argv, command.json, system);
    }
    case "doctor": {
      const { doctor } = await import("./doctor.ts");
      return await doctor(command.argv, system);
    }
    case "install":
    case "uninstall": {
      const { installCommand, uninstallCommand } = await import("./install.ts");
      return command.kind === "install"
        ? await installCommand(command.prefix, system)
        : await uninstallCommand(command.prefix, command.now, system);
    }
    case "completions": {
      const { completions } = await import("./install.ts");
      return completions(command.shell);
    }
    case "help": {
      const { HELP } = await import("./help.ts");
      print(HELP.trimEnd());
      return 0;
    }
    case "version": {
      const { versionLine } = await import("./help.ts");
      print(await versionLine(system));
      return 0;
    }
    case "misuse":
      say({ fault: command.reason, hint: command.hint });
      return MISUSE;
    default:
      return command satisfies never;
  }
}
