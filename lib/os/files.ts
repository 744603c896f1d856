/**
 * Files that another process may remove at any moment: that they are gone is an answer, not an error.
 * So is that something else stands at their path: it is not read, and it makes way for what is written.
 */

/** The names in a directory. */
export function namesIn(dir: string): string[] {
  try {
    return Array.from(Deno.readDirSync(dir), (entry) => entry.name);
  } catch (error) {
    if (isAbsence(error)) return [];
    throw error;
  }
}

export function exists(path: string): boolean {
  return statOf(path) !== undefined;
}

export function statOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

/** The text of a file. A fifo counts as gone, as whoever reads one waits for its writer. */
export function readText(path: string): string | undefined {
  if (!statOf(path)?.isFile) return undefined;
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** The path of what a path leads to. */
export function realPathOf(path: string): string | undefined {
  try {
    return Deno.realPathSync(path);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

/** Opens a file for its lock. */
export function openIfThere(path: string): Deno.FsFile | undefined {
  if (!statOf(path)?.isFile) return undefined;
  try {
    return Deno.openSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Removes a file, or a directory with all in it. */
export function removePath(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!isAbsence(error)) throw error;
  }
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

/** Makes a directory for this user alone where there is none. */
export function makeDir(path: string): void {
  try {
    Deno.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    if (makeWay(path, "isDirectory")) makeDir(path);
  }
}

/**
 * Removes what stands at a path of ours without being what we put there, and says whether it did: it
 * would be in the way of each call from now on, and a fifo would hold the one that opens it.
 */
export function makeWay(path: string, wanted: "isFile" | "isDirectory" = "isFile"): boolean {
  let info: Deno.FileInfo;
  try {
    info = Deno.lstatSync(path);
  } catch (error) {
    if (isAbsence(error)) return false;
    throw error;
  }
  if (info[wanted]) return false;
  removePath(path);
  return true;
}

/** An errno from the system (`code` is its name), as opposed to a permission that Deno was not given. */
export function isSystemError(error: unknown): boolean {
  return error instanceof Error && typeof (error as { code?: unknown }).code === "string";
}

/** Whether an error says that there is no such file, or cannot be one. */
export function isAbsence(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory ||
    error instanceof Deno.errors.FilesystemLoop;
}
