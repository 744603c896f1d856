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
  prefixOf,
  uninstall,
  ZSH_DIR,
} from "../launcher/install.ts";
import { denoPath } from "../launcher/launcher.ts";
import { pathLine, shellOf, startupFile } from "../launcher/startup_lines.ts";
import { exists, removePath } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import {
  DENO,
  DENO_VERSION,
  inPath,
  isDenoTooOld,
  OLDEST_DENO,
  PROGRAM,
  quote,
  VERSION,
} from "../os/program.ts";
import type { System } from "../os/system.ts";
import { Complaint, print, say } from "../os/terminal.ts";
import type { Shell } from "./command.ts";
import { stop, type StopSystem } from "./stop.ts";

/** The library of this program, if it is in one: the state directory's after `deno install` alone. */
const LIBRARY = dirname(PROGRAM);

/** Installs below `prefix`, else where this program is installed, else in ~/.local. */
export async function installCommand(
  prefix: string | undefined,
  system: Pick<System, "env" | "run" | "cwd">,
): Promise<number> {
  if (isDenoTooOld()) {
    const found = `Deno ${DENO_VERSION} at ${DENO}`;
    throw new Complaint(`${found} is older than ${OLDEST_DENO}`, "deno upgrade");
  }
  const where = absolute(prefix, system);
  await install(where, system);
  report(where, system);
  return 0;
}

/**
 * Removes what was installed, and closes what is shared, unless another installation uses it; open sessions
 * end only if `now`.
 */
export async function uninstallCommand(
  prefix: string | undefined,
  now: boolean,
  given: Given,
  system: StopSystem & Pick<System, "uid" | "cwd">,
): Promise<number> {
  const where = absolute(prefix, system);
  // After `deno install` alone there is only what is in the state directory.
  const isAlone = prefix === undefined && basename(LIBRARY) === "launcher";
  const wasInstalled = isInstalled(where);
  if (!wasInstalled && !isAlone) {
    throw new Complaint(`sshs is not installed in ${where}`, "sshs --uninstall --prefix DIR");
  }
  const other = otherLauncher(where, LIBRARY, system);
  if (other === undefined) {
    await stop(undefined, now, given, system);
  } else {
    // A plan for a call through a jump host names the launcher that asked for it.
    for (const dir of allStateDirs(given, system)) removePath(plansDir(dir));
  }
  uninstall(where);
  // Last, since what runs may be in there.
  if (other === undefined) removeState(given, system);
  print(`sshs is removed from ${wasInstalled ? where : "its state directory"}`);
  if (other !== undefined) print(`shared connections are left to ${other}`);
  print("Left, for you to remove if nothing else needs it:", ...leftovers(where, system));
  return 0;
}

/** Prints the completions of `sshs` for a shell. */
export function completions(shell: Shell): number {
  print(COMPLETIONS[shell].trimEnd());
  return 0;
}

/** Returns a prefix without a slash at its end. */
function absolute(prefix: string | undefined, system: Pick<System, "env" | "cwd">): string {
  const home = system.env("HOME");
  const found = prefix ?? prefixOf(LIBRARY) ?? (home && `${home}/.local`);
  if (!found) throw new Complaint("HOME is not set", "sshs --install --prefix DIR");
  return (found.startsWith("/") ? found : `${system.cwd()}/${found}`).replace(/\/+$/, "");
}

function report(prefix: string, system: Pick<System, "env">): void {
  const [shell, bin] = [shellOf(system), `${prefix}/bin`];
  const isZsh = basename(shell) === "zsh";
  const isFirst = inPath("ssh", system.env("PATH")).find(exists) === `${bin}/ssh`;
  const lines = [
    ...isZsh ? [`fpath=(${quote(prefix + ZSH_DIR)} $fpath)`] : [],
    ...isFirst ? [] : [pathLine(shell, bin)],
  ];
  const home = `${system.env("HOME")}/`;
  if (DENO.startsWith(home) && !bin.startsWith(home)) {
    say({
      fault: `other users cannot run ${DENO}, so that their calls are plain ssh`,
      hint: "install Deno for all users, then sshs once more",
    });
  }
  print(`sshs ${VERSION} is installed: ssh, scp, sftp and sshs in ${bin}`);
  if (lines.length > 0) {
    const where = startupFile(shell) + (isZsh ? ", before compinit" : "");
    print("", `Add to ${where}, and run here:`, ...lines.map((line) => `  ${line}`));
  }
  print("", "Then try:", "  ssh HOST true", "  sshs --list");
}

/** Returns what is left of the user's own, a line each. */
function leftovers(prefix: string, system: Pick<System, "env">): string[] {
  const bin = `${prefix}/bin`;
  const settings = `${system.env("XDG_CONFIG_HOME") ?? `${system.env("HOME")}/.config`}/sshs`;
  const shim = inPath("sshs", system.env("PATH")).find(isShim);
  const isInPath = system.env("PATH")?.split(":").includes(bin);
  return [
    isInPath ? `the line for ${bin} in ${startupFile(shellOf(system))}` : "",
    exists(settings) ? settings : "",
    shim ? `${shim}: deno uninstall --global sshs` : "",
    `Deno: ${denoPath(system)}`,
  ].filter(Boolean).map((what) => `  ${what}`);
}
