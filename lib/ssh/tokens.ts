/**
 * The tokens of ssh_config(5) in file names: `%h`, `~`, `${NAME}`. We do not guess their values: `ssh -G`
 * prints ControlPath expanded, so we ask with one that contains them all. Pure.
 */
import type { System } from "../os/system.ts";

/** The tokens that ControlPath takes in every version since 8.4 (percent_expand() in ssh.c). */
const LETTERS = "CLhilnpru";

/** Occurs in none of their values. */
const SEPARATOR = "\x1f";

/** The ControlPath to ask with. It ends in a dot, since ssh strips blanks at the end of a line. */
export const TOKENS_PATH = `~/${
  [...LETTERS].map((c) => `${SEPARATOR}%${c}`).join("")
}${SEPARATOR}.`;

/** Returns the value of each token, from the expanded ControlPath; `%d` is the home directory. */
export function parseTokens(path: string): Map<string, string> {
  const [home, ...values] = path.split(SEPARATOR);
  // A program that is not really ssh does not expand it.
  if (!home.startsWith("/") || values.length !== LETTERS.length + 1) return new Map();
  const tokens = new Map([...LETTERS].map((letter, i) => [letter, values[i]]));
  return tokens.set("d", home.replace(/(.)\/+$/, "$1")).set("%", "%");
}

/** Stands for a value that we do not know; no path has it. */
const UNKNOWN = "\0";

/**
 * Expands a file name as ssh does (default_client_percent_dollar_expand() in ssh.c), to an absolute path.
 * `undefined` if it contains what we do not understand: another user's home, an unknown token, a variable
 * that is not set.
 */
export function expandPath(
  path: string,
  config: { readonly tokens: ReadonlyMap<string, string> },
  system: Pick<System, "cwd" | "env">,
): string | undefined {
  const expanded = path.replace(/^~(?=\/|$)/, "%d").replace(
    /%(.?)|\$\{([^}]+)\}/gs,
    (_, letter: string | undefined, name: string) =>
      (letter === undefined ? system.env(name) : config.tokens.get(letter)) ?? UNKNOWN,
  );
  if (expanded.startsWith("~") || expanded.includes(UNKNOWN)) return undefined;
  return absolutePath(expanded, system);
}

/** Returns the absolute path for one that may be relative to the directory of the call. */
export function absolutePath(path: string, system: Pick<System, "cwd">): string {
  return path.startsWith("/") ? path : `${system.cwd()}/${path}`;
}
