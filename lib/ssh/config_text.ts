/**
 * Lines of ssh_config(5), and arguments of `-o`, parsed as readconf.c does; and what the text of a file says
 * about how long an answer of `ssh -G` holds.
 */
import { dirname } from "@std/path/posix/dirname";
import { exists, namesIn } from "../os/files.ts";

// Keywords whose value is the rest of the line as written (parse_command in readconf.c).
const COMMANDS = new Set(["proxycommand", "localcommand", "remotecommand", "knownhostscommand"]);

/**
 * Parses the argument of `-o` in its spellings: `Key=value`, `Key value`, `Key = "value"`. Returns the key
 * in lower case, and several values joined by one space. A missing value, which ssh refuses, is "".
 */
export function parseConfigOption(text: string): { key: string; value: string } {
  const { key, rest, words } = parseConfigLine(text);
  return { key, value: COMMANDS.has(key) ? rest.replace(/^[ \t\r\n=]+/, "") : words.join(" ") };
}

/** A parsed line of ssh_config(5), or argument of `-o`. */
interface ConfigLine {
  /** The keyword in lower case; "" for a blank line or a comment. */
  key: string;
  /** What follows the keyword, as written. */
  rest: string;
  /** The words of `rest`, without quotes and escapes. */
  words: string[];
}

/** strdelim() in misc.c: the first word is ended by blanks, by one "=" or by a closing quote. */
const LINE = /^([^ \t\r\n="]*)(?:"([^"]*)"[ \t\r\n]*|[ \t\r\n]*=?[ \t\r\n]*)(.*)$/s;

/** Parses a line as process_config_line() in readconf.c does: `Key value`, `Key=value`, `Key = "value"`. */
function parseConfigLine(text: string): ConfigLine {
  const line = text.replace(/[ \t\r\n\f]+$/, "").replace(/^(?:[ \t\r\n]+=?|=)[ \t\r\n]*/, "");
  const [, start = "", quoted = "", rest = ""] = LINE.exec(line) ?? [];
  const key = (start + quoted).toLowerCase();
  return key.startsWith("#")
    ? { key: "", rest: "", words: [] }
    : { key, rest, words: wordsOf(rest) };
}

/** Text in quotes of both kinds, and what a backslash protects in them and outside. */
const PROTECTED = /"((?:\\['"\\]|[^"])*)"?|'((?:\\['"\\]|[^'])*)'?|\\(['"\\ ])/g;

const WORD = new RegExp(`(?:${PROTECTED.source}|[^ \t])+`, "g");

/** argv_split() in misc.c: blanks separate words, # ends them. */
function wordsOf(text: string): string[] {
  const words = [...text.match(WORD) ?? [], "#"];
  return words.slice(0, words.findIndex((word) => word.startsWith("#"))).map((word) =>
    word.replace(
      PROTECTED,
      (_, double, single, escaped) => escaped ?? (double ?? single).replace(/\\(['"\\])/g, "$1"),
    )
  );
}

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
export function includedPaths(file: string, text: string, home: string): string[] {
  return linesOf(text).filter(({ key }) => key === "include").flatMap(({ words }) => words)
    .flatMap((pattern) => {
      if (pattern.startsWith("/")) return [pattern];
      if (pattern.startsWith("~/")) return [home + pattern.slice(1)];
      return [`${home}/.ssh/${pattern}`, `${dirname(file)}/${pattern}`];
    }).flatMap((path) => {
      if (!/[*?[{]/.test(path)) return [path];
      const dir = dirname(path);
      return [dir, ...namesIn(dir).map((name) => `${dir}/${name}`).filter((it) => !exists(it))];
    });
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
