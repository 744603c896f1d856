/**
 * Parses ssh(1)'s command line as ssh.c does: a getopt loop before the destination and another after it.
 * Pure. The result is only for deciding; what runs is the user's own array.
 */

/** One option as getopt returns it. The value stays as written, never a number. */
export interface SshOption {
  letter: string;
  value?: string;
}

/** Returns the option as separate words, however it was written. */
export function wordsOf({ letter, value }: SshOption): string[] {
  return value === undefined ? [`-${letter}`] : [`-${letter}`, value];
}

/** A command line that names a destination. */
export interface SshCall {
  kind: "call";
  options: SshOption[];
  /** How many of the options precede the destination; the others follow it. */
  ahead: number;
  destination: string;
  command: string[];
  /** How many words argv has up to and including the destination. */
  leading: number;
  /** True when options follow the destination. */
  trailingOptions: boolean;
}

/** A parsed command line of ssh. */
export type SshArgs =
  | SshCall
  | { kind: "no-destination"; options: SshOption[] }
  | { kind: "invalid"; reason: string };

// The optstring of ssh.c from 9.2 to 10.5, sorted.
const FLAGS = "1246ACGKMNTVXYZafgknqstvxy";
const WITH_VALUE = "BDEFIJLOPQRSWbceilmopw";

/** The option letters for getopts in sh. */
export const LETTERS: string = FLAGS + WITH_VALUE.replace(/./g, "$&:");

/** Parses the words after `ssh` as ssh.c's main() does, up to and including the command. */
export function parseSshArgs(argv: readonly string[]): SshArgs {
  const before = getopt(argv, 0);
  if (before.kind === "invalid") return before;
  if (before.next === argv.length) return { kind: "no-destination", options: before.options };
  const call = {
    kind: "call" as const,
    ahead: before.options.length,
    destination: argv[before.next],
    leading: before.next + 1,
  };
  // Otherwise ssh.c does "goto again".
  if (before.terminated) {
    const command = argv.slice(call.leading);
    return { ...call, options: before.options, command, trailingOptions: false };
  }
  const after = getopt(argv, call.leading);
  if (after.kind === "invalid") return after;
  return {
    ...call,
    options: [...before.options, ...after.options],
    command: argv.slice(after.next),
    trailingOptions: after.options.length > 0,
  };
}

type Run =
  | {
    kind: "run";
    options: SshOption[];
    /** Index of the first word that is not an option. */
    next: number;
    terminated: boolean;
  }
  | { kind: "invalid"; reason: string };

/** Runs getopt(3) as in openbsd-compat/getopt_long.c, from `start` to the first word that is no option. */
function getopt(argv: readonly string[], start: number): Run {
  const options: SshOption[] = [];
  let next = start;
  while (next < argv.length && argv[next].startsWith("-") && argv[next] !== "-") {
    const word = argv[next++];
    if (word === "--") break;
    for (let i = 1; i < word.length; i++) {
      const letter = word[i];
      if (FLAGS.includes(letter)) {
        options.push({ letter });
        continue;
      }
      if (!WITH_VALUE.includes(letter)) return invalid(`Cannot parse option "-${letter}"`);
      const attached = word.slice(i + 1);
      // -P was a flag without effect until 9.3 and takes a tag since 9.4. As separate words, both
      // readings lead to one connection, since ssh -G gets the same words; attached they do not.
      if (letter === "P" && attached !== "") return invalid(`Cannot parse option "-P${attached}"`);
      const value = attached !== "" ? attached : argv[next++];
      if (value === undefined) return invalid(`Cannot parse option "-${letter}" without a value`);
      options.push({ letter, value });
      break;
    }
  }
  // ssh.c looks at the previous word, whatever it was, so the value in `-l --` counts too.
  return { kind: "run", options, next, terminated: next > start && argv[next - 1] === "--" };
}

function invalid(reason: string): { kind: "invalid"; reason: string } {
  return { kind: "invalid", reason };
}

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

/**
 * Parses a destination: `[user@]host`, cut at the last @, or `ssh://[user[;parameters]@]host[:port]`
 * with a percent-encoded user (parse_ssh_uri() in readconf.c, parse_uri() in misc.c). Returns a text that
 * ssh would refuse whole, as the host: ssh itself says what is wrong with it.
 */
export function parseDestination(text: string): { user?: string; host: string; port?: number } {
  if (text.startsWith("ssh://")) return parseUri(text) ?? { host: text };
  const at = text.lastIndexOf("@");
  if (at < 1) return { host: text };
  return { user: text.slice(0, at), host: text.slice(at + 1) };
}

function parseUri(text: string): { user?: string; host: string; port?: number } | undefined {
  const uri = text.match(
    /^ssh:\/\/(?:([^@]*)@)?(\[[^\]]*\]|[^:/]+)(?::(?:([^/]+)(?:\/.*)?)?|\/.*)?$/s,
  );
  if (!uri) return undefined;
  const user = uri[1] === undefined ? undefined : decodeUser(uri[1].split(";")[0]);
  if (uri[1] !== undefined && !user) return undefined;
  return {
    ...(user ? { user } : {}),
    host: uri[2].replace(/^\[(.*)\]$/, "$1"),
    // A service name instead of a number is left to ssh (a2port() in misc.c).
    ...(/^\d+$/.test(uri[3] ?? "") ? { port: Number(uri[3]) } : {}),
  };
}

/** urldecode() in misc.c, which also reads + as a space; undefined for a malformed escape. */
function decodeUser(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}

/** A parsed line of ssh_config(5), or argument of `-o`. */
export interface ConfigLine {
  /** The keyword in lower case; "" for a blank line or a comment. */
  key: string;
  /** What follows the keyword, as written. */
  rest: string;
  /** The words of `rest`, without quotes and escapes. */
  words: string[];
}

/** Parses a line as process_config_line() in readconf.c does: `Key value`, `Key=value`, `Key = "value"`. */
export function parseConfigLine(text: string): ConfigLine {
  const line = text.replace(/[ \t\r\n\f]+$/, "").replace(/^(?:[ \t\r\n]+=?|=)[ \t\r\n]*/, "");
  const { keyword, rest } = cutKeyword(line);
  if (keyword.startsWith("#")) return { key: "", rest: "", words: [] };
  return { key: keyword.toLowerCase(), rest, words: splitWords(rest) };
}

/** strdelim() in misc.c: the first word, ended by blanks, by one "=" or by a closing quote. */
function cutKeyword(line: string): { keyword: string; rest: string } {
  const quoted = line.match(/^([^ \t\r\n="]*)"([^"]*)"[ \t\r\n]*(.*)$/s);
  if (quoted) return { keyword: quoted[1] + quoted[2], rest: quoted[3] };
  const plain = line.match(/^([^ \t\r\n="]*)[ \t\r\n]*=?[ \t\r\n]*(.*)$/s);
  return { keyword: plain?.[1] ?? "", rest: plain?.[2] ?? "" };
}

/** argv_split() in misc.c: blanks separate words, quotes of both kinds and backslashes protect, # ends. */
function splitWords(text: string): string[] {
  const words: string[] = [];
  let i = 0;
  while (i < text.length) {
    if (text[i] === " " || text[i] === "\t") {
      i++;
      continue;
    }
    if (text[i] === "#") break;
    let word = "";
    let quote = "";
    for (; i < text.length; i++) {
      const c = text[i];
      const next = text[i + 1] ?? "";
      if (c === "\\" && next !== "" && (`'"\\`.includes(next) || (!quote && next === " "))) {
        word += next;
        i++;
      } else if (!quote && (c === " " || c === "\t")) break;
      else if (!quote && (c === '"' || c === "'")) quote = c;
      else if (c === quote) quote = "";
      else word += c;
    }
    words.push(word);
  }
  return words;
}
