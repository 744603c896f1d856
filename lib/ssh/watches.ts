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
import { isSystemError, makeDir, realPathOf, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { shortDigest } from "./digest.ts";

/** A path that a decision rests on. */
export interface Watch {
  readonly path: string;
  /** The file that has its modification time; without one, nothing must be at the path. */
  readonly stamp?: string;
  /** Where it leads, if there is a link at its end or on the way. */
  readonly target?: string;
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
 * Returns the watches of files and directories, and makes their stamps in the directory `stamps`. A stamp is
 * named after what identifies its file, so it is made once and serves every plan. `undefined` if a file cannot
 * be stamped, or may not be what the decision read, which began at `since` (ms since the epoch): the file was
 * written since or shortly before, or something was moved in its directory.
 */
export async function watchesOf(
  paths: readonly string[],
  { stamps, since }: { readonly stamps: string; readonly since: number },
  system: Pick<System, "run">,
): Promise<Watch[] | undefined> {
  const watches: Watch[] = [];
  const missing: string[] = [];
  for (const path of new Set(paths)) {
    const info = statOf(path);
    if (!info) {
      watches.push({ path });
      continue;
    }
    const time = info.mtime?.getTime() ?? Infinity;
    const target = realPathOf(path) ?? path;
    // Another file, possibly an older one, may have replaced it.
    const isMoved = [path, target].some((place) => changedAt(dirname(place)) > since - TICK);
    if (time > since - SETTLED || isMoved) return undefined;
    const facts = [path, info.dev, info.ino, info.size, time].join(" ");
    const stamp = `${stamps}/${await shortDigest(facts)}`;
    watches.push({ path, stamp, target: target === path ? undefined : target });
    // A stamp that is only half made has another time.
    if (changedAt(stamp) !== time) missing.push(path, stamp);
  }
  if (missing.length === 0) return watches;
  try {
    makeDir(stamps);
    const { code } = await system.run("/bin/sh", ["-c", SCRIPT, "sh", ...missing]);
    return code === 0 ? watches : undefined;
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}

/** Returns when a file was modified, ms since the epoch; Infinity if there is none. */
function changedAt(path: string): number {
  return statOf(path)?.mtime?.getTime() ?? Infinity;
}
