/**
 * Operations on files that another process may remove at any moment: a missing file is a result, not an
 * error. So is something else at the path: it is not read, and it is removed before we write there.
 */

/** Returns the names in a directory. */
export function namesIn(dir: string): string[] {
  return ifThere(() => Array.from(Deno.readDirSync(dir), (entry) => entry.name)) ?? [];
}

export function exists(path: string): boolean {
  return statOf(path) !== undefined;
}

export function statOf(path: string): Deno.FileInfo | undefined {
  return ifThere(() => Deno.statSync(path));
}

/** Like statOf(), but of a link itself. */
export function linkStatOf(path: string): Deno.FileInfo | undefined {
  return ifThere(() => Deno.lstatSync(path));
}

/** Returns the text of a file. A fifo counts as missing, since reading one waits for its writer. */
export function readText(path: string): string | undefined {
  if (!statOf(path)?.isFile) return undefined;
  return ifThere(() => Deno.readTextFileSync(path));
}

/**
 * Returns the bytes of a regular file. `"absent"`: there is none, or it has more than `limit` bytes.
 * `"denied"`: this user may not read it. `"other"`: a fifo or a socket, which only one process can read.
 */
export function readFile(path: string, limit: number): Uint8Array | "absent" | "denied" | "other" {
  let isThere = false;
  try {
    const info = Deno.statSync(path); // Before open(2), which waits for the writer of a fifo.
    isThere = true;
    if (!info.isFile) return info.isDirectory ? "absent" : "other";
    return info.size <= limit ? Deno.readFileSync(path) : "absent";
  } catch (error) {
    if (isAbsence(error)) return "absent";
    if (isDenied(error)) return isThere ? "denied" : "absent";
    throw error;
  }
}

/**
 * Whether a path leads to a program. As for execvp(3), a directory that we may not enter contains
 * none.
 */
export function isExecutable(path: string): boolean {
  const info = unlessGone(() => Deno.statSync(path));
  return info !== undefined && info.isFile && ((info.mode ?? 0) & 0o111) !== 0;
}

/** Returns the first bytes of a file; none if we may not read it. */
export function readHead(path: string, length: number): Uint8Array {
  using file = unlessGone(() => Deno.openSync(path));
  const head = new Uint8Array(length);
  return head.subarray(0, file?.readSync(head) ?? 0);
}

/** Returns a path with all its links resolved. */
export function realPathOf(path: string): string | undefined {
  return ifThere(() => Deno.realPathSync(path));
}

/** Removes a file, or a directory with everything in it. */
export function removePath(path: string): void {
  ifThere(() => Deno.removeSync(path, { recursive: true }));
}

/** Removes an empty directory; a missing one counts as removed. False: it is not empty. */
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
 * Writes a file whole or not at all, for its owner only.
 *
 * @param options.mtime ms since the epoch; default now
 * @param options.linked makes a hard link on the way: throws if the file system has none
 */
export function writeWhole(
  path: string,
  text: string,
  options: { mtime?: number; linked?: boolean } = {},
): void {
  const draft = `${path}.${Deno.pid}`;
  try {
    Deno.writeTextFileSync(draft, text, { mode: 0o600 });
    if (options.mtime !== undefined) setModified(draft, options.mtime);
    if (options.linked) {
      Deno.linkSync(draft, `${draft}.link`);
      removePath(`${draft}.link`);
    }
    Deno.renameSync(draft, path);
  } catch (error) {
    // On a full disk they would occupy the rest.
    for (const path of [draft, `${draft}.link`]) removePath(path);
    throw error;
  }
}

/** Makes a directory for this user only, unless there is one. */
export function makeDir(path: string): void {
  if (!createDir(path) && removeUnless(path, "isDirectory")) makeDir(path);
}

/** Makes a directory for this user only. False: the path already exists. */
export function createDir(path: string): boolean {
  return unlessThere(() => Deno.mkdirSync(path, { mode: 0o700 }));
}

/**
 * Removes what is at a path of ours unless it is of the kind that we put there. Returns whether it did. If
 * left, it would be in the way of every later call, and a fifo would block the one that opens it.
 */
export function removeUnless(path: string, wanted: "isFile" | "isDirectory"): boolean {
  if (linkStatOf(path)?.[wanted] ?? true) return false;
  removePath(path);
  return true;
}

/** Whether an error is an errno of the system (`code` is its name). */
export function isSystemError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && typeof (error as { code?: unknown }).code === "string";
}

/** Whether an error says that there is no such file, or that there cannot be one. */
export function isAbsence(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory ||
    error instanceof Deno.errors.FilesystemLoop;
}

/** Writes a file for this user only. */
export function writeText(path: string, text: string): void {
  removeUnless(path, "isFile");
  Deno.writeTextFileSync(path, text, { mode: 0o600 });
}

/** Overwrites the beginning of a file without truncating it. */
export function overwrite(path: string, text: string): void {
  using file = Deno.openSync(path, { write: true, create: true, mode: 0o600 });
  file.writeSync(new TextEncoder().encode(text));
}

/** Creates a file for this user only. False: the path already exists, or its directory does not. */
export function createText(path: string, text: string): boolean {
  return ifThere(() =>
    unlessThere(() => Deno.writeTextFileSync(path, text, { mode: 0o600, createNew: true }))
  ) ?? false;
}

function unlessThere(create: () => void): boolean {
  try {
    create();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw error;
  }
}

/** Writes to an existing file if it is empty. Returns what was in it; `undefined` if it is gone. */
export function addIfEmpty(path: string, text: string): string | undefined {
  using file = ifThere(() => Deno.openSync(path, { read: true, write: true }));
  if (!file) return undefined;
  const bytes = new Uint8Array(1024);
  const present = new TextDecoder().decode(bytes.subarray(0, file.readSync(bytes) ?? 0));
  if (present === "") file.writeSync(new TextEncoder().encode(text));
  return present;
}

/**
 * Writes a line to a named pipe, for who reads it: it is lost if nobody does. Opened for reading too, as
 * neither the open(2) nor the write(2) then waits for a reader.
 */
export function wakePipe(path: string, line: string): void {
  using pipe = ifThere(() => Deno.openSync(path, { read: true, write: true }));
  pipe?.writeSync(new TextEncoder().encode(`${line}\n`));
}

/** Renames a file or directory, unless it is gone. */
export function renameIfThere(from: string, to: string): void {
  ifThere(() => Deno.renameSync(from, to));
}

/** Sets the modification time of a file, ms since the epoch. False: the file is gone. */
export function setModified(path: string, time: number): boolean {
  return ifThere(() => {
    Deno.utimeSync(path, new Date(time), new Date(time));
    return true;
  }) ?? false;
}

/** Whether an error says that this user lacks permission. */
export function isDenied(error: unknown): boolean {
  return error instanceof Deno.errors.PermissionDenied;
}

/** Returns the result of `act`; `undefined` if there is no such file. */
export function ifThere<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

/** Returns the result of `act`; `undefined` if there is no such thing, or it is not ours to see. */
export function unlessGone<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    // Of a process that ends while its files in /proc are read Deno has ESRCH without a code.
    if (!isSystemError(error) && !/\(os error 3\)/.test((error as Error).message)) throw error;
  }
}
