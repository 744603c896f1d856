/**
 * Programs: how others run this one again, and how it becomes, or runs, another.
 *
 * This process becomes ssh. The session's process then *is* ssh, so its pid, terminal, signals and exit
 * status need no forwarding. If it cannot become ssh, ssh runs as a child with our streams.
 */
import { fromFileUrl } from "@std/path/posix/from-file-url";
import { execv } from "./libc.ts";
import { unlessGone } from "./files.ts";
import { say } from "./terminal.ts";

/** The version of sshs. A sleeper or a plan of another version is not used. */
export const VERSION = "0.3.0";

/**
 * The oldest Deno that has all we use: `FsFile.tryLockSync` came with 2.7, and this is its first release
 * on npm. Before 2.8, text imports need `--unstable-raw-imports`. deno.sh reads the version from here.
 */
export const OLDEST_DENO = "2.7.1";

/**
 * The flags of Deno for the program, which has all it needs in its one file: for a fast start, without
 * questions to the user. A program that may run any program is not confined by a list of what else it may
 * do, so it has all permissions. None contains a blank.
 */
export const FLAGS: readonly string[] = [
  ...["--quiet", "--no-config", "--no-lock", "--no-prompt", "--no-check", "--cached-only"],
  ...["--no-npm", "--no-remote", "--allow-all"],
];

/**
 * The sleeper works for a few ms every 5 s. V8's compilers and threads, waiting for more work, would double
 * its CPU time (0.36 % with 50 lanes instead of 0.15 %).
 */
export const SLEEPER_FLAGS = [
  "--v8-flags=--lite-mode,--single-threaded,--max-semi-space-size=1,--expose-gc",
];

const MAIN: string = Deno.mainModule;

/** The path of the file that this program was started from, or the URL if it is not a file. */
export const PROGRAM: string = MAIN.startsWith("file:") ? fromFileUrl(MAIN) : MAIN;

/** Whether the whole program is in one file: only then is this module the main one. */
export const isBundle: boolean = import.meta.url === MAIN;

/** The arguments that this process was started with. */
export const ARGS: readonly string[] = Deno.args;

/** The Deno that runs this program. */
export const DENO: string = Deno.execPath();

export const DENO_VERSION: string = Deno.version.deno;

/** Whether that Deno is older than {@linkcode OLDEST_DENO}. */
export function isDenoTooOld(version: string = DENO_VERSION): boolean {
  return version.localeCompare(OLDEST_DENO, "en", { numeric: true }) < 0;
}

/**
 * Removes the directory that Deno puts first in PATH if there is no node: it contains a `node` that is
 * Deno, for programs that its children start (since 2.9, denoland/deno#34969).
 */
export function restorePath(): void {
  const mark = "DENO_NODE_SHIM_ACTIVE";
  const [first, ...users] = (Deno.env.get("PATH") ?? "").split(":");
  if (!Deno.env.has(mark) || !first.endsWith("/node_compat_bin")) return;
  Deno.env.delete(mark);
  // If nothing else is in PATH, it was not set.
  if (users.length > 0) Deno.env.set("PATH", users.join(":"));
  else Deno.env.delete("PATH");
}

/** Returns the absolute paths that a program of this name can have in a PATH, in order. */
export function inPath(name: string, path = ""): string[] {
  return path.split(":").filter((dir) => dir.startsWith("/"))
    .map((dir) => `${dir.replace(/\/+$/, "")}/${name}`);
}

/** What Deno.args has in place of bytes that are not UTF-8. */
export const LOST = "\uFFFD";

/**
 * Becomes the program at `path`, with this process's environment. Its argv is `path`, `before`, and
 * `argv`, the last words of this process's own, byte for byte. Never returns: exits with the program's
 * status if it had to run as a child.
 */
export async function become(
  path: string,
  before: readonly string[],
  argv: readonly string[],
): Promise<never> {
  const words = [path, ...before, ...argv].map((word) => new TextEncoder().encode(`${word}\0`));
  if (argv.some((word) => word.includes(LOST))) {
    const own = unlessGone(() => Deno.readFileSync("/proc/self/cmdline"));
    if (!own) {
      say({ fault: "an argument is not UTF-8, and this system does not tell its bytes" });
      Deno.exit(255);
    }
    let start = own.length;
    for (let n = 0; n < argv.length; n++) start = own.lastIndexOf(0, start - 2) + 1;
    words.splice(-argv.length, argv.length, own.subarray(start));
  }
  execv(new Uint8Array(words.flatMap((word) => [...word])));
  // No libc under a name that we know: the next best is to wait for it.
  const { code } = await new Deno.Command(path, { args: [...before, ...argv] }).spawn().status;
  Deno.exit(code);
}

/**
 * Returns any text as one sh word in single quotes. `undefined` for a text that no shell can hold (NUL) or
 * that Deno could not hold: U+FFFD replaces bytes of an argument or a path that are not valid UTF-8, so
 * the original bytes are unknown.
 */
export function quote(text: string): string | undefined {
  if (!text.isWellFormed() || /[\0\uFFFD]/.test(text)) return undefined;
  return `'${text.replaceAll("'", "'\\''")}'`;
}
