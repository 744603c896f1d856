/** Files and links that are put in place, all or none of them. */
import { dirname } from "@std/path/posix/dirname";
import {
  exists,
  isSystemError,
  linkStatOf,
  readText,
  removeIfEmpty,
  removePath,
  writeText,
} from "../os/files.ts";
import { Complaint } from "../os/terminal.ts";

/** A file by its text, or a symbolic link by its target. */
export interface NewFile {
  readonly path: string;
  readonly text: string;
  /** A file that is not to be run, unless this says so. */
  readonly kind?: "program" | "link";
}

/**
 * Writes all files beside the existing ones, then renames them into place, in this order: a program that runs
 * keeps the file that it has opened. The umask has no part in their modes.
 *
 * @param options.isShared whether others may read them
 * @param options.list a file to which the directories that were made are added, innermost first
 * @throws {Complaint} if a file cannot be written; nothing has changed then
 */
export function putInPlace(
  files: readonly NewFile[],
  { isShared = false, list }: { isShared?: boolean; list?: string } = {},
): void {
  // rename(2) replaces anything else, where a draft can be written beside it.
  const taken = files.find(({ path }) => linkStatOf(path)?.isDirectory);
  if (taken) throw new Complaint(`${taken.path} is a directory`, `mv ${taken.path} ELSEWHERE`);
  const mask = isShared ? 0o755 : 0o700;
  const ending = `.${Deno.pid}.new`; // Two calls at once may be the first.
  const made: string[] = [];
  const staged: string[] = [];
  const makeDir = (dir: string): void => {
    if (exists(dir)) return;
    makeDir(dirname(dir));
    Deno.mkdirSync(dir, { recursive: true });
    made.unshift(dir);
    Deno.chmodSync(dir, mask);
  };
  const stage = ({ path, text, kind }: NewFile): void => {
    const draft = path + ending;
    staged.push(draft);
    makeDir(dirname(path));
    removePath(draft);
    if (kind === "link") return Deno.symlinkSync(text, draft);
    writeText(draft, text);
    Deno.chmodSync(draft, kind === "program" ? mask : mask & 0o644);
  };
  try {
    files.forEach(stage);
    if (list) stage({ path: list, text: [...made, readText(list) ?? ""].join("\n") });
    for (const draft of staged) Deno.renameSync(draft, draft.slice(0, -ending.length));
  } catch (error) {
    staged.forEach(removePath);
    made.forEach(removeIfEmpty);
    throw isSystemError(error) ? new Complaint(error.message) : error;
  }
}
