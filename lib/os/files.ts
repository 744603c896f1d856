/**
 * Files that another process may remove at any moment: that they are gone is an answer, not an error.
 * So is that something else stands at their path: it is not read, and it makes way for what is written.
 */

/** The names in a directory. */
export function namesIn(dir: string): string[] {
  return ifThere(() => Array.from(Deno.readDirSync(dir), (entry) => entry.name)) ?? [];
}

export function exists(path: string): boolean {
  return statOf(path) !== undefined;
}

export function statOf(path: string): Deno.FileInfo | undefined {
  return ifThere(() => Deno.statSync(path));
}

/** The same of a link itself. */
export function linkStatOf(path: string): Deno.FileInfo | undefined {
  return ifThere(() => Deno.lstatSync(path));
}

/** The text of a file. A fifo counts as gone, as whoever reads one waits for its writer. */
export function readText(path: string): string | undefined {
  if (!statOf(path)?.isFile) return undefined;
  return ifThere(() => Deno.readTextFileSync(path));
}

/**
 * The bytes of a regular file. `"absent"`: there is none, none that this user may read, or one of more
 * than `limit` bytes; `"other"`: a fifo, a socket, or where Deno opens nothing, so that what another
 * program would read there is unknown.
 */
export function readFile(path: string, limit: number): Uint8Array | "absent" | "other" {
  if (isClosedToDeno(path)) return "other";
  try {
    const info = Deno.statSync(path); // Not open(2) first, which waits for the writer of a fifo.
    if (!info.isFile) return info.isDirectory ? "absent" : "other";
    return info.size <= limit ? Deno.readFileSync(path) : "absent";
  } catch (error) {
    if (isAbsence(error) || isDenied(error)) return "absent";
    if (error instanceof Deno.errors.NotCapable) return "other"; // A link to where Deno opens nothing.
    throw error;
  }
}

/** Whether Deno opens a path to nobody without all permissions (2.9): devices and the kernel's own files. */
export function isClosedToDeno(path: string): boolean {
  return /^\/(dev|proc|sys)(\/|$)/.test(path);
}

/**
 * Whether a path leads to a program. In a directory that we may not enter there is none for us, as
 * for execvp(3).
 */
export function isExecutable(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && ((mode ?? 0) & 0o111) !== 0;
  } catch {
    return false;
  }
}

/** The first bytes of a file; none of one that we may not read. */
export function readHead(path: string, length: number): Uint8Array {
  const head = new Uint8Array(length);
  try {
    using file = Deno.openSync(path);
    return head.subarray(0, file.readSync(head) ?? 0);
  } catch (error) {
    if (isAbsence(error) || isDenied(error)) return head.subarray(0, 0);
    throw error;
  }
}

/** The path of what a path leads to. */
export function realPathOf(path: string): string | undefined {
  return ifThere(() => Deno.realPathSync(path));
}

/** Removes a file, or a directory with all in it. */
export function removePath(path: string): void {
  ifThere(() => Deno.removeSync(path, { recursive: true }));
}

/** Removes a directory that is empty, or gone. False: something is in it. */
export function removeIfEmpty(dir: string): boolean {
  try {
    Deno.removeSync(dir);
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOTEMPTY") return false;
    if (!isAbsence(error)) throw error;
  }
  return true;
}

/**
 * Writes a file whole or not at all, for its owner alone.
 *
 * @param options.mtime ms since the epoch; now unless given
 * @param options.linked by a hard link on the way: throws where the file system has none
 */
export function writeWhole(
  path: string,
  text: string,
  options: { mode?: number; mtime?: number; linked?: boolean } = {},
): void {
  const draft = `${path}.${Deno.pid}`;
  try {
    Deno.writeTextFileSync(draft, text, { mode: options.mode ?? 0o600 });
    if (options.mtime !== undefined) {
      const mtime = new Date(options.mtime);
      Deno.utimeSync(draft, mtime, mtime);
    }
    if (options.linked) {
      Deno.linkSync(draft, `${draft}.link`);
      removePath(`${draft}.link`);
    }
    Deno.renameSync(draft, path);
  } catch (error) {
    removePath(draft); // Of a full disk it would keep the rest.
    throw error;
  }
}

/** Makes a directory for this user alone where there is none. */
export function makeDir(path: string): void {
  if (!createDir(path) && makeWay(path, "isDirectory")) makeDir(path);
}

/** Makes a directory for this user alone. False: something stands there already. */
export function createDir(path: string): boolean {
  try {
    Deno.mkdirSync(path, { mode: 0o700 });
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw error;
  }
}

/** Makes a directory, and those above that are not there. Returns those made, the innermost first. */
export function makeDirs(path: string): string[] {
  if (exists(path)) return [];
  const above = makeDirs(path.slice(0, path.lastIndexOf("/")) || "/");
  Deno.mkdirSync(path);
  return [path, ...above];
}

/** Makes an empty directory for this user alone among the temporary files, or in `dir`. */
export function makeTempDir(prefix: string, dir?: string): string {
  return Deno.makeTempDirSync({ prefix, dir });
}

/** Makes a symbolic link. */
export function linkPath(target: string, path: string): void {
  Deno.symlinkSync(target, path);
}

/** Puts a file in the place of another, all or nothing. */
export function rename(from: string, to: string): void {
  Deno.renameSync(from, to);
}

/**
 * Removes what stands at a path of ours without being what we put there, and says whether it did: it
 * would be in the way of each call from now on, and a fifo would hold the one that opens it.
 */
export function makeWay(path: string, wanted: "isFile" | "isDirectory" = "isFile"): boolean {
  if (linkStatOf(path)?.[wanted] ?? true) return false;
  removePath(path);
  return true;
}

/** An errno from the system (`code` is its name), as opposed to a permission that Deno was not given. */
export function isSystemError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && typeof (error as { code?: unknown }).code === "string";
}

/** Whether an error says that there is no such file, or cannot be one. */
export function isAbsence(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory ||
    error instanceof Deno.errors.FilesystemLoop;
}

/** Writes a file for this user alone, or with another mode whatever the umask. */
export function writeText(path: string, text: string, mode = 0o600): void {
  makeWay(path);
  Deno.writeTextFileSync(path, text, { mode });
  if (mode !== 0o600) Deno.chmodSync(path, mode);
}

/** Writes over the beginning of a file, and cuts nothing off. */
export function overwrite(path: string, text: string): void {
  using file = Deno.openSync(path, { write: true, create: true, mode: 0o600 });
  file.writeSync(new TextEncoder().encode(text));
}

/** Creates a file for this user alone. False: there is one already, or no such directory. */
export function createText(path: string, text: string): boolean {
  try {
    Deno.writeTextFileSync(path, text, { mode: 0o600, createNew: true });
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists || isAbsence(error)) return false;
    throw error;
  }
}

/** Writes to a file that is there and empty. Returns what was in it; `undefined` where it is gone. */
export function addIfEmpty(path: string, text: string): string | undefined {
  using file = ifThere(() => Deno.openSync(path, { read: true, write: true }));
  if (!file) return undefined;
  const bytes = new Uint8Array(1024);
  const present = new TextDecoder().decode(bytes.subarray(0, file.readSync(bytes) ?? 0));
  if (present === "") file.writeSync(new TextEncoder().encode(text));
  return present;
}

/** Renames a file or directory; not where it is gone. */
export function renamePath(from: string, to: string): void {
  ifThere(() => Deno.renameSync(from, to));
}

/** Sets when a file was last written to, ms since the epoch. False: it is gone. */
export function setModified(path: string, time: number): boolean {
  return ifThere(() => {
    Deno.utimeSync(path, new Date(time), new Date(time));
    return true;
  }) ?? false;
}

/** Whether an error says that this user may not. */
export function isDenied(error: unknown): boolean {
  return error instanceof Deno.errors.PermissionDenied;
}

/** What an act gives; `undefined` where there is no such file. */
function ifThere<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

/** A file whose lock (flock) this process has. */
export class LockedFile implements Disposable {
  readonly #file: Deno.FsFile;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /**
   * Takes the lock of a file, which is made if need be. `undefined`: another has it, or there is no
   * such directory.
   */
  static tryTake(path: string): LockedFile | undefined {
    makeWay(path);
    const options = { read: true, write: true, create: true, mode: 0o600 };
    const file = ifThere(() => Deno.openSync(path, options));
    if (!file) return undefined;
    const locked = new LockedFile(file);
    // Locked, but removed in between: others will lock its successor.
    if (file.tryLockSync(true) && locked.isAt(path)) return locked;
    file.close();
  }

  static isLocked(path: string): boolean {
    if (!statOf(path)?.isFile) return false;
    using file = ifThere(() => Deno.openSync(path));
    return file !== undefined && !file.tryLockSync(false);
  }

  /** Puts a text in place of what is in the file. */
  write(text: string): void {
    this.#file.truncateSync();
    this.#file.seekSync(0, Deno.SeekMode.Start);
    this.#file.writeSync(new TextEncoder().encode(text));
  }

  /** Whether it is this file that stands at a path. */
  isAt(path: string): boolean {
    const [mine, there] = [this.#file.statSync(), statOf(path)];
    return there !== undefined && there.ino === mine.ino && there.dev === mine.dev;
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/**
 * Tries what a control socket needs: a socket, a file and a hard link at paths that begin so, which are
 * removed again. Returns when the file system says that the file was made, ms since the epoch; or why not.
 */
export function tryFiles(path: string): { readonly made: number } | { readonly problem: string } {
  try {
    Deno.listen({ transport: "unix", path }).close();
    Deno.writeTextFileSync(`${path}.file`, "", { mode: 0o600 });
    Deno.linkSync(`${path}.file`, `${path}.link`);
    return { made: statOf(`${path}.file`)?.mtime?.getTime() ?? 0 };
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return { problem: (error as Error).message };
  } finally {
    for (const end of ["", ".file", ".link"]) removePath(path + end);
  }
}

/**
 * A log, which nobody reads until something is wrong, is emptied at this size, in bytes: ours, and
 * that of a master which runs with -v.
 */
const MAX_LOG = 64 * 1024;

/** Adds a line to a log, with the time `now` in ms since the epoch. A log that cannot be written is none. */
export function logLine(path: string, now: number, line: string): void {
  try {
    makeWay(path);
    cutLog(path);
    const text = `${new Date(now).toISOString()} ${line}\n`;
    Deno.writeTextFileSync(path, text, { append: true, mode: 0o600 });
  } catch (error) {
    // A full disk, or the directory is gone.
    if (error instanceof Deno.errors.NotCapable) throw error;
  }
}

/** Empties a log that has grown too large; who writes to it appends. */
export function cutLog(path: string): void {
  if ((statOf(path)?.size ?? 0) > MAX_LOG) Deno.truncateSync(path);
}

/** How often the file is looked at where the system does not tell, ms. */
const POLL = 1000;

/**
 * Calls `onWrite` soon after a file is written to (perhaps once for several times) or removed,
 * until it is closed.
 */
export function watchFile(path: string, onWrite: () => void): Disposable {
  let watcher: Deno.FsWatcher;
  try {
    watcher = Deno.watchFs(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return pollFile(path, onWrite); // No more watches to be had, or no such thing here.
  }
  let close = () => watcher.close();
  const read = async () => {
    for await (const { kind } of watcher) {
      if (kind === "remove") {
        // The system watches the file, and not what may come to its place.
        watcher.close();
        const poll = pollFile(path, onWrite);
        close = () => poll[Symbol.dispose]();
      }
      onWrite();
    }
  };
  read();
  return { [Symbol.dispose]: () => close() };
}

/** Likewise, by a look at it every `every` ms. Exported for its test. */
export function pollFile(path: string, onWrite: () => void, every: number = POLL): Disposable {
  const look = () => statOf(path)?.mtime?.getTime();
  let last = look();
  const timer = setInterval(() => {
    const now = look();
    if (now !== last) onWrite();
    last = now;
  }, every);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
