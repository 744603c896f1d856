/**
 * The launcher: settings, and below them launcher.sh. It is in PATH as ssh, scp, sftp and sshs. For a call
 * that came to the program itself (`deno install` alone) it is written into the state directory.
 */
import { directByWords, wantsQuiet } from "../call/rules.ts";
import { CHOOSE_ANOTHER, openStateDir, StateDirError } from "../lane/state_dir.ts";
import { isSystemError, writeWhole } from "../os/files.ts";
import { become, launcherSettings, quote, restorePath } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { say, words } from "../os/terminal.ts";
import { parseSshArgs } from "../ssh/arguments.ts";
import { findRealSsh, LAUNCHER_MARK } from "../ssh/real_ssh.ts";
import text from "./launcher.sh" with { type: "text" };

/** The settings written into a launcher. Paths are absolute. */
export interface LauncherSettings {
  /** The version of sshs. */
  readonly version: string;
  readonly uid: number;
  /** The directory of the launchers. */
  readonly bin: string;
  readonly deno: string;
  /** The bundled program, or the path or URL of main.ts. */
  readonly program: string;
  /** For `deno run`. None contains a blank. */
  readonly flags: readonly string[];
  /** Additional flags for the sleeper. */
  readonly sleeperFlags: readonly string[];
}

/** Returns the launcher's whole text; `undefined` if sh cannot hold a setting ({@linkcode quote}). */
export function launcherText(settings: LauncherSettings): string | undefined {
  const { flags, sleeperFlags, ...texts } = settings;
  const joined = { flags: flags.join(" "), sleeper_flags: sleeperFlags.join(" ") };
  const values = Object.entries({ ...texts, ...joined })
    .map(([name, value]) => [name, quote(`${value}`)] as const);
  if (values.some(([, value]) => value === undefined)) return undefined;
  return [
    "#!/bin/sh",
    `${LAUNCHER_MARK}: ssh, scp and sftp over shared connections; made by sshs --install`,
    ...values.map(([name, value]) => `sshs_${name}=${value}`),
    text,
  ].join("\n");
}

/** Becomes the launcher, or plain ssh if the launcher cannot be written. */
export async function callSsh(argv: readonly string[], system: System): Promise<never> {
  restorePath();
  const ssh = findRealSsh(system);
  if (ssh === undefined) {
    say(words.noSsh());
    return system.exit(127);
  }
  try {
    return await become("/bin/sh", [placeLauncher(system)], argv);
  } catch (error) {
    if (!(error instanceof StateDirError)) throw error;
    if (system.env("SSHS") !== "off" && !isQuiet(argv)) say(words.notShared(error));
    return await become(ssh, [], argv);
  }
}

function isQuiet(argv: readonly string[]): boolean {
  const args = parseSshArgs(argv);
  return args.kind === "invalid" || directByWords(args) !== undefined || wantsQuiet(args.options);
}

/**
 * Writes the launcher into the state directory, and returns its path.
 *
 * @throws {StateDirError} if it cannot
 */
export function placeLauncher(system: Pick<System, "env" | "uid">): string {
  const dir = openStateDir(system);
  const path = `${dir}/ssh`;
  const text = launcherText({ ...launcherSettings(), uid: system.uid() ?? 0, bin: dir });
  if (text === undefined) throw new StateDirError(`sh cannot hold the path ${dir}`, CHOOSE_ANOTHER);
  try {
    writeWhole(path, text, { mode: 0o700 });
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new StateDirError(`${path} cannot be written (${error.message})`, CHOOSE_ANOTHER);
  }
  return path;
}
