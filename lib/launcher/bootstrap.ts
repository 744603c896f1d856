/**
 * A call that came to the program itself, as after `deno install` alone: puts the library into the state
 * directory, and becomes the launcher there.
 */
import { CHOOSE_ANOTHER, openStateDir, StateDirError } from "../lane/state_dir.ts";
import { createText, exists, isSystemError, readText } from "../os/files.ts";
import { become, PROGRAM, restorePath } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { say, words } from "../os/terminal.ts";
import { bareLauncher, denoPath, libraryFiles, programText } from "./launcher.ts";
import { InstallError, putInPlace } from "./new_files.ts";

/** Becomes the launcher; if that cannot be, plain ssh. For a command of ours it is a failure. */
export async function becomeLauncher(argv: readonly string[], system: System): Promise<never> {
  restorePath();
  let [sh, ...launcher] = bareLauncher();
  try {
    const { stdout } = await system.run(sh, launcher, { env: { SSHS_TASK: "state" } });
    // Of one that it does not use the launcher does not say why.
    const stateDir = stdout.trimEnd() || (system.env("SSHS_DIR") ?? "");
    const library = await placeLibrary(stateDir, system);
    launcher = [`${library}/bin/sshs`];
    tellOnce(library, argv);
  } catch (error) {
    const isOurs = error instanceof StateDirError || error instanceof InstallError;
    if (!isOurs && !isSystemError(error)) throw error;
    complain(error, argv, system);
    system.setEnv("SSHS", "off");
  }
  return await become(sh, launcher, argv);
}

/**
 * Writes the library into a state directory, unless it is there already. Returns its path.
 *
 * @throws {StateDirError} if the directory must not be used
 * @throws {InstallError} if the library cannot be written
 */
async function placeLibrary(stateDir: string, system: System): Promise<string> {
  const library = `${openStateDir({ stateDir }, system)}/launcher`;
  const program = `${library}/sshs.js`;
  const files = libraryFiles(library, program, denoPath(system));
  // The program behind a URL is of this version if the launcher is, and finding it takes Deno.
  const isThere = PROGRAM.startsWith("/")
    ? readText(program) === readText(PROGRAM)
    : exists(program);
  if (!isThere || files.some(({ path, text }) => readText(path) !== text)) {
    putInPlace([{ path: program, text: await programText(system) }, ...files]);
  }
  return library;
}

/** Says why a call is not shared; ends with 1 if it is a command, which needs what there is not. */
function complain(error: Error & { hint?: string }, argv: readonly string[], system: System): void {
  const { message, hint = CHOOSE_ANOTHER } = error;
  const isCommand = /^--./.test(argv[0] ?? "");
  if (isCommand) say({ fault: message, hint });
  else if (system.env("SSHS") !== "off" && !isQuiet(argv)) say(words.notShared({ message, hint }));
  if (isCommand) system.exit(1);
}

/** Says on a terminal, once for each state directory, how ssh itself comes to share. */
function tellOnce(library: string, argv: readonly string[]): void {
  if (!Deno.stderr.isTerminal() || isQuiet(argv)) return;
  if (createText(`${library}/told`, "")) say(words.installFirst());
}

/** Does any word ask for silence? One too many is no harm: it is said another time. */
function isQuiet(argv: readonly string[]): boolean {
  return argv.some((word) => /^-\w*q|BatchMode|LogLevel/i.test(word));
}
