/**
 * Runs our own commands: `sshs --list` and the like. Their results go to stdout, as there is no session that
 * stdout would belong to.
 */
import { isSystemError } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import { DENO_VERSION, VERSION } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { Complaint, print, say } from "../os/terminal.ts";
import { sshVersion } from "../ssh/real_ssh.ts";
import { type Here, readWords, type Words, WrongUse } from "./command.ts";
import { doctor } from "./doctor.ts";
import { HELP, USAGE } from "./help.ts";
import { hold } from "./hold.ts";
import { completions, installCommand, uninstallCommand } from "./install.ts";
import { list } from "./list.ts";
import { fresh, stop } from "./stop.ts";
import { warm } from "./warm.ts";
import { socket, why } from "./why.ts";
import { prepareJob } from "./with.ts";

/** What runs each command. Returns the exit status, if it is not 0. */
const COMMANDS: Record<string, (words: Words, here: Here) => Promise<number | void> | void> = {
  ...{ list, stop, warm, hold, socket, with: prepareJob, fresh, why, doctor },
  ...{ completions, install: installCommand, uninstall: uninstallCommand },
  help: () => print(HELP.trimEnd()),
  version: async (_, { given: { ssh }, system }) => {
    const openssh = ssh === "" ? "no ssh in PATH" : await sshVersion(ssh, system);
    print(`sshs ${VERSION}, Deno ${DENO_VERSION}, ${openssh}`);
  },
};

/**
 * Runs the command on a command line whose first word begins with `--`. Returns the exit status: 0, 1
 * if something failed or is wrong, 2 for wrong use. After 0 from --fresh and --with the launcher goes on.
 *
 * @param caller the pid of the launcher that becomes the command of --with
 */
export async function runCommand(
  argv: readonly string[],
  given: Given,
  system: System,
  caller: number = system.pid,
): Promise<number> {
  try {
    return await run(argv, { given, system, caller });
  } catch (error) {
    if (!(error instanceof Complaint) && !isSystemError(error)) throw error;
    say({ fault: error.message, hint: error instanceof Complaint ? error.hint : undefined });
    return error instanceof WrongUse ? 2 : 1;
  }
}

/** Does the same, but throws what has failed. */
export async function run([word, ...rest]: readonly string[], here: Here): Promise<number> {
  const [, name, value] = /^--([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
  const usage = USAGE.get(name);
  // The launcher knows its own two by the whole word.
  if (usage === undefined || value !== undefined && /^(with|fresh)$/.test(name)) {
    const alike = [...USAGE.keys()].filter((known) => known[0] === name[0]);
    const hint = alike.map((known) => `--${known}`).join(", ");
    throw new WrongUse(`unknown command --${name}`, hint ? `did you mean ${hint}?` : "sshs --help");
  }
  const argv = value === undefined ? rest : [value, ...rest]; // --name=value is --name value.
  try {
    return await COMMANDS[name](readWords(`--${name}`, usage, argv), here) ?? 0;
  } catch (error) {
    throw error instanceof WrongUse ? new WrongUse(error.message, usage) : error;
  }
}
