/** Finds the programs that the tests run: those of this repository and of the system. */
import { fromFileUrl } from "@std/path/posix/from-file-url";
import { FLAGS } from "../../lib/os/program.ts";

/** The directory of the checkout; ends in a slash. */
export const REPOSITORY: string = fromFileUrl(new URL("../..", import.meta.url));

export const INSTALLER = `${REPOSITORY}install.sh`;

/** The bundle that `deno task bundle` writes. */
export const BUNDLE = `${REPOSITORY}dist/sshs.js`;

/** The words before the arguments of sshs: Deno with the flags and permissions of the installed program. */
export const SSHS: readonly string[] = [
  Deno.execPath(),
  "run",
  ...FLAGS,
  BUNDLE,
];

// An ordinary user's PATH has no sbin, where sshd is.
const PATH = `${Deno.env.get("PATH") ?? ""}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`;

/** Returns the absolute path of a program in `path` (PATH and the system's own), if it is installed. */
export function findProgram(name: string, path: string = PATH): string | undefined {
  for (const dir of path.split(":").filter((dir) => dir.startsWith("/"))) {
    try {
      const { isFile, mode } = Deno.statSync(`${dir}/${name}`);
      if (isFile && (mode! & 0o111) !== 0) return `${dir}/${name}`;
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
}

/**
 * Returns the absolute path of a program that a test needs.
 *
 * @throws {Error} when it is not installed
 */
export function needProgram(name: string): string {
  const file = findProgram(name);
  if (file === undefined) throw new Error(`Cannot find ${name}: tests/run.sh installs it`);
  return file;
}

/** Returns the system's python: a version manager's shim in PATH is slow, and needs its own environment. */
export function needPython(): string {
  return findProgram("python3", "/usr/bin") ?? needProgram("python3");
}

/** Runs a program of the system to its end; resolves to its stdout. */
export async function run(name: string, args: string[], input = ""): Promise<string> {
  const child = new Deno.Command(needProgram(name), {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, code, stdout, stderr } = await child.output();
  const text = new TextDecoder();
  if (!success) throw new Error(`${name} ${args.join(" ")}: ${code}: ${text.decode(stderr)}`);
  return text.decode(stdout);
}

function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory ||
    error instanceof Deno.errors.PermissionDenied;
}
