/**
 * The state directory: sockets, leases and plans. Whoever can write here can use every connection we
 * hold, so its owner, mode and type are verified at every use and nothing is repaired: a directory
 * that is not as we would have made it is not used at all.
 */
import { dirname } from "@std/path/posix/dirname";
import type { System } from "../os/system.ts";

/** Why the state directory cannot be used; the message ends in what to do about it. */
export class StateDirError extends Error {
  override name = "StateDirError";
}

/**
 * The longest state directory, in bytes: macOS' sun_path is 104 with its NUL, ssh binds a temporary
 * name 17 bytes longer than the socket (mux.c, muxserver_listen), and below the directory stand an
 * identity and a lane: `/0123456789abcdef/abcd.sock`.
 */
const MAX_BYTES = 103 - 17 - 27;

const STICKY = 0o1000;
const ROOT = 0;
/** In a user namespace: whoever has no number there, root among them (user_namespaces(7)). */
const UNMAPPED = 65534;

/** Where the state is kept: `SSHS_DIR`, else the user's runtime directory, else the temporary one. */
export function stateDirPath(system: Pick<System, "env" | "uid">): string {
  const chosen = system.env("SSHS_DIR");
  // A slash at the end would make lstat(2) follow a link.
  if (chosen) return chosen.replace(/(?<=.)\/+$/, "");
  const runtime = system.env("XDG_RUNTIME_DIR");
  // Under `sudo -E` it is somebody else's, and then none of ours.
  if (runtime && ownerOf(runtime) === system.uid()) return `${runtime}/sshs`;
  const temporary = `${(system.env("TMPDIR") || "/tmp").replace(/\/+$/, "")}/sshs-${system.uid()}`;
  // Nobody has chosen TMPDIR for us: one that will not do is no reason to complain.
  return isShort(temporary) && !isClosed(temporary) ? temporary : `/tmp/sshs-${system.uid()}`;
}

/** Whether a socket's path has room below. */
function isShort(path: string): boolean {
  return new TextEncoder().encode(path).length <= MAX_BYTES;
}

/** Whether Deno opens a path to nobody without all permissions (2.9): devices and the kernel's own files. */
export function isClosed(path: string): boolean {
  return /^\/(dev|proc|sys)(\/|$)/.test(path);
}

/**
 * Makes the state directory where there is none and verifies it. Returns its path.
 *
 * @throws {StateDirError} where it cannot be made or must not be trusted.
 */
export function openStateDir(system: Pick<System, "env" | "uid">): string {
  const path = stateDirPath(system);
  if (!path.startsWith("/")) throw refuse(path, "is not an absolute path");
  if (isClosed(path)) throw refuse(path, "is where Deno opens nothing to a program like this");
  if (!isShort(path)) {
    throw refuse(path, `is longer than the ${MAX_BYTES} bytes that leave room for a socket`);
  }
  // First, so that nothing of root's is left in a place that another user owns.
  verifyAbove(path, system.uid());
  makeDir(path);
  verify(path, system.uid());
  return path;
}

function makeDir(path: string): void {
  try {
    Deno.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    throw refuse(path, `cannot be made (${(error as Error).message})`);
  }
}

function verify(path: string, uid: number | null): void {
  const info = look(path, () => Deno.lstatSync(path));
  if (info.isSymlink) throw refuse(path, "is a symbolic link");
  if (!info.isDirectory) throw refuse(path, "is not a directory");
  if (info.uid !== uid) throw refuse(path, `belongs to user ${info.uid}`);
  if ((info.mode ?? 0) & 0o077) throw refuse(path, "can be used by others (chmod 700 it)");
}

/**
 * Who owns a directory above, or may write to it, could put another in our place: under `sudo -E` that
 * is the user whose TMPDIR root still has. As sshd's StrictModes (safe_path() in misc.c), but sticky
 * directories will do.
 */
function verifyAbove(path: string, uid: number | null): void {
  const parent = dirname(path);
  const real = look(path, () => Deno.realPathSync(parent));
  for (const above of new Set([...upwards(parent), ...upwards(real)])) {
    const { mode, uid: owner } = look(path, () => Deno.statSync(above));
    if (owner !== uid && owner !== ROOT && owner !== UNMAPPED) {
      throw refuse(path, `stands in ${above}, which belongs to user ${owner}`);
    }
    if (((mode ?? 0) & 0o022) && !((mode ?? 0) & STICKY)) {
      throw refuse(path, `stands in ${above}, which others can write`);
    }
  }
}

function* upwards(path: string): Generator<string> {
  yield path;
  if (path !== "/") yield* upwards(dirname(path));
}

function look<T>(path: string, at: () => T): T {
  try {
    return at();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw refuse(path, `cannot be read (${(error as Error).message})`);
  }
}

function ownerOf(path: string): number | null {
  try {
    const info = Deno.statSync(path);
    return info.isDirectory ? info.uid : null;
  } catch {
    return null; // Missing or closed to us: not ours either way.
  }
}

function refuse(path: string, why: string): StateDirError {
  return new StateDirError(`${path} ${why}; set SSHS_DIR to a short path of your own`);
}
