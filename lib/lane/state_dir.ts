/**
 * The state directory: sockets, leases and plans. Anyone who can write here can use every connection we
 * hold, so its owner, mode and type are verified at every use. Nothing is repaired: a directory that is
 * not as we would create it is not used at all.
 */
import { basename } from "@std/path/posix/basename";
import { dirname } from "@std/path/posix/dirname";
import {
  createDir,
  exists,
  isSystemError,
  namesIn,
  removeIfEmpty,
  removePath,
} from "../os/files.ts";
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { Complaint } from "../os/terminal.ts";

/** The hint for a state directory that cannot be used. */
export const CHOOSE_ANOTHER = "set SSHS_DIR to a short path of your own";

/** Why the state directory cannot be used, and what to do about it. */
export class StateDirError extends Complaint {
  override name = "StateDirError";

  constructor(message: string, override readonly hint: string = CHOOSE_ANOTHER) {
    super(message, hint);
  }
}

/**
 * The longest path of a state directory, in bytes: sun_path on macOS is 104 with its NUL, ssh binds a
 * temporary name 17 bytes longer than the socket's (mux.c, muxserver_listen), and an identity and a lane
 * follow the directory: `/0123456789abcdef/abcd.sock`.
 */
const MAX_BYTES = 103 - 17 - 27;

const STICKY = 0o1000;
const ROOT = 0;
/** In a user namespace: every user without a uid there, root among them (user_namespaces(7)). */
const UNMAPPED = 65534;

/**
 * Returns the state directories that this user's calls may have created, this environment's first: a cron job
 * has no XDG_RUNTIME_DIR, and a shell after su(1) may have another TMPDIR. With `SSHS_DIR` there is only that
 * one.
 *
 * @throws {StateDirError} if this environment's must not be trusted; others are skipped
 */
export function allStateDirs(
  given: Pick<Given, "stateDir">,
  system: Pick<System, "env" | "uid">,
): string[] {
  const own = given.stateDir;
  const uid = system.uid();
  const others = system.env("SSHS_DIR") ? [] : [
    `/run/user/${uid}/sshs`,
    `${(system.env("TMPDIR") || "/tmp").replace(/\/+$/, "")}/sshs-${uid}`,
    `/tmp/sshs-${uid}`,
  ];
  return [
    ...(own !== "" && exists(own) ? [openStateDir(given, system)] : []),
    ...new Set(others.filter((path) => path !== own && exists(path) && isTrusted(path, system))),
  ];
}

function isTrusted(path: string, system: Pick<System, "uid">): boolean {
  try {
    return openStateDir({ stateDir: path }, system) === path;
  } catch (error) {
    if (error instanceof StateDirError) return false;
    throw error;
  }
}

/** Whether a path, with `more` bytes added, leaves room for a socket's. */
function isShort(path: string, more = 0): boolean {
  return new TextEncoder().encode(path).length + more <= MAX_BYTES;
}

/**
 * Creates the state directory if there is none, and verifies it. Returns its path.
 *
 * @throws {StateDirError} if there is none to be had, it cannot be created or must not be trusted.
 */
export function openStateDir(
  { stateDir: path }: Pick<Given, "stateDir">,
  system: Pick<System, "uid">,
): string {
  if (path === "") throw new StateDirError("there is no directory for the state");
  if (!path.startsWith("/")) throw new StateDirError(`${path} is not an absolute path`);
  if (!isShort(path)) {
    const limit = `the ${MAX_BYTES} bytes that leave room for a socket`;
    throw new StateDirError(`${path} is longer than ${limit}`);
  }
  // First, so that root leaves nothing in a place that another user owns.
  attempt(path, "read", () => verifyAbove(path, system.uid()));
  // A process that outlives its job would create a directory that nobody removes.
  if (isJobDir(path) && !exists(path)) {
    throw new StateDirError(`${path} was a job's, which has ended`);
  }
  attempt(path, "made", () => createDir(path));
  attempt(path, "read", () => verify(path, system.uid()));
  return path;
}

/** What we create in the state directory, which the user may choose. */
const OURS = /^(plans|stamps|waiting|launcher|ssh|sleeper|sleeper\.\w+|used|owner|[0-9a-f]{16})$/;

/** Removes the state, and its directory if it holds nothing else. Does nothing if it is not trusted. */
export function removeState(given: Pick<Given, "stateDir">, system: Pick<System, "uid">): void {
  const path = given.stateDir;
  if (!isTrusted(path, system)) return;
  for (const name of namesIn(path).filter((name) => OURS.test(name))) removePath(`${path}/${name}`);
  removeIfEmpty(path);
}

const JOB = "sshs-job-";
/** A slash, and 16 digits that make the name unique. */
const JOB_BYTES = JOB.length + 17;

/** Whether a state directory is a job's own (`--with`), which is removed with the job. */
export function isJobDir(path: string): boolean {
  return basename(path).startsWith(JOB);
}

/**
 * Creates a state directory for a job, next to the usual one. Returns its path.
 *
 * @throws {StateDirError} if it cannot be created or would not be trusted
 */
export function makeJobDir(
  { stateDir }: Pick<Given, "stateDir">,
  system: Pick<System, "uid">,
): string {
  const beside = dirname(stateDir);
  const dir = beside.startsWith("/") && isShort(beside, JOB_BYTES) ? beside : "/tmp";
  const path = `${dir}/${JOB}`;
  attempt(path, "read", () => verifyAbove(path, system.uid()));
  return attempt(path, "made", () => Deno.makeTempDirSync({ prefix: JOB, dir }));
}

/** Throws an error of the system as one of the state directory. */
function attempt<T>(path: string, what: "made" | "read", act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new StateDirError(`${path} cannot be ${what} (${error.message})`);
  }
}

function verify(path: string, uid: number | null): void {
  const info = Deno.lstatSync(path);
  if (info.isSymlink) throw new StateDirError(`${path} is a symbolic link`);
  if (!info.isDirectory) throw new StateDirError(`${path} is not a directory`);
  if (info.uid !== uid) throw new StateDirError(`${path} belongs to user ${info.uid}`);
  if ((info.mode ?? 0) & 0o077) {
    throw new StateDirError(`${path} can be used by others`, `chmod 700 ${path}`);
  }
}

/**
 * Verifies the directories above. A user who owns one of them, or may write to it, could replace ours:
 * under `sudo -E`, the user whose TMPDIR root still has. Like sshd's StrictModes (safe_path() in misc.c),
 * but sticky directories are allowed.
 */
function verifyAbove(path: string, uid: number | null): void {
  const parent = dirname(path);
  for (const above of new Set([...upwards(parent), ...upwards(Deno.realPathSync(parent))])) {
    const { mode, uid: owner } = Deno.statSync(above);
    if (owner !== uid && owner !== ROOT && owner !== UNMAPPED) {
      throw new StateDirError(`${path} stands in ${above}, which belongs to user ${owner}`);
    }
    if (((mode ?? 0) & 0o022) && !((mode ?? 0) & STICKY)) {
      throw new StateDirError(`${path} stands in ${above}, which others can write`);
    }
  }
}

function* upwards(path: string): Generator<string> {
  yield path;
  if (path !== "/") yield* upwards(dirname(path));
}
