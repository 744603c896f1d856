/**
 * `sshs --install`, `--uninstall` and `--completions`. What is installed:
 *
 *     PREFIX/lib/sshs/                 the library: launcher.ts
 *     PREFIX/lib/sshs/made             the directories that were made, which removing takes away
 *     PREFIX/bin/{ssh,scp,sftp,sshs}   links to the library's scripts
 *     PREFIX/share/...                 the manual and the completions
 *
 * Nothing in it depends on who installs: an installation of root's serves every user.
 */
import { basename } from "@std/path/posix/basename";
import { dirname } from "@std/path/posix/dirname";
import manual from "../../sshs.1" with { type: "text" };
import { allStateDirs, removeState } from "../lane/state_dir.ts";
import bash from "../launcher/completions/sshs.bash" with { type: "text" };
import fish from "../launcher/completions/sshs.fish" with { type: "text" };
import zsh from "../launcher/completions/sshs.zsh" with { type: "text" };
import { COMMANDS, denoPath, libraryFiles, programText } from "../launcher/launcher.ts";
import { putInPlace } from "../launcher/new_files.ts";
import { pathLine, shellOf, startupFile } from "../launcher/startup_lines.ts";
import { exists, readText, realPathOf, removeIfEmpty, removePath } from "../os/files.ts";
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
import { isLauncher } from "../ssh/real_ssh.ts";
import { type Here, type Words, WrongUse } from "./command.ts";
import { lanesMeant, stopLanes } from "./stop.ts";

/** Where the library is below a prefix, and what `deno install` keeps for its `sshs` there. */
const [LIBRARY, SHIM_DIR] = ["/lib/sshs", "/bin/.sshs"];

/** Where zsh's completion is below a prefix. */
const ZSH_DIR = "/share/zsh/site-functions";

/** The completions of `sshs`, by shell. */
const COMPLETIONS: Record<string, string> = { bash, zsh, fish };

/** What is below a prefix besides the library and its links. */
const SHARED = Object.entries({
  "/share/man/man1/sshs.1": manual,
  "/share/bash-completion/completions/sshs": bash,
  [`${ZSH_DIR}/_sshs`]: zsh,
  "/share/fish/vendor_completions.d/sshs.fish": fish,
});

/** Returns the prefix of an installation with that library; `undefined` if it is not in one. */
function prefixOf(library: string): string | undefined {
  return library.endsWith(LIBRARY) ? library.slice(0, -LIBRARY.length) : undefined;
}

/** Returns the paths of the commands. */
function commandsOf(prefix: string): string[] {
  return COMMANDS.map((name) => `${prefix}/bin/${name}`);
}

/** The library of this program, if it is in one: the state directory's after `deno install` alone. */
const OWN = dirname(PROGRAM);

/** Installs below `prefix`, else where this program is installed, else in ~/.local. */
export async function installCommand({ options }: Words, { system }: Here): Promise<void> {
  if (isDenoTooOld()) {
    const found = `Deno ${DENO_VERSION} at ${DENO}`;
    throw new Complaint(`${found} is older than ${OLDEST_DENO}`, "deno upgrade");
  }
  const where = absolute(options.prefix, system);
  await install(where, system);
  report(where, system);
}

/**
 * Removes what was installed, and closes what is shared, unless another installation uses it; open sessions
 * end only if `now`.
 */
export async function uninstallCommand({ options }: Words, here: Here): Promise<void> {
  const { given, system } = here;
  const where = absolute(options.prefix, system);
  // After `deno install` alone there is only what is in the state directory.
  const isAlone = options.prefix === undefined && basename(OWN) === "launcher";
  const wasInstalled = exists(where + LIBRARY) || commandsOf(where).some(isOurs);
  if (!wasInstalled && !isAlone) {
    throw new Complaint(`sshs is not installed in ${where}`, "sshs --uninstall --prefix DIR");
  }
  const other = otherLauncher(where, system);
  if (other === undefined) {
    await stopLanes(await lanesMeant(here), "now" in options, here);
  } else {
    // A plan for a call through a jump host names the launcher that asked for it.
    for (const dir of allStateDirs(given, system)) removePath(`${dir}/plans`);
  }
  uninstall(where);
  // Last, since what runs may be in there.
  if (other === undefined) removeState(given, system);
  print(`sshs is removed from ${wasInstalled ? where : "its state directory"}`);
  if (other !== undefined) print(`shared connections are left to ${other}`);
  print("Left, for you to remove if nothing else needs it:", ...leftovers(where, system));
}

/** Prints the completions of `sshs` for a shell. */
export function completions({ argv: [shell, ...rest] }: Words): void {
  if (!Object.hasOwn(COMPLETIONS, shell ?? "") || rest.length > 0) {
    throw new WrongUse("--completions takes the name of a shell");
  }
  print(COMPLETIONS[shell].trimEnd());
}

/** Returns a prefix without a slash at its end. */
function absolute(prefix: string | undefined, system: Pick<System, "env" | "cwd">): string {
  if (prefix === "") throw new WrongUse("--prefix takes a directory");
  const home = system.env("HOME");
  const found = prefix ?? prefixOf(OWN) ?? (home && `${home}/.local`);
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

/**
 * Puts all files in place, the commands last. Replaces another version; installing twice is the same as once.
 *
 * @param prefix an absolute path
 * @throws {Complaint} if something that is not ours is in the way, or a file cannot be written; nothing has
 * changed then
 */
async function install(prefix: string, system: Pick<System, "env" | "run">): Promise<void> {
  const commands = commandsOf(prefix);
  const foreign = commands.find((path) => exists(path) && !isOurs(path));
  if (foreign) {
    const word = quote(foreign);
    throw new Complaint(`${foreign} is not a launcher of sshs`, `mv ${word} ${word}.other`);
  }
  const library = prefix + LIBRARY;
  const program = `${library}/sshs.js`;
  const wasShim = commands.some(isShim);
  putInPlace([
    { path: program, text: await programText(system) },
    ...SHARED.map(([path, text]) => ({ path: prefix + path, text })),
    ...libraryFiles(library, program, denoPath(system)),
    ...commands.map((path, i) => (
      { path, text: `${library}/bin/${COMMANDS[i]}`, kind: "link" as const }
    )),
  ], { isShared: true, list: `${library}/made` });
  if (wasShim) removePath(prefix + SHIM_DIR);
}

/**
 * Removes all that {@linkcode install} wrote, and the directories it made that are empty now.
 *
 * @throws {Complaint} if a package brought it: nothing is noted then of what was made
 */
function uninstall(prefix: string): void {
  const library = prefix + LIBRARY;
  const made = readText(`${library}/made`)?.split("\n").filter(Boolean);
  if (made === undefined && exists(`${library}/launcher.sh`)) {
    throw new Complaint(`${library} came with a package`, "remove that package");
  }
  const commands = commandsOf(prefix).filter(isOurs);
  if (commands.some(isShim)) removePath(prefix + SHIM_DIR);
  for (const path of [...commands, ...SHARED.map(([path]) => prefix + path), library]) {
    removePath(path);
  }
  made?.forEach(removeIfEmpty);
}

/**
 * Returns a launcher of another installation, which uses the same shared connections: in PATH, or in
 * the library of this program. `undefined` if there is none.
 */
function otherLauncher(prefix: string, system: Pick<System, "env">): string | undefined {
  const known = COMMANDS.flatMap((name) => inPath(name, system.env("PATH")));
  if (prefixOf(OWN) !== undefined) known.push(`${OWN}/bin/ssh`);
  // There may be links to ours; 0.2.0 had no library.
  const ours = [LIBRARY, "/bin"].map((dir) => `${realPathOf(prefix + dir)}/`);
  return known.filter(isLauncher)
    .find((path) => !ours.some((dir) => realPathOf(path)?.startsWith(dir)));
}

/** Whether what is at the path of a command may be replaced. */
function isOurs(path: string): boolean {
  return isLauncher(path) === true || isShim(path);
}

/** Whether there is what `deno install` makes: PREFIX/bin/sshs, if a user began with it. */
function isShim(path: string): boolean {
  return path.endsWith("/sshs") && readText(path)?.split("\n")[1] === "# generated by deno install";
}
