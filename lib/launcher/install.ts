/**
 * Installs and removes sshs:
 *
 *     PREFIX/lib/sshs/                 the library: launcher.ts
 *     PREFIX/lib/sshs/made             the directories that were made, which removing takes away
 *     PREFIX/bin/{ssh,scp,sftp,sshs}   links to the library's scripts
 *     PREFIX/share/...                 the manual and the completions
 *
 * Nothing in it depends on who installs: an installation of root's serves every user.
 */
import manual from "../../sshs.1" with { type: "text" };
import { exists, readText, realPathOf, removeIfEmpty, removePath } from "../os/files.ts";
import { inPath, quote } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { Complaint } from "../os/terminal.ts";
import { isLauncher } from "../ssh/real_ssh.ts";
import bash from "./completions/sshs.bash" with { type: "text" };
import fish from "./completions/sshs.fish" with { type: "text" };
import zsh from "./completions/sshs.zsh" with { type: "text" };
import { COMMANDS, denoPath, libraryFiles, programText } from "./launcher.ts";
import { putInPlace } from "./new_files.ts";

/** Where the library is below a prefix, and what `deno install` keeps for its `sshs` there. */
const [LIBRARY, SHIM_DIR] = ["/lib/sshs", "/bin/.sshs"];

/** Where zsh's completion is below a prefix. */
export const ZSH_DIR = "/share/zsh/site-functions";

/** The completions of `sshs`, by shell. */
export const COMPLETIONS = { bash, zsh, fish } as const satisfies Record<string, string>;

/** What is below a prefix besides the library and its links. */
const SHARED = Object.entries({
  "/share/man/man1/sshs.1": manual,
  "/share/bash-completion/completions/sshs": bash,
  [`${ZSH_DIR}/_sshs`]: zsh,
  "/share/fish/vendor_completions.d/sshs.fish": fish,
});

/** Returns the prefix of an installation with that library; `undefined` if it is not in one. */
export function prefixOf(library: string): string | undefined {
  return library.endsWith(LIBRARY) ? library.slice(0, -LIBRARY.length) : undefined;
}

/** Returns the paths of the commands. */
function commandsOf(prefix: string): string[] {
  return COMMANDS.map((name) => `${prefix}/bin/${name}`);
}

/**
 * Puts all files in place, the commands last. Replaces another version; installing twice is the same as once.
 *
 * @param prefix an absolute path
 * @throws {Complaint} if something that is not ours is in the way, or a file cannot be written; nothing has
 * changed then
 */
export async function install(
  prefix: string,
  system: Pick<System, "env" | "run">,
): Promise<void> {
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

/** Whether there is something of ours to remove. */
export function isInstalled(prefix: string): boolean {
  return exists(prefix + LIBRARY) || commandsOf(prefix).some(isOurs);
}

/**
 * Removes all that {@linkcode install} wrote, and the directories it made that are empty now.
 *
 * @throws {Complaint} if a package brought it: nothing is noted then of what was made
 */
export function uninstall(prefix: string): void {
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
 * `library`, that of this program. `undefined` if there is none.
 */
export function otherLauncher(
  prefix: string,
  library: string,
  system: Pick<System, "env">,
): string | undefined {
  const known = COMMANDS.flatMap((name) => inPath(name, system.env("PATH")));
  if (prefixOf(library) !== undefined) known.push(`${library}/bin/ssh`);
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
export function isShim(path: string): boolean {
  return path.endsWith("/sshs") && readText(path)?.split("\n")[1] === "# generated by deno install";
}
