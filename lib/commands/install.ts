/** `sshs --install`, `--uninstall` and `--completions`. */
import { basename } from "@std/path/posix/basename";
import { dirname } from "@std/path/posix/dirname";
import { plansDir } from "../lane/layout.ts";
import { allStateDirs, removeState } from "../lane/state_dir.ts";
import {
  COMPLETIONS,
  ELSEWHERE,
  fpathLine,
  install,
  InstallError,
  isInstalled,
  otherLauncher,
  ownPrefix,
  pathLine,
  type Places,
  placesBelow,
  shellOf,
  startupFile,
  uninstall,
} from "../launcher/install.ts";
import { isSystemError, removePath } from "../os/files.ts";
import { DENO, DENO_VERSION, inPath, isDenoTooOld, OLDEST_DENO, VERSION } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { print, say } from "../os/terminal.ts";
import { isLauncher } from "../ssh/real_ssh.ts";
import type { Shell } from "./command.ts";
import { stop, type StopSystem } from "./stop.ts";

type InstallSystem = Pick<System, "env" | "run" | "uid" | "cwd">;

/** Installs below `prefix`, else where this program is installed, else in ~/.local. Returns 1 on failure. */
export async function installCommand(
  prefix: string | undefined,
  system: InstallSystem,
): Promise<number> {
  return await orSay(async () => {
    if (isDenoTooOld()) {
      throw new InstallError(
        `Deno ${DENO_VERSION} at ${DENO} is older than ${OLDEST_DENO}`,
        "deno upgrade",
      );
    }
    const places = placesBelow(absolute(prefix, system));
    await install(places, system);
    report(places, system);
  });
}

/**
 * Removes what was installed. Stops all lanes and removes the state, unless another installation uses them.
 * Returns 1 on failure.
 */
export async function uninstallCommand(
  prefix: string | undefined,
  system: InstallSystem & StopSystem,
): Promise<number> {
  return await orSay(async () => {
    const where = absolute(prefix, system);
    const places = placesBelow(where);
    if (!isInstalled(places)) {
      throw new InstallError(`sshs is not installed in ${where}`, "sshs --uninstall --prefix DIR");
    }
    const other = otherLauncher(places, system);
    if (other === undefined) {
      await stop(undefined, true, system);
      removeState(system);
    } else {
      // A plan for a call through a jump host names the launcher that asked for it.
      for (const dir of allStateDirs(system)) removePath(plansDir(dir));
    }
    uninstall(places);
    print(`sshs is removed from ${where}`);
    if (other !== undefined) print(`shared connections are left to ${other}`);
  });
}

/** Prints the completions of `sshs` for a shell. */
export function completions(shell: Shell): number {
  print(COMPLETIONS[shell].trimEnd());
  return 0;
}

async function orSay(act: () => Promise<void>): Promise<number> {
  try {
    await act();
    return 0;
  } catch (error) {
    if (!(error instanceof InstallError) && !isSystemError(error)) throw error;
    say({ fault: error.message, hint: error instanceof InstallError ? error.hint : undefined });
    return 1;
  }
}

function absolute(prefix: string | undefined, system: Pick<System, "env" | "cwd">): string {
  if (prefix !== undefined) return prefix.startsWith("/") ? prefix : `${system.cwd()}/${prefix}`;
  const home = system.env("HOME");
  const found = ownPrefix() ?? (home && `${home}/.local`);
  if (!found) throw new InstallError("HOME is not set", ELSEWHERE);
  return found;
}

function report(places: Places, system: Pick<System, "env">): void {
  const shell = shellOf(system);
  const isZsh = basename(shell) === "zsh";
  const first = inPath("ssh", system.env("PATH")).find((path) => isLauncher(path) !== undefined);
  const lines = [
    ...isZsh ? [fpathLine(dirname(places.completions.zsh))] : [],
    ...first === `${places.bin}/ssh` ? [] : [pathLine(shell, places.bin)],
  ];
  const where = isZsh ? `${startupFile(shell)}, before compinit` : startupFile(shell);
  print(
    `sshs ${VERSION} is installed:`,
    `  ${places.bin}/sshs`,
    `  ${places.bin}/ssh, scp, sftp`,
    `  ${places.program}`,
    `  man page and completions in ${dirname(dirname(dirname(places.manual)))}`,
    "",
    ...lines.length > 0
      ? [`Add to ${where}, and run here:`, ...lines.map((line) => `  ${line}`), ""]
      : [],
    "Then try:",
    "  ssh HOST true",
    "  sshs --list",
  );
}
