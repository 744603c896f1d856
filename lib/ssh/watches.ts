/**
 * What must be unchanged for a decision to hold, in terms that a shell can test without a fork: `-e`,
 * `-nt`, `-ot`, `-ef`.
 *
 * A file counts as unchanged while its modification time is that of its stamp, an empty file that copied
 * the time from it (touch -r). This catches a write to the file (cp, an editor), its replacement, even by
 * an older file (mv, cp -p, a moved link), and its removal. Other changes in its directory do not matter:
 * ~/.ssh changes whenever known_hosts is rewritten. It misses only a file that replaces another with
 * exactly the same time: to the nanosecond or, in bash 3.2, dash 0.5.9 and busybox, to the second. (A write
 * in the second of the decision is covered by SETTLED.) Deno knows times only in ms, so touch(1) makes the
 * stamps.
 */
import { dirname } from "@std/path/posix/dirname";
import { exists, isSystemError, makeDir, realPathOf, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { shortDigest } from "./digest.ts";

export interface Watches {
  /** Files that must have exactly the modification time of their stamp. */
  readonly same: readonly { readonly path: string; readonly stamp: string }[];
  /** Paths that must not exist: key and configuration files that ssh looked for and did not find. */
  readonly absent: readonly string[];
  /** Directories in which no file may have appeared since the plan was made (`Include config.d/*`). */
  readonly newer: readonly string[];
  /** Paths that must still lead to their target: links, on the way or at the end. */
  readonly pins: readonly { readonly link: string; readonly target: string }[];
}

export interface WatchOptions {
  /** The directory for stamps. */
  readonly stamps: string;
  /** When the decision began, ms since the epoch: a file that has changed since voids the decision. */
  readonly since: number;
}

/**
 * Returns the watches of the files and directories that a decision rests on. `undefined` if the decision
 * cannot be kept: one of them has only just changed, or cannot be stamped.
 */
export async function watchesOf(
  files: readonly string[],
  directories: readonly string[],
  options: WatchOptions,
  system: Pick<System, "run">,
): Promise<Watches | undefined> {
  const isSettled = (path: string) => Number(statOf(path)?.mtime) < options.since - SETTLED;
  const dirs = [...new Set(directories)].filter(exists);
  const newer = dirs.filter((dir) => !isSettled(dir));
  const present = [...new Set(files)].filter(exists).concat(dirs.filter(isSettled));
  const same = await stampFiles(present, options.stamps, options.since, system);
  const absent = [...files, ...directories].filter((path) =>
    !present.includes(path) && !newer.includes(path)
  );
  return same &&
    { same, absent: [...new Set(absent)], newer, pins: pinsOf([...present, ...newer]) };
}

function pinsOf(paths: readonly string[]): { link: string; target: string }[] {
  return paths.flatMap((link) => {
    const target = realPathOf(link);
    return target === undefined || target === link ? [] : [{ link, target }];
  });
}

/**
 * How long a file must have been unchanged when the decision begins, ms. Some shells compare seconds, and
 * some file systems round to two of them: a later change must not appear to have the same time.
 */
const SETTLED = 2000;

/** A tick of the kernel's clock, ms: the time of a change may be this much too early. */
const TICK = 10;

/** Stamps each pair. Its status says whether the shell's own tests then find them equal. */
const SCRIPT = `while [ $# -gt 0 ]; do
  touch -r "$1" "$2" && [ ! "$1" -nt "$2" ] && [ ! "$1" -ot "$2" ] || exit
  shift 2
done`;

/**
 * Makes a stamp in `dir` for each of the files, all of which exist. A stamp is named after what identifies
 * its file, so it is made once and serves every plan. `undefined` if a file cannot be stamped, or may not
 * be what the decision read, which began at `since` (ms since the epoch): the file was written since or
 * shortly before, or something was moved in its directory.
 */
async function stampFiles(
  files: readonly string[],
  dir: string,
  since: number,
  system: Pick<System, "run">,
): Promise<{ path: string; stamp: string }[] | undefined> {
  const pairs: { path: string; stamp: string }[] = [];
  const missing: string[] = [];
  for (const path of files) {
    const info = statOf(path);
    const time = info?.mtime?.getTime();
    if (!info || time === undefined || time > since - SETTLED) return undefined;
    if (hasMoved(path, since)) return undefined;
    const stamp = `${dir}/${await shortDigest(
      [path, info.dev, info.ino, info.size, time].join(" "),
    )}`;
    pairs.push({ path, stamp });
    // A stamp that is only half made has another time.
    if (statOf(stamp)?.mtime?.getTime() !== time) missing.push(path, stamp);
  }
  if (missing.length === 0) return pairs;
  try {
    makeDir(dir);
    const { code } = await system.run("/bin/sh", ["-c", SCRIPT, "sh", ...missing]);
    return code === 0 ? pairs : undefined;
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}

/** Whether another file, possibly an older one, may have replaced this one since then. */
function hasMoved(path: string, since: number): boolean {
  return [path, realPathOf(path) ?? path].some((place) => {
    const time = statOf(dirname(place))?.mtime?.getTime();
    return time === undefined || time > since - TICK;
  });
}
