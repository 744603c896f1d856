/** This program as others start it: the command line that runs it again. */
import { fromFileUrl } from "@std/path/posix/from-file-url";

/** Every permission it needs, and why: the README repeats them, install.sh reads them from here. */
export const PERMISSIONS = [
  "--allow-read", // sockets, leases, ssh's config files, wherever they are
  "--allow-write", // the state directory; a control socket is opened for writing
  "--allow-env", // PATH, SSH_AUTH_SOCK and the like; the ssh that we become inherits all of it
  "--allow-run", // ssh -G, the master, the sleeper
  "--allow-ffi", // execv
  "--allow-net", // control sockets: Deno counts unix sockets as net
  "--allow-sys=uid,networkInterfaces", // whose directory it is; which local addresses are left
] as const;

/** Starts fast, finds all it needs in its one file, and asks the user nothing. */
export const FLAGS = [
  "--quiet",
  "--no-config",
  "--no-lock",
  "--no-prompt",
  "--no-check",
  "--no-npm",
  "--cached-only",
] as const;

/**
 * The sleeper works for some ms each 5 s: compilers and threads of V8 that wait for more to do double
 * its CPU (0.36 % with 50 lanes instead of 0.15 %).
 */
const V8_OF_SLEEPER = "--lite-mode,--single-threaded,--max-semi-space-size=1,--expose-gc";
const SLEEPER_FLAGS = [`--v8-flags=${V8_OF_SLEEPER}`];

/** The version of sshs. A sleeper or a plan of another version is not used. */
export const VERSION = "0.1.0";

/** The argv that runs this program again with `args`, by absolute paths. */
export function programCommand(...args: string[]): string[] {
  return commandWith([], args);
}

/** The argv that runs the sleeper of a state directory. */
export function sleeperCommand(stateDir: string): string[] {
  return commandWith(SLEEPER_FLAGS, ["--sleeper", stateDir]);
}

function commandWith(flags: readonly string[], args: readonly string[]): string[] {
  const main = new URL(Deno.mainModule);
  const words = main.protocol === "file:"
    ? [...FLAGS, "--no-remote", ...PERMISSIONS, fromFileUrl(main)]
    : [...FLAGS, ...PERMISSIONS, main.href];
  return [Deno.execPath(), "run", ...flags, ...words, ...args];
}
