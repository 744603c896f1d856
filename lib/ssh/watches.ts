/**
 * What must still be as it was for a decision to hold, in terms that a shell can test without a fork:
 * `-e`, `-nt`, `-ot`, `-ef`.
 *
 * A file counts as the same while its modification time is that of a stamp, an empty file which got it
 * from there (touch -r). That catches what writes into it (cp, an editor), what replaces it, be it by
 * an older one (mv, cp -p, a link moved), and that it vanishes; and it is no matter what else happens in
 * its directory: ~/.ssh changes with each known_hosts rewritten. What is left is a file that replaces
 * another with just the same time: to the nanosecond in dash, bash and zsh, to the second in busybox.
 * Deno knows times in ms only, so touch(1) makes the stamps.
 */
import { dirname } from "@std/path/posix/dirname";
import { exists, isSystemError, makeDir, realPathOf, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { type ConfigLine, parseConfigLine } from "./arguments.ts";
import { shortDigest } from "./identity.ts";

export interface Watches {
  /** Files that must have just the modification time of their stamp. */
  readonly same: readonly { readonly path: string; readonly stamp: string }[];
  /** What must not exist: key and configuration files that ssh looked for and did not find. */
  readonly absent: readonly string[];
  /** Directories in which no file may have appeared since the plan was made (`Include config.d/*`). */
  readonly newer: readonly string[];
  /** Paths that must lead to the same file as the other: links, on the way or at the end. */
  readonly pins: readonly { readonly link: string; readonly target: string }[];
}

export interface WatchOptions {
  /** The directory for stamps. */
  readonly stamps: string;
  /** When the decision began, ms since the epoch: what has changed since is not watched but void. */
  readonly since: number;
}

/**
 * The watches of the files and directories that a decision rests on. `undefined` where it cannot be
 * kept: one of them has only just changed, or cannot be stamped.
 */
export async function watchesOf(
  files: readonly string[],
  directories: readonly string[],
  options: WatchOptions,
  system: Pick<System, "run">,
): Promise<Watches | undefined> {
  const present = [...new Set(files)].filter(exists);
  const newer = [...new Set(directories)].filter(exists);
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
 * For so long a file must have been as it is when the decision begins, ms. Some shells compare seconds,
 * and some file systems keep two of them: a later change must not be taken for the same time.
 */
const SETTLED = 2000;

/** A tick of the kernel's clock, ms: the time of a change may be so much too early. */
const TICK = 10;

/** Stamps each pair, and says by its status whether the shell's own tests then find them equal. */
const SCRIPT = `while [ $# -gt 0 ]; do
  touch -r "$1" "$2" && [ ! "$1" -nt "$2" ] && [ ! "$1" -ot "$2" ] || exit
  shift 2
done`;

/**
 * Makes a stamp in `dir` for each of the files, all of which exist. A stamp is named after what tells its
 * file from another, so it is made once and serves every plan. `undefined` where a file cannot be stamped,
 * or may not be what the decision has read, which began at `since` (ms since the epoch): it was written
 * since or shortly before, or something has moved in its directory.
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
    // Half made, it has another time.
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

/** Whether another file, which may be older, may have taken the place of this one since then. */
function hasMoved(path: string, since: number): boolean {
  return [path, realPathOf(path) ?? path].some((place) => {
    const time = statOf(dirname(place))?.mtime?.getTime();
    return time === undefined || time > since - TICK;
  });
}

// What the text of a configuration file tells of how long an answer of `ssh -G` holds.

/**
 * Whether the same argv could be answered differently although no file has changed: by a program, a
 * network, a name server, the environment, or the command of the session.
 */
export function dependsOnMore(text: string): boolean {
  return linesOf(text).some(({ key, rest, words }) => {
    // ${NAME}, $NAME. Where a $ means nothing to ssh, caution costs only speed.
    if (rest.includes("$")) return true;
    if (key === "match") return hasCriterion(words, "exec", "localnetwork", ...OF_SESSION);
    // CNAMEs are followed without CanonicalizeHostname too (main() in ssh.c).
    if (key === "canonicalizehostname") return !isOff(words[0], "no", "false");
    if (key === "canonicalizepermittedcnames") return !isOff(words[0], "none");
    return key === "include" && words.some(isUnwatchable);
  });
}

/**
 * Whether the text asks what the session does (`Match command`, `Match sessiontype`): a master, which
 * runs none, would then be given another configuration than the call.
 */
export function dependsOnSession(text: string): boolean {
  return linesOf(text).some(({ key, words }) =>
    key === "match" && hasCriterion(words, ...OF_SESSION)
  );
}

/** The arguments of a file's Include lines, as written. */
export function includePatterns(text: string): string[] {
  return linesOf(text).filter(({ key }) => key === "include").flatMap(({ words }) => words);
}

/**
 * What the file's Include lines look at, absolute: files by their names, there or not, and the directories
 * of globs, in which one could appear. `home` is the user's. A relative name is looked up in ~/.ssh from
 * a user's file and in the system file's own directory from there; which of them `file` belongs to is not
 * in its text, so it is both.
 */
export function includedPaths(
  file: string,
  text: string,
  home: string,
): { files: string[]; directories: string[] } {
  const paths = includePatterns(text).flatMap((pattern) => {
    if (pattern.startsWith("/")) return [pattern];
    if (pattern.startsWith("~/")) return [home + pattern.slice(1)];
    return [`${home}/.ssh/${pattern}`, `${dirname(file)}/${pattern}`];
  });
  const isGlob = (path: string) => /[*?[{]/.test(path);
  return {
    files: [...new Set(paths.filter((path) => !isGlob(path)))],
    directories: [...new Set(paths.filter(isGlob).map((path) => dirname(path)))],
  };
}

const OF_SESSION = ["command", "sessiontype"];

function linesOf(text: string): ConfigLine[] {
  return text.split("\n").map(parseConfigLine).filter(({ key }) => key !== "");
}

/** Whether a Match line names a criterion: `exec cmd`, `exec=cmd`, `!exec cmd`. */
function hasCriterion(words: readonly string[], ...names: string[]): boolean {
  return words.some((word) => names.includes(word.toLowerCase().replace(/^!/, "").split("=")[0]));
}

function isOff(value: string | undefined, ...words: string[]): boolean {
  return words.includes((value ?? "").toLowerCase());
}

/**
 * Whether an Include's files depend on the call (%h) or on more than one directory (a glob before
 * the last slash).
 */
function isUnwatchable(pattern: string): boolean {
  return /%/.test(pattern) || /[*?[{].*\//.test(pattern) || /^~[^/]/.test(pattern);
}
