/** Lines of ssh_config(5), and arguments of `-o`, parsed as readconf.c does. Pure. */

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
