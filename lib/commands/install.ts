/** `sshs --install`, `--uninstall` and `--completions`. */
import { basename } from "@std/path/posix/basename";
import { dirname } from "@std/path/posix/dirname";
import { plansDir } from "../lane/layout.ts";
import { allStateDirs, removeState } from "../lane/state_dir.ts";
import {
  COMPLETIONS,
  install,
  isInstalled,
  isShim,
  otherLauncher,
  type Places,
  placesBelow,
  prefixOf,
  uninstall,
} from "../launcher/install.ts";
import { denoPath } from "../launcher/launcher.ts";
import { InstallError } from "../launcher/new_files.ts";
import { fpathLine, pathLine, shellOf, startupFile } from "../launcher/startup_lines.ts";
import { exists, isSystemError, removePath } from "../os/files.ts";
import {
  DENO,
  DENO_VERSION,
  inPath,
  isDenoTooOld,
  OLDEST_DENO,
  PROGRAM,
  VERSION,
} from "../os/program.ts";
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { print, say } from "../os/terminal.ts";
import type { Shell } from "./command.ts";
import { stop, type StopSystem } from "./stop.ts";

/** The library of this program, if it is in one: the state directory's after `deno install` alone. */
const LIBRARY = dirname(PROGRAM);

/** Installs below `prefix`, else where this program is installed, else in ~/.local. Returns 1 on failure. */
export async function installCommand(
  prefix: string | undefined,
  system: Pick<System, "env" | "run" | "cwd">,
): Promise<number> {
  return await orSay(async () => {
    if (isDenoTooOld()) {
      const found = `Deno ${DENO_VERSION} at ${DENO}`;
      throw new InstallError(`${found} is older than ${OLDEST_DENO}`, "deno upgrade");
    }
    const places = placesBelow(absolute(prefix, system));
    await install(places, system);
    report(places, system);
  });
}

/**
 * Removes what was installed, and closes what is shared, unless another installation uses it; open sessions
 * end only if `now`. Returns 1 on failure.
 */
export async function uninstallCommand(
  prefix: string | undefined,
  now: boolean,
  given: Given,
  system: StopSystem & Pick<System, "uid" | "cwd">,
): Promise<number> {
  return await orSay(async () => {
    const where = absolute(prefix, system);
    const places = placesBelow(where);
    // After `deno install` alone there is only what is in the state directory.
    const isAlone = prefix === undefined && basename(LIBRARY) === "launcher";
    const wasInstalled = isInstalled(places);
    if (!wasInstalled && !isAlone) {
      throw new InstallError(`sshs is not installed in ${where}`, "sshs --uninstall --prefix DIR");
    }
    const other = otherLauncher(places, LIBRARY, system);
    if (other === undefined) {
      await stop(undefined, now, given, system);
    } else {
      // A plan for a call through a jump host names the launcher that asked for it.
      for (const dir of allStateDirs(given, system)) removePath(plansDir(dir));
    }
    uninstall(places);
    // Last, since what runs may be in there.
    if (other === undefined) removeState(given, system);
    print(`sshs is removed from ${wasInstalled ? where : "its state directory"}`);
    if (other !== undefined) print(`shared connections are left to ${other}`);
    for (const line of leftovers(places, system)) print(line);
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
  const found = prefixOf(LIBRARY) ?? (home && `${home}/.local`);
  if (!found) throw new InstallError("HOME is not set", "sshs --install --prefix DIR");
  return found;
}

function report(places: Places, system: Pick<System, "env">): void {
  const shell = shellOf(system);
  const isZsh = basename(shell) === "zsh";
  const first = inPath("ssh", system.env("PATH")).find(exists);
  const lines = [
    ...isZsh ? [fpathLine(dirname(places.completions.zsh))] : [],
    ...first === `${places.bin}/ssh` ? [] : [pathLine(shell, places.bin)],
  ];
  const home = `${system.env("HOME")}/`;
  if (DENO.startsWith(home) && !places.bin.startsWith(home)) {
    say({
      fault: `other users cannot run ${DENO}, so that their calls are plain ssh`,
      hint: "install Deno for all users, then sshs once more",
    });
  }
  const where = isZsh ? `${startupFile(shell)}, before compinit` : startupFile(shell);
  print(
    `sshs ${VERSION} is installed: ssh, scp, sftp and sshs in ${places.bin}`,
    ...lines.length > 0 ? ["", `Add to ${where}, and run here:`] : [],
    ...lines.map((line) => `  ${line}`),
    ...["", "Then try:", "  ssh HOST true", "  sshs --list"],
  );
}

/** Says what is left of the user's own. */
function* leftovers(places: Places, system: Pick<System, "env">): Generator<string> {
  const settings = `${system.env("XDG_CONFIG_HOME") ?? `${system.env("HOME")}/.config`}/sshs`;
  const shim = inPath("sshs", system.env("PATH")).find(isShim);
  const left = [
    ...system.env("PATH")?.split(":").includes(places.bin)
      ? [`the line for ${places.bin} in ${startupFile(shellOf(system))}`]
      : [],
    ...exists(settings) ? [settings] : [],
    ...shim ? [`${shim}: deno uninstall --global sshs`] : [],
    `Deno: ${denoPath(system)}`,
  ];
  yield "Left, for you to remove if nothing else needs it:";
  for (const what of left) yield `  ${what}`;
}
