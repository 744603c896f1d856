/** What the text of a configuration file tells of how long an answer of `ssh -G` holds. Pure. */
import { dirname } from "@std/path/posix/dirname";
import { type ConfigLine, parseConfigLine } from "./config_line.ts";

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
 * The directories in which a file could appear that the file's Include lines would then read. `home`
 * is the user's. A relative pattern is looked up in ~/.ssh from a user's file and in the system
 * file's own directory from there; which of them `file` belongs to is not in its text, so it is both.
 */
export function watchedPaths(file: string, text: string, home: string): string[] {
  const paths = new Set<string>();
  for (const pattern of includePatterns(text)) {
    const [directory] = pattern.split(/(?:^|\/)[^/]*$/);
    if (pattern.startsWith("/")) paths.add(directory || "/");
    else if (pattern.startsWith("~/")) paths.add(home + directory.slice(1));
    else {
      for (const base of [`${home}/.ssh`, dirname(file)]) {
        paths.add(directory === "" ? base : `${base}/${directory}`);
      }
    }
  }
  return [...paths];
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

/** Whether an Include's files depend on the call (%h) or on more than one directory (a glob before the last slash). */
function isUnwatchable(pattern: string): boolean {
  return /%/.test(pattern) || /[*?[{].*\//.test(pattern) || /^~[^/]/.test(pattern);
}
