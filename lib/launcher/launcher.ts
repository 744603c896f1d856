/**
 * The library, the directory of what an installed `ssh` runs:
 *
 *     launcher.sh   the launcher, below a head with what it must know of the program; and its other files
 *     program       where Deno and the program are, in sh
 *     sshs.js       the program in one file
 *     bin/          ssh, scp, sftp, sshs and proxy: one script, which runs the launcher
 *
 * It is PREFIX/lib/sshs, and the commands in PREFIX/bin are links to those in its bin. After `deno install`
 * alone it is in the state directory.
 */
import { readText, realPathOf } from "../os/files.ts";
import {
  DENO,
  FLAGS,
  inPath,
  isBundle,
  PROGRAM,
  quote,
  SLEEPER_FLAGS,
  VERSION,
} from "../os/program.ts";
import type { System } from "../os/system.ts";
import { Complaint } from "../os/terminal.ts";
import { LETTERS } from "../ssh/arguments.ts";
import { LAUNCHER_MARK } from "../ssh/real_ssh.ts";
import type { NewFile } from "./new_files.ts";
import ask from "./ask.sh" with { type: "text" };
import closed from "./closed.sh" with { type: "text" };
import launcher from "./launcher.sh" with { type: "text" };
import login from "./login.sh" with { type: "text" };
import roles from "./roles.sh" with { type: "text" };
import settle from "./settle.sh" with { type: "text" };
import wait from "./wait.sh" with { type: "text" };

/** The commands that are installed, and the stand-in for a shell that runs a ProxyCommand. */
export const COMMANDS = ["ssh", "scp", "sftp", "sshs"] as const;
const SCRIPTS = [...COMMANDS, "proxy"];

/** What the launcher must know of the program. */
const HEAD = Object.entries({
  version: VERSION,
  letters: LETTERS,
  flags: FLAGS.join(" "),
  sleeper_flags: SLEEPER_FLAGS.join(" "),
}).map(([name, value]) => `sshs_${name}=${quote(value)}\n`).join("");

/** The files of the launcher, by name. The first begins with the head; the others have functions alone. */
export const LAUNCHER = {
  "launcher.sh": HEAD + launcher,
  "settle.sh": settle,
  "ask.sh": ask,
  "wait.sh": wait,
  "login.sh": login,
  "roles.sh": roles,
};

/** The line from which the launcher acts. */
const BEGIN = '\nsshs_begin "$@"\n';

/** Returns the argv that runs the launcher without a library, all of it in one text, under the name `sshs`. */
export function bareLauncher(): string[] {
  const [first, ...others] = Object.values(LAUNCHER);
  const all = ["", ...others, "sshs_more() { :; }"].join("\n");
  const text = first.replace(BEGIN, () => all + BEGIN);
  return ["/bin/sh", "-c", `sshs_lib=''\n${text}`, "sshs"];
}

/**
 * Returns the files of a library whose path is absolute, the scripts last.
 *
 * @param program the path of the program
 * @throws {Complaint} if sh cannot hold a path
 */
export function libraryFiles(library: string, program: string, deno: string): NewFile[] {
  const [lib, sshs_deno, sshs_program] = [library, deno, program].map((path) => {
    const word = quote(path);
    if (word === undefined) throw new Complaint(`sh cannot hold the path ${path}`);
    return word;
  });
  const script = `#!/bin/sh
${LAUNCHER_MARK}
sshs_lib=${lib}
[ ! -r "$sshs_lib/launcher.sh" ] || . "$sshs_lib/launcher.sh"
exec "/usr/bin/\${0##*/}" "$@" # the library is gone
`;
  return [
    ...Object.entries({
      ...LAUNCHER,
      "closed.sh": closed,
      "program": `sshs_deno=${sshs_deno}\nsshs_program=${sshs_program}\n`,
    }).map(([name, text]) => ({ path: `${library}/${name}`, text })),
    ...SCRIPTS.map((name) => ({
      path: `${library}/bin/${name}`,
      text: script,
      kind: "program" as const,
    })),
  ];
}

/**
 * Returns the path of the Deno that runs this program: as it is in PATH, if it is, since that outlives an
 * upgrade of a package.
 */
export function denoPath(system: Pick<System, "env">): string {
  return inPath("deno", system.env("PATH")).find((path) => realPathOf(path) === realPathOf(DENO)) ??
    DENO;
}

/**
 * Returns the text of the program.
 *
 * @throws {Complaint} if it is not in one file, or cannot be read
 */
export async function programText(system: Pick<System, "run">): Promise<string> {
  if (!isBundle) throw new Complaint(`${PROGRAM} is not all of sshs`, "deno task bundle");
  let path = PROGRAM;
  if (!path.startsWith("/")) {
    // What `deno install` has fetched.
    const { stdout } = await system.run(DENO, ["info", "--json", "--no-config", PROGRAM]);
    path = JSON.parse(stdout || "{}").modules?.[0]?.local;
  }
  const text = path && readText(path);
  if (!text) throw new Complaint(`${PROGRAM} cannot be read`);
  return text.replace(/\n\/\/ denoCacheMetadata=.*$/, "");
}
