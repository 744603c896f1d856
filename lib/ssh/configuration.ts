/**
 * ssh's configuration for a call, as `ssh -G -v` prints it: the argv to ask with, the parser of the answer,
 * the one function that asks, the values of tokens, and how much a session may send.
 */
import type { System } from "../os/system.ts";
import {
  parseConfigOption,
  parseDestination,
  type SshCall,
  type SshOption,
  wordsOf,
} from "./arguments.ts";
import { INSIDE } from "./real_ssh.ts";

/** The answer of `ssh -G -v`: one `keyword value` per line (dump_client_config() in readconf.c). */
export interface SshConfig {
  readonly lines: readonly string[];
  /** Returns the value of a keyword (in lower case), the first if there are several. */
  get(key: string): string | undefined;
  all(key: string): string[];
  /**
   * The configuration files that ssh read, as it names them: relative if `-F` is. ssh cuts a path of 200
   * bytes and more, so check that a file exists before relying on it.
   */
  readonly files: readonly string[];
  /** What ssh substitutes for the tokens in a file name, by their letters; see expandPath(). */
  readonly tokens: ReadonlyMap<string, string>;
  /** The commands that ssh ran for a `Match exec`, as far as the log shows them (500 bytes). */
  readonly execs: readonly string[];
  /** ssh's complaints about the configuration (`Deprecated option "x"`), which the call will repeat. */
  readonly warnings: readonly string[];
}

/** Parses both outputs of `ssh -G -v`. */
export function parseConfigDump(stdout: string, stderr: string): SshConfig {
  const dump = stdout.split("\n").filter((line) => line !== "");
  const tokens = parseTokens(dump.find(isControlPath)?.replace(/^\S+ /, "") ?? "");
  // That ControlPath is the one that we asked with.
  const lines = tokens.size > 0 ? dump.filter((line) => !isControlPath(line)) : dump;
  const values = new Map<string, string[]>();
  for (const line of lines) {
    const key = keyOf(line);
    values.set(key, [...values.get(key) ?? [], line.slice(key.length + 1)]);
  }
  // ControlPath takes no %k before 8.5.
  const alias = values.get("hostkeyalias")?.[0] ?? "none";
  if (tokens.size > 0) tokens.set("k", alias === "none" ? tokens.get("n")! : alias);
  const said = stderr.split(/\r?\n/).filter((line) => line !== "");
  return {
    lines,
    get: (key) => values.get(key)?.[0],
    all: (key) => [...values.get(key) ?? []],
    // A second pass ("Match final") reads them all again.
    files: [...new Set(found(said, /^debug1: Reading configuration data (.*)$/).map(unvis))],
    tokens,
    execs: found(said, /^debug1: Executing command: '(.*)'$/).map(unvis),
    warnings: said.filter((line) => !OF_ASKING.test(line)),
  };
}

function isControlPath(line: string): boolean {
  return keyOf(line) === "controlpath";
}

/** What `ssh -G -v` says of a faultless configuration: its log, and that stdin is no terminal. */
const OF_ASKING = /^(debug1: |OpenSSH_|Pseudo-terminal will not be allocated)/;

function found(lines: readonly string[], pattern: RegExp): string[] {
  return lines.flatMap((line) => pattern.exec(line)?.slice(1, 2) ?? []);
}

/** Returns the keyword of a line of `ssh -G` in lower case: ssh prints canonicalizePermittedcnames. */
export function keyOf(line: string): string {
  return line.split(" ", 1)[0].toLowerCase();
}

/** Undoes strnvis(3) with VIS_OCTAL, which log.c applies to every message. */
function unvis(text: string): string {
  const bytes: number[] = [];
  for (const [part, escaped] of text.matchAll(/\\([0-7]{3}|\\)|[^\\]+|\\/g)) {
    if (escaped === undefined) bytes.push(...new TextEncoder().encode(part));
    else bytes.push(escaped === "\\" ? 92 : parseInt(escaped, 8));
  }
  return new TextDecoder().decode(new Uint8Array(bytes));
}

// Options of the session, which do not affect the connection, and those that would override -v: -q sets
// the same log level, -y and -E send the log elsewhere.
const SESSION_LETTERS = "tTnfNsWeEyqv";

/**
 * Returns the argv that asks how ssh would treat a call. It includes the command, since `Match command` may
 * look at it.
 */
export function dumpArguments(call: SshCall): string[] {
  const options = effectiveOptions(call).filter(({ letter }) => !SESSION_LETTERS.includes(letter));
  // A request to a master (-O) uses the user's own ControlPath.
  const isToMaster = options.some(({ letter }) => letter === "O");
  const asked = isToMaster ? [] : ["-o", `ControlPath=${TOKENS_PATH}`];
  const own = [...asked, ...options.flatMap(wordsOf)];
  return ["-G", "-v", ...own, "--", call.destination, ...call.command];
}

// A master logs as the call does (-q, -v), but neither to a file nor to syslog: its messages go to its
// lane's log. Forwards end with their own process, and a request to a master never starts one.
const NOT_FOR_MASTER = "tTnfNsWeEy" + "DLRw" + "MSOGQVZ";

// The same as keywords, and those that we start the master with: the first value would win.
const KEYS_NOT_FOR_MASTER = new Set([
  ...["requesttty", "sessiontype", "stdinnull", "forkafterauthentication", "escapechar", "sendenv"],
  ...["remotecommand", "localcommand", "permitlocalcommand"],
  ...["localforward", "remoteforward", "dynamicforward"],
  ...["clearallforwardings", "exitonforwardfailure"],
  ...["controlmaster", "controlpath", "controlpersist"],
]);

/**
 * Returns the options that a call's master must be started with: the caller's, without the session's, and
 * `SendEnv=*`. A master passes on only those variables of a session that its own SendEnv names
 * (env_permitted() in mux.c, tried on 9.2), whether they come from the session's SendEnv or SetEnv; it
 * sends nothing of its own environment. `without` lists letters to leave out as well.
 */
export function connectionOptions(call: SshCall, without = ""): string[] {
  const options = effectiveOptions(call).filter((option) =>
    !`${NOT_FOR_MASTER}${without}`.includes(option.letter) &&
    !KEYS_NOT_FOR_MASTER.has(optionKey(option) ?? "")
  );
  return ["-o", "SendEnv=*", ...options.flatMap(wordsOf)];
}

/**
 * Returns the options that still count if all are put before the destination. In ssh the first value wins,
 * and a user or port in the destination counts where it stands: of `ssh a@host -l b` only a remains.
 */
export function effectiveOptions(call: SshCall): SshOption[] {
  const { user, port } = parseDestination(call.destination);
  return call.options.filter((option, index) => {
    const key = optionKey(option);
    if (index < call.ahead) return true;
    return !(key === "user" && user !== undefined) && !(key === "port" && port !== undefined);
  });
}

/** Returns the ssh_config keyword that an option sets, as far as it matters here. */
function optionKey({ letter, value }: SshOption): string | undefined {
  if (letter === "l") return "user";
  if (letter === "p") return "port";
  return letter === "o" ? parseConfigOption(value ?? "").key : undefined;
}

/** The configuration, or why there is none: ssh refuses the call and will say so itself. */
export type ConfigAnswer =
  | {
    readonly kind: "config";
    readonly config: SshConfig;
    /** How long ssh took for it, ms. */
    readonly took: number;
  }
  | { readonly kind: "failed"; readonly reason: string };

/** How long ssh may take for its configuration, ms: a `Match exec` may take long. */
const CONFIG_WAIT = 30_000;

/**
 * Asks ssh for its configuration for a call. A `Match exec` in it may run `ssh` again: {@linkcode INSIDE}
 * makes that one plain ssh.
 */
export async function readConfig(
  ssh: string,
  call: SshCall,
  system: Pick<System, "run">,
): Promise<ConfigAnswer> {
  const start = performance.now();
  const answer = await system.run(ssh, dumpArguments(call), {
    env: { [INSIDE]: ssh },
    signal: AbortSignal.timeout(CONFIG_WAIT),
  });
  const { code, stdout, stderr } = answer;
  const config = parseConfigDump(stdout, stderr);
  if (code === 0 && config.get("hostname") !== undefined) {
    return { kind: "config", config, took: performance.now() - start };
  }
  // A script in place of ssh may not know -G: all hosts would then look the same.
  const reason = code === 0 ? "ssh -G names no host" : `ssh -G ended with ${code}`;
  return { kind: "failed", reason: config.warnings.at(-1) ?? reason };
}

/** How long a `Match exec` may take before logging in is better than asking first, ms. */
const SLOW = 400;

/**
 * Returns why a call goes direct because of the time that its configuration took (`took`, ms). With a slow
 * `Match exec`, asking costs more than a shared connection saves, since ssh runs it again for the session.
 */
export function slowExec(config: SshConfig, took: number): string | undefined {
  if (config.execs.length === 0 || took <= SLOW) return undefined;
  return `a Match exec takes ${(took / 1000).toFixed(1)} s, longer than a login is worth`;
}

/** Whether X11 forwarding is limited in time, from the start of a connection (client_x11_get_proto()). */
export function isUntrustedX11(config: SshConfig): boolean {
  return config.get("forwardx11") === "yes" && config.get("forwardx11trusted") !== "yes" &&
    (config.get("forwardx11timeout") ?? "0") !== "0";
}

// The tokens of ssh_config(5) in file names: `%h`, `~`, `${NAME}`. We do not guess their values: `ssh -G`
// prints ControlPath expanded, so we ask with one that contains them all.

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

/**
 * Expands a file name as ssh does (default_client_percent_dollar_expand() in ssh.c), to an absolute path.
 * `undefined` if it contains what we do not understand: another user's home, an unknown token, a variable
 * that is not set.
 */
export function expandPath(
  path: string,
  config: Pick<SshConfig, "tokens">,
  system: Pick<System, "cwd" | "env">,
): string | undefined {
  const home = config.tokens.get("d");
  const isOfUser = path.startsWith("~") && !/^~(\/|$)/.test(path);
  if (isOfUser || (path.startsWith("~") && home === undefined)) return undefined;
  let isKnown = true;
  const expanded = path.replace(/^~/, "%d").replace(
    /%(.?)|\$\{([^}]+)\}/gs,
    (_, letter: string | undefined, name: string) => {
      const value = letter === undefined ? system.env(name) : config.tokens.get(letter);
      isKnown &&= value !== undefined;
      return value ?? "";
    },
  );
  return isKnown ? absolutePath(expanded, system) : undefined;
}

/** Returns the absolute path for one that may be relative to the directory of the call. */
export function absolutePath(path: string, system: Pick<System, "cwd">): string {
  return path.startsWith("/") ? path : `${system.cwd()}/${path}`;
}

// How long a session's request to a master may be. It carries the command and all variables that SendEnv
// and SetEnv name. A master closes the connection if it is too long (CHANNEL_MUX_MAX_PACKET in channels.c),
// and the session's ssh then exits with 255, whereas an ssh with its own connection sends each variable
// separately.

/** CHANNEL_MUX_MAX_PACKET, less what the rest of the request may take (the terminal type, for one). */
const MAX_REQUEST = 256 * 1024 - 4096;

/** Whether the request for this call's session is short enough for a master. */
export function fitsRequest(
  call: SshCall,
  config: SshConfig,
  environment: Readonly<Record<string, string>>,
): boolean {
  const patterns = config.all("sendenv").map(patternOf);
  const sent = Object.entries(environment)
    .filter(([name]) => patterns.some((pattern) => pattern.test(name)))
    .map(([name, value]) => `${name}=${value}`);
  const strings = [call.command.join(" "), ...sent, ...config.all("setenv")];
  const lengths = strings.map((text) => new TextEncoder().encode(text).length + 4);
  return lengths.reduce((sum, length) => sum + length, 0) <= MAX_REQUEST;
}

/** What Debian and others send by default; no locale is long. */
const LOCALE = /^(LANG|LC_\w*\*?)$/;

/**
 * Returns the variables that SendEnv names, whose length a plan has to limit: `[ $((${#A} + ${#B})) -le
 * SMALL_ENVIRONMENT ]`. `undefined` if SendEnv has a pattern: a shell cannot tell without a fork which
 * variables match it, so such calls are decided each time.
 */
export function sentNames(config: SshConfig): string[] | undefined {
  const names = config.all("sendenv").filter((name) => !LOCALE.test(name));
  return names.some((name) => /[*?]/.test(name)) ? undefined : names;
}

/**
 * How many characters fit in any case, with any locale added: a quarter, since a character of UTF-8 has up
 * to 4 bytes.
 */
export const SMALL_ENVIRONMENT = 60_000;

/** match_pattern() in match.c. */
function patternOf(text: string): RegExp {
  const source = text.replace(/[^*?]+/g, (part) => part.replace(/[^A-Za-z0-9_]/g, "\\$&"));
  return new RegExp(`^${source.replaceAll("*", ".*").replaceAll("?", ".")}$`, "s");
}
