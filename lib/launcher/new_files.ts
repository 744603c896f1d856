/** Files and links that are put in place, all or none of them. */
import { dirname } from "@std/path/posix/dirname";
import {
  isSystemError,
  linkStatOf,
  makeDirs,
  readText,
  removeIfEmpty,
  removePath,
  writeText,
} from "../os/files.ts";

/** A file by its text. */
export interface TextFile {
  readonly path: string;
  readonly text: string;
  /** Whether it is to be run. */
  readonly isProgram?: boolean;
}

/** A symbolic link by its target. */
export interface NewLink {
  readonly path: string;
  readonly target: string;
}

/** Why sshs cannot be installed or removed, and what to do about it. */
export class InstallError extends Error {
  override name = "InstallError";

  constructor(message: string, readonly hint?: string) {
    super(message);
  }
}

/**
 * Writes all files beside the existing ones, then renames them into place, in this order: a program that runs
 * keeps the file that it has opened. The umask has no part in their modes.
 *
 * @param options.isShared whether others may read them
 * @param options.list a file to which the directories that were made are added, innermost first
 * @throws {InstallError} if a file cannot be written; nothing has changed then
 */
export function putInPlace(
  files: readonly (TextFile | NewLink)[],
  { isShared = false, list }: { isShared?: boolean; list?: string } = {},
): void {
  // rename(2) replaces anything else, where a draft can be written beside it.
  const taken = files.find(({ path }) => linkStatOf(path)?.isDirectory);
  if (taken) throw new InstallError(`${taken.path} is a directory`, `mv ${taken.path} ELSEWHERE`);
  const mask = isShared ? 0o755 : 0o700;
  const made: string[] = [];
  const staged: string[] = [];
  const stage = (file: TextFile | NewLink): void => {
    const draft = `${file.path}.new`;
    staged.push(draft);
    for (const dir of makeDirs(dirname(file.path)).reverse()) {
      made.unshift(dir);
      Deno.chmodSync(dir, mask);
    }
    removePath(draft);
    if ("target" in file) return Deno.symlinkSync(file.target, draft);
    writeText(draft, file.text);
    Deno.chmodSync(draft, file.isProgram ? mask : mask & 0o644);
  };
  try {
    files.forEach(stage);
    const before = list === undefined ? undefined : readText(list) ?? "";
    if (list) stage({ path: list, text: made.map((dir) => `${dir}\n`).join("") + before });
    for (const draft of staged) Deno.renameSync(draft, draft.slice(0, -".new".length));
  } catch (error) {
    staged.forEach(removePath);
    made.forEach(removeIfEmpty);
    throw isSystemError(error) ? new InstallError(error.message) : error;
  }
}
