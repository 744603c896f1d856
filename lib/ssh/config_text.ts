/** What the text of a configuration file says about how long an answer of `ssh -G` holds. */
import { dirname } from "@std/path/posix/dirname";
import { exists, namesIn } from "../os/files.ts";
import { type ConfigLine, parseConfigLine } from "./config_line.ts";

/**
 * Whether the same argv could get another answer although neither a file nor a variable that the text names
 * has changed: because of a program, a network, a name server, or the command of the session.
 */
export function dependsOnMore(text: string): boolean {
  return linesOf(text).some(({ key, words }) => {
    if (key === "match") return hasCriterion(words, "exec", "localnetwork", ...OF_SESSION);
    // ssh follows CNAMEs even without CanonicalizeHostname (main() in ssh.c).
    if (key === "canonicalizehostname") return !isOff(words[0], "no", "false");
    if (key === "canonicalizepermittedcnames") return !isOff(words[0], "none");
    return key === "include" && words.some(isUnwatchable);
  });
}

/**
 * Whether the text depends on the session (`Match command`, `Match sessiontype`): a master, which runs
 * none, would then get another configuration than the call.
 */
export function dependsOnSession(text: string): boolean {
  return linesOf(text).some(({ key, words }) =>
    key === "match" && hasCriterion(words, ...OF_SESSION)
  );
}

/**
 * Returns what the file's Include lines look at, as absolute paths: files by name, whether they exist or
 * not, and the directories of globs, in which one could appear. A link there that leads nowhere counts as a
 * file by name, since its target may appear elsewhere. `home` is the user's. ssh looks up a relative name in
 * ~/.ssh for a user's file, and in the file's own directory for a system file. The text does not say which of
 * them `file` is, so the result has both.
 */
export function includedPaths(
  file: string,
  text: string,
  home: string,
): { files: string[]; directories: string[] } {
  const patterns = linesOf(text).filter(({ key }) => key === "include")
    .flatMap(({ words }) => words);
  const paths = patterns.flatMap((pattern) => {
    if (pattern.startsWith("/")) return [pattern];
    if (pattern.startsWith("~/")) return [home + pattern.slice(1)];
    return [`${home}/.ssh/${pattern}`, `${dirname(file)}/${pattern}`];
  });
  const isGlob = (path: string) => /[*?[{]/.test(path);
  const directories = [...new Set(paths.filter(isGlob).map((path) => dirname(path)))];
  const dangling = directories.flatMap((dir) => namesIn(dir).map((name) => `${dir}/${name}`))
    .filter((path) => !exists(path));
  return {
    files: [...new Set([...paths.filter((path) => !isGlob(path)), ...dangling])],
    directories,
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
 * Whether the files of an Include depend on the call (%h), on a variable, or on more than one directory (a
 * glob before the last slash).
 */
function isUnwatchable(pattern: string): boolean {
  return /[%$]/.test(pattern) || /[*?[{].*\//.test(pattern) || /^~[^/]/.test(pattern);
}
