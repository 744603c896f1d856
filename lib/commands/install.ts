/** `sshs --install`, `--uninstall` and `--completions`. */
import { removeState } from "../lane/state_dir.ts";
import {
  COMPLETIONS,
  fpathLine,
  install,
  InstallError,
  isInstalled,
  nameOf,
  ownPrefix,
  pathLine,
  type Places,
  placesBelow,
  startupFile,
  uninstall,
} from "../launcher/install.ts";
import { DENO, DENO_VERSION, isDenoTooOld, OLDEST_DENO, VERSION } from "../os/program.ts";
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

/** Stops all lanes, and removes the state and what was installed. Returns 1 on failure. */
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
    await stop(undefined, true, system);
    removeState(system);
    uninstall(places);
    print(`sshs is removed from ${where}`);
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
    if (!(error instanceof InstallError)) throw error;
    say({ fault: error.message, hint: error.hint });
    return 1;
  }
}

function absolute(prefix: string | undefined, system: Pick<System, "env" | "cwd">): string {
  if (prefix !== undefined) return prefix.startsWith("/") ? prefix : `${system.cwd()}/${prefix}`;
  const home = system.env("HOME");
  const found = ownPrefix() ?? (home && `${home}/.local`);
  if (!found) throw new InstallError("HOME is not set", "sshs --install --prefix DIR");
  return found;
}

function report(places: Places, system: Pick<System, "env">): void {
  const shell = system.env("SHELL") ?? "/bin/sh";
  const path = system.env("PATH") ?? "";
  const first = path.split(":").map((dir) => `${dir.replace(/\/+$/, "")}/ssh`)
    .find((ssh) => isLauncher(ssh) !== undefined);
  const lines = [
    ...nameOf(shell) === "zsh" ? [fpathLine(directoryOf(places.completions.zsh))] : [],
    ...first === `${places.bin}/ssh` ? [] : [pathLine(shell, places.bin)],
  ];
  print(
    `sshs ${VERSION} is installed:`,
    `  ${places.bin}/sshs`,
    `  ${places.bin}/ssh, scp, sftp`,
    `  ${places.program}`,
    `  man page and completions in ${directoryOf(directoryOf(directoryOf(places.manual)))}`,
    "",
    ...lines.length > 0
      ? [`Add to ${startupFile(shell)}, and run here:`, ...lines.map((line) => `  ${line}`), ""]
      : [],
    "Then try:",
    "  ssh HOST true",
    "  sshs --list",
  );
}

function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}
