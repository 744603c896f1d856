/**
 * What ssh's configuration makes of a call, as `ssh -G -v` tells it: the argv for asking, the parser
 * of the answer, and the one call that asks.
 */
import { parseConfigOption, parseDestination, type SshCall, type SshOption } from "./arguments.ts";
import { INSIDE } from "./real_ssh.ts";
import type { System } from "../os/system.ts";

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
}

/** Parses both outputs of `ssh -G -v`. */
export function parseConfigDump(stdout: string, stderr: string): SshConfig {
  const lines = stdout.split("\n").filter((line) => line !== "");
  const values = new Map<string, string[]>();
  for (const line of lines) {
    const key = keyOf(line);
    values.set(key, [...values.get(key) ?? [], line.slice(key.length + 1)]);
  }
  const read = stderr.matchAll(/^debug1: Reading configuration data ([^\r\n]*)\r?$/gm);
  return {
    lines,
    get: (key) => values.get(key)?.[0],
    all: (key) => [...values.get(key) ?? []],
    // A second pass ("Match final") reads them all again.
    files: [...new Set(Array.from(read, ([, name]) => unvis(name)))],
  };
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
  return ["-G", "-v", ...options.flatMap(words), "--", call.destination, ...call.command];
}

// A master logs as the call does (-q, -v), but neither to a file nor to syslog: what it says goes to
// its lane's log. Forwards end with their own process, and what speaks to a master never makes one.
const NOT_FOR_MASTER = "tTnfNsWeEy" + "DLRgw" + "MSOGQVZ";

// The same as keywords, and what the master is started with itself: the first value would win.
const KEYS_NOT_FOR_MASTER = new Set([
  ...["requesttty", "sessiontype", "stdinnull", "forkafterauthentication", "escapechar", "sendenv"],
  ...["remotecommand", "localcommand", "permitlocalcommand"],
  ...["localforward", "remoteforward", "dynamicforward", "gatewayports"],
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
  return ["-o", "SendEnv=*", ...options.flatMap(words)];
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

function words({ letter, value }: SshOption): string[] {
  return value === undefined ? [`-${letter}`] : [`-${letter}`, value];
}

/** The configuration, or why there is none: ssh refuses the call and will say so itself. */
export type ConfigAnswer =
  | { readonly kind: "config"; readonly config: SshConfig }
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
  const answer = await system.run(ssh, dumpArguments(call), {
    env: { [INSIDE]: ssh },
    signal: AbortSignal.timeout(CONFIG_WAIT),
  });
  const { code, stdout, stderr } = answer;
  const config = parseConfigDump(stdout, stderr);
  if (code === 0 && config.get("hostname") !== undefined) return { kind: "config", config };
  const said = stderr.split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("debug1: "));
  // A script in the place of ssh may know no -G: to it all hosts would be one.
  const reason = code === 0 ? "ssh -G names no host" : `ssh -G ended with ${code}`;
  return { kind: "failed", reason: said.at(-1) ?? reason };
}
