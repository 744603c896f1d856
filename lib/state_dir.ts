/**
 * The state directory: sockets, leases and plans. Whoever can write here can use every connection we
 * hold, so its owner, mode and type are verified at every use and nothing is repaired: a directory
 * that is not as we would have made it is not used at all.
 */
import type { System } from "./system.ts";

/** Why the state directory cannot be used; the message ends in what to do about it. */
export class StateDirError extends Error {
  override name = "StateDirError";
}

/**
 * The longest state directory, in bytes: macOS' sun_path is 104 with its NUL, ssh binds a temporary
 * name 17 bytes longer than the socket (mux.c, muxserver_listen), and below the directory stand an
 * identity and a lane: `/0123456789abcdef/abcd.sock`.
 */
const MAX_BYTES = 104 - 17 - 27;

/** Where the state is kept: `SSHS_DIR`, else the user's runtime directory, else the temporary one. */
export function stateDirPath(system: Pick<System, "env" | "uid">): string {
  const chosen = system.env("SSHS_DIR");
  if (chosen) return chosen;
  const runtime = system.env("XDG_RUNTIME_DIR");
  // Under `sudo -E` it is somebody else's, and then none of ours.
  if (runtime && ownerOf(runtime) === system.uid()) return `${runtime}/sshs`;
  return `${(system.env("TMPDIR") ?? "/tmp").replace(/\/+$/, "")}/sshs-${system.uid()}`;
}

/**
 * Makes the state directory where there is none and verifies it. Returns its path.
 *
 * @throws {StateDirError} where it cannot be made or must not be trusted.
 */
export function openStateDir(system: Pick<System, "env" | "uid">): string {
  const path = stateDirPath(system);
  if (!path.startsWith("/")) throw refuse(path, "is not an absolute path");
  if (new TextEncoder().encode(path).length > MAX_BYTES) {
    throw refuse(path, `is longer than the ${MAX_BYTES} bytes that leave room for a socket`);
  }
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
  let info: Deno.FileInfo;
  try {
    info = Deno.lstatSync(path);
  } catch (error) {
    throw refuse(path, `cannot be read (${(error as Error).message})`);
  }
  if (info.isSymlink) throw refuse(path, "is a symbolic link");
  if (!info.isDirectory) throw refuse(path, "is not a directory");
  if (info.uid !== uid) throw refuse(path, `belongs to user ${info.uid}`);
  if ((info.mode ?? 0) & 0o077) throw refuse(path, "can be used by others (chmod 700 it)");
  const parent = Deno.statSync(path.slice(0, path.lastIndexOf("/")) || "/").mode ?? 0;
  if ((parent & 0o002) && !(parent & 0o1000)) {
    throw refuse(path, "stands in a directory that everybody can write");
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
