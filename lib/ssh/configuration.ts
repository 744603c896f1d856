/**
 * What ssh's configuration makes of a call, as `ssh -G -v` tells it: the argv for asking, the parser of the
 * answer, the one call that asks, what its tokens stand for, and how much of it a session sends.
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

/** The answer of `ssh -G -v`: one `keyword value` a line (dump_client_config() in readconf.c). */
export interface SshConfig {
  readonly lines: readonly string[];
  /** The value of a keyword (in lower case), the first if there are several. */
  get(key: string): string | undefined;
  all(key: string): string[];
  /**
   * The configuration files that ssh read, named as it names them: by `-F` possibly relative. A path
   * of 200 bytes and more is cut there, so who depends on a file must see that it exists.
   */
  readonly files: readonly string[];
  /** What ssh puts for the tokens in a file's name, by their letters; see expandPath(). */
  readonly tokens: ReadonlyMap<string, string>;
  /** The commands that ran for a `Match exec`, as far as the log shows them (500 bytes). */
  readonly execs: readonly string[];
  /** What ssh had against the configuration (`Deprecated option "x"`), as the call itself will say it. */
  readonly warnings: readonly string[];
}

/** Parses both outputs of `ssh -G -v`. */
export function parseConfigDump(stdout: string, stderr: string): SshConfig {
  const dump = stdout.split("\n").filter((line) => line !== "");
  const tokens = parseTokens(dump.find(isControlPath)?.replace(/^\S+ /, "") ?? "");
  // The ControlPath is then the question's own.
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

/** What `ssh -G -v` says without a fault in the configuration: its log, and that nobody is at its stdin. */
const OF_ASKING = /^(debug1: |OpenSSH_|Pseudo-terminal will not be allocated)/;

function found(lines: readonly string[], pattern: RegExp): string[] {
  return lines.flatMap((line) => pattern.exec(line)?.slice(1, 2) ?? []);
}

/** The keyword of a line of `ssh -G` in lower case: one is printed as canonicalizePermittedcnames. */
export function keyOf(line: string): string {
  return line.split(" ", 1)[0].toLowerCase();
}

/** Undoes strnvis(3) with VIS_OCTAL, through which log.c sends every message. */
function unvis(text: string): string {
  const bytes: number[] = [];
  for (const [part, escaped] of text.matchAll(/\\([0-7]{3}|\\)|[^\\]+|\\/g)) {
    if (escaped === undefined) bytes.push(...new TextEncoder().encode(part));
    else bytes.push(escaped === "\\" ? 92 : parseInt(escaped, 8));
  }
  return new TextDecoder().decode(new Uint8Array(bytes));
}

// What a session asks for, which says nothing of a connection, and what -v would lose its word to: -q
// sets the same log level, -y and -E send the log elsewhere.
const SESSION_LETTERS = "tTnfNsWeEyqv";

/**
 * The argv that asks how ssh would treat a call. The command goes with it, since `Match command` may
 * look at it.
 */
export function dumpArguments(call: SshCall): string[] {
  const options = effectiveOptions(call).filter(({ letter }) => !SESSION_LETTERS.includes(letter));
  // For what is said to a master (-O) the user's own ControlPath counts.
  const isToMaster = options.some(({ letter }) => letter === "O");
  const asked = isToMaster ? [] : ["-o", `ControlPath=${TOKENS_PATH}`];
  const own = [...asked, ...options.flatMap(wordsOf)];
  return ["-G", "-v", ...own, "--", call.destination, ...call.command];
}

// A master logs as the call does (-q, -v), but neither to a file nor to syslog: what it says goes to
// its lane's log. Forwards end with their own process, and what speaks to a master never makes one.
const NOT_FOR_MASTER = "tTnfNsWeEy" + "DLRw" + "MSOGQVZ";

// The same as keywords, and what the master is started with itself: the first value would win.
const KEYS_NOT_FOR_MASTER = new Set([
  ...["requesttty", "sessiontype", "stdinnull", "forkafterauthentication", "escapechar", "sendenv"],
  ...["remotecommand", "localcommand", "permitlocalcommand"],
  ...["localforward", "remoteforward", "dynamicforward"],
  ...["clearallforwardings", "exitonforwardfailure"],
  ...["controlmaster", "controlpath", "controlpersist"],
]);

/**
 * The options that a master for a call must be started with: the caller's, less what is the
 * session's, and `SendEnv=*`. A master hands on only those variables of a session that its own SendEnv
 * names (env_permitted() in mux.c, tried on 9.2), whether the session has them from its SendEnv or
 * its SetEnv; it sends nothing of its own environment. `without` is letters to leave out as well.
 */
export function connectionOptions(call: SshCall, without = ""): string[] {
  const options = effectiveOptions(call).filter((option) =>
    !`${NOT_FOR_MASTER}${without}`.includes(option.letter) &&
    !KEYS_NOT_FOR_MASTER.has(optionKey(option) ?? "")
  );
  return ["-o", "SendEnv=*", ...options.flatMap(wordsOf)];
}

/**
 * The options in an order that allows to put them all before the destination. In ssh the first value
 * wins, and a destination with a user or a port counts where it stands: of `ssh a@host -l b` only a
 * remains.
 */
function effectiveOptions(call: SshCall): SshOption[] {
  const { user, port } = parseDestination(call.destination);
  return call.options.filter((option, index) => {
    const key = optionKey(option);
    if (index < call.ahead) return true;
    return !(key === "user" && user !== undefined) && !(key === "port" && port !== undefined);
  });
}

/** The ssh_config keyword that an option sets, as far as it matters here. */
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

/** How long ssh may take for its configuration, ms: a `Match exec` may do much. */
const CONFIG_WAIT = 30_000;

/**
 * Asks ssh what its configuration makes of a call. A `Match exec` in it may run `ssh` again: the mark
 * makes that one plain.
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
  // A script in the place of ssh may know no -G: to it all hosts would be one.
  const reason = code === 0 ? "ssh -G names no host" : `ssh -G ended with ${code}`;
  return { kind: "failed", reason: config.warnings.at(-1) ?? reason };
}

/** How long a `Match exec` may take before a call is better off logging in than asking first, ms. */
const SLOW = 400;

/**
 * Why a call goes direct for the time that its configuration takes: where a `Match exec` is slow, asking
 * costs more than a shared connection saves, since ssh runs it again for the session. `took` is ms.
 */
export function slowExec(config: SshConfig, took: number): string | undefined {
  if (config.execs.length === 0 || took <= SLOW) return undefined;
  return `a Match exec takes ${(took / 1000).toFixed(1)} s, longer than a login is worth`;
}

/** Whether X11 is for a time only, which begins with each connection (client_x11_get_proto()). */
export function isUntrustedX11(config: SshConfig): boolean {
  return config.get("forwardx11") === "yes" && config.get("forwardx11trusted") !== "yes" &&
    (config.get("forwardx11timeout") ?? "0") !== "0";
}

// The tokens of ssh_config(5) in the names of files: `%h`, `~`, `${NAME}`. Nothing is guessed of what
// they stand for: `ssh -G` prints ControlPath expanded, so it is asked with one that holds them all.

/** The tokens that ControlPath takes in each version since 8.4 (percent_expand() in ssh.c). */
const LETTERS = "CLhilnpru";

/** Stands in none of their values. */
const SEPARATOR = "\x1f";

/** The ControlPath to ask with. It ends in a dot, since ssh cuts blanks at the end of a line. */
export const TOKENS_PATH = `~/${
  [...LETTERS].map((c) => `${SEPARATOR}%${c}`).join("")
}${SEPARATOR}.`;

/** What each token stands for, from ControlPath as it comes back; `%d` is the home directory. */
export function parseTokens(path: string): Map<string, string> {
  const [home, ...values] = path.split(SEPARATOR);
  // An ssh that is none has not expanded it.
  if (!home.startsWith("/") || values.length !== LETTERS.length + 1) return new Map();
  const tokens = new Map([...LETTERS].map((letter, i) => [letter, values[i]]));
  return tokens.set("d", home.replace(/(.)\/+$/, "$1")).set("%", "%");
}

/**
 * A file's name as ssh expands it (default_client_percent_dollar_expand() in ssh.c), absolute.
 * `undefined` for one that we do not understand: another user's home, a token that is not known here, a
 * variable that is not set.
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

/** The path from the root, for one that is relative to the directory of the call. */
export function absolutePath(path: string, system: Pick<System, "cwd">): string {
  return path.startsWith("/") ? path : `${system.cwd()}/${path}`;
}

// How much a session may ask of a master. The request carries the command and all variables that SendEnv
// and SetEnv name; a master closes the connection on one that is too long (CHANNEL_MUX_MAX_PACKET in
// channels.c), and the session's ssh then ends with 255, where one with a connection of its own sends
// each variable by itself.

/** CHANNEL_MUX_MAX_PACKET, less what the rest of the request may take (the terminal's type among it). */
const MAX_REQUEST = 256 * 1024 - 4096;

/** Whether the request for this call's session is one that a master takes. */
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

/** What Debian and others send by default; nobody's locale is long. */
const LOCALE = /^(LANG|LC_\w*\*?)$/;

/**
 * The variables whose lengths a plan has to bound, since SendEnv names them: `[ $((${#A} + ${#B})) -le
 * SMALL_ENVIRONMENT ]`. `undefined` where SendEnv has a pattern: which variables that takes, a shell
 * cannot tell without a fork, so that such calls are decided each time.
 */
export function sentNames(config: SshConfig): string[] | undefined {
  const names = config.all("sendenv").filter((name) => !LOCALE.test(name));
  return names.some((name) => /[*?]/.test(name)) ? undefined : names;
}

/**
 * So many characters fit, whatever they are and whatever a locale adds: a quarter, as UTF-8 has up
 * to 4 bytes.
 */
export const SMALL_ENVIRONMENT = 60_000;

/** match_pattern() in match.c. */
function patternOf(text: string): RegExp {
  const source = text.replace(/[^*?]+/g, (part) => part.replace(/[^A-Za-z0-9_]/g, "\\$&"));
  return new RegExp(`^${source.replaceAll("*", ".*").replaceAll("?", ".")}$`, "s");
}
