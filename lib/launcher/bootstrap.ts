/**
 * A call that came to the program itself, as after `deno install` alone: puts the library into the state
 * directory, and becomes the launcher there.
 */
import { CHOOSE_ANOTHER, openStateDir } from "../lane/state_dir.ts";
import { createText, exists, isSystemError, readText } from "../os/files.ts";
import { become, PROGRAM } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { Complaint, isStderrTerminal, say, words } from "../os/terminal.ts";
import { bareLauncher, denoPath, libraryFiles, programText } from "./launcher.ts";
import { putInPlace } from "./new_files.ts";

/** Becomes the launcher; if that cannot be, plain ssh. For a command of ours it is a failure. */
export async function becomeLauncher(argv: readonly string[], system: System): Promise<never> {
  let [sh, ...launcher] = bareLauncher();
  // Does any word ask for silence? One too many is no harm: it is said another time.
  const isQuiet = argv.some((word) => /^-\w*q|BatchMode|LogLevel/i.test(word));
  try {
    const { stdout } = await system.run(sh, launcher, { env: { SSHS_TASK: "state" } });
    // Of one that it does not use the launcher does not say why.
    const stateDir = stdout.trimEnd() || (system.env("SSHS_DIR") ?? "");
    const library = await placeLibrary(stateDir, system);
    launcher = [`${library}/bin/sshs`];
    // Once for each state directory: how ssh itself comes to share.
    if (isStderrTerminal() && !isQuiet && createText(`${library}/told`, "")) {
      say(words.installFirst());
    }
  } catch (error) {
    if (!(error instanceof Complaint) && !isSystemError(error)) throw error;
    const { message, hint = CHOOSE_ANOTHER } = error as Complaint;
    if (/^--./.test(argv[0] ?? "")) {
      say({ fault: message, hint });
      return system.exit(1);
    }
    if (system.env("SSHS") !== "off" && !isQuiet) say(words.notShared({ message, hint }));
    system.setEnv("SSHS", "off");
  }
  return await become(sh, launcher, argv);
}

/**
 * Writes the library into a state directory, unless it is there already. Returns its path.
 *
 * @throws {Complaint} if the directory must not be used, or the library cannot be written
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
