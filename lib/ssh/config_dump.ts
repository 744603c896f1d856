/** The answer of `ssh -G -v`: ssh's configuration for a call. Pure. */
import { parseTokens } from "./tokens.ts";

/** ssh's configuration for a call. */
export type SshConfig = Readonly<ReturnType<typeof parseConfigDump>>;

/** Parses both outputs of `ssh -G -v`: one `keyword value` per line (dump_client_config() in readconf.c), and the log. */
export function parseConfigDump(stdout: string, stderr: string) {
  const dump = stdout.split("\n").filter((line) => line !== "");
  const tokens = parseTokens(dump.find(isControlPath)?.replace(/^\S+ /, "") ?? "");
  // That ControlPath is the one that we asked with.
  const lines = tokens.size > 0 ? dump.filter((line) => !isControlPath(line)) : dump;
  const ofKey = Map.groupBy(lines, keyOf);
  const all = (key: string) => ofKey.get(key)?.map((line) => line.slice(key.length + 1)) ?? [];
  // ControlPath takes no %k before 8.5.
  const [alias = "none"] = all("hostkeyalias");
  if (tokens.size > 0) tokens.set("k", alias === "none" ? tokens.get("n")! : alias);
  const said = stderr.split(/\r?\n/).filter((line) => line !== "");
  return {
    lines,
    /** Returns the value of a keyword (in lower case), the first if there are several. */
    get: (key: string) => all(key).at(0),
    all,
    /**
     * The configuration files that ssh read, as it names them: relative if `-F` is. ssh cuts a path of 200
     * bytes and more, so check that a file exists before relying on it. A second pass ("Match final") reads
     * them all again.
     */
    files: [...new Set(found(said, /^debug1: Reading configuration data (.*)$/).map(unvis))],
    /** What ssh substitutes for the tokens in a file name, by their letters; see expandPath(). */
    tokens,
    /** The commands that ssh ran for a `Match exec`, as far as the log shows them (500 bytes). */
    execs: found(said, /^debug1: Executing command: '(.*)'$/).map(unvis),
    /** ssh's complaints about the configuration (`Deprecated option "x"`), which the call will repeat. */
    warnings: said.filter((line) => !OF_ASKING.test(line)),
    version: versionOf(said.find((line) => line.startsWith("OpenSSH_")) ?? ""),
  };
}

/** Returns major and minor of an "OpenSSH_9.2p1 ..."; 0.0 for anything else. */
export function versionOf(text: string): [number, number] {
  const match = /OpenSSH_(\d+)\.(\d+)/.exec(text);
  return match ? [Number(match[1]), Number(match[2])] : [0, 0];
}

/** Returns the keyword of a line of `ssh -G` in lower case: ssh prints canonicalizePermittedcnames. */
export function keyOf(line: string): string {
  return line.split(" ", 1)[0].toLowerCase();
}

function isControlPath(line: string): boolean {
  return keyOf(line) === "controlpath";
}

/** What `ssh -G -v` says of a faultless configuration: its log, and that stdin is no terminal. */
const OF_ASKING = /^(debug1: |OpenSSH_|Pseudo-terminal will not be allocated)/;

function found(lines: readonly string[], pattern: RegExp): string[] {
  return lines.flatMap((line) => pattern.exec(line)?.slice(1, 2) ?? []);
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
