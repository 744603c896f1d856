/**
 * Sharing of connections to jump hosts. ssh reaches a jump host by running itself again with `-W '[%h]:%p'`
 * (main() in ssh.c, "ProxyJump"). Here that ssh is a client of the jump host's own lane, so ten hosts
 * behind one bastion need one login there. Pure.
 */
import type { System } from "../os/system.ts";
import { parseSshArgs, type SshCall, withoutOptions } from "./arguments.ts";
import type { SshConfig } from "./config_dump.ts";

/** What the jump host connects to; ssh fills it in. */
const TARGET = "[%h]:%p";

/**
 * Returns the argv, after the program's name, of a call's jump host, whichever way the configuration names
 * one; `undefined` without a jump host, or for one that is left to ssh.
 */
export function jumpWords(
  call: SshCall,
  config: SshConfig,
  ssh: string,
  system: Pick<System, "env">,
): string[] | undefined {
  return jumpCall(call, config) ??
    proxyJump(config.get("proxycommand") ?? "none", ssh, system.env("HOME"));
}

/**
 * Returns the argv, after the program's name, with which ssh would call the jump host of a call.
 * `undefined` without a jump host, and for one that is left to ssh. As in ssh.c, the last of a chain is the
 * jump host, the others are its own jump hosts, and of the call's options it gets only -F and -v.
 */
export function jumpCall(call: SshCall, config: SshConfig): string[] | undefined {
  const hops = config.get("proxyjump")?.split(",");
  // ssh -G does not print "none".
  if (!hops || !isValidHost(config.get("hostname") ?? "")) return undefined;
  const last = parseHop(hops[hops.length - 1]);
  if (!last || !isValidHost(last.host) || !isValidUser(last.user ?? "")) return undefined;
  const file = call.options.findLast(({ letter }) => letter === "F")?.value;
  const verbosity = call.options.filter(({ letter }) => letter === "v").length;
  return [
    ...(last.user === undefined ? [] : ["-l", last.user]),
    ...(last.port === undefined ? [] : ["-p", last.port]),
    ...(hops.length > 1 ? ["-J", hops.slice(0, -1).join(",")] : []),
    ...(file === undefined ? [] : ["-F", file]),
    ...(verbosity === 0 ? [] : [`-${"v".repeat(Math.min(verbosity, 3))}`]),
    ...CHANNEL_ONLY,
    "--",
    last.host,
  ];
}

const CHANNEL_ONLY = [
  // Implied by -W; written out for code that looks only at the options.
  ...["-o", "ClearAllForwardings=yes"],
  // No session runs on the jump host, but its master stays as long as those behind it: it must not
  // have access to the agent or the display (to which plain ssh gives it access during the jump).
  ...["-a", "-x"],
  ...["-W", TARGET],
];

/**
 * Returns the argv of the jump host's call, after the program's name, for a ProxyCommand that is just
 * another ssh: `ssh [options] -W %h:%p host`. `undefined` for one that does more, or that a shell would
 * change: it stays a command. `home` is what the user's shell substitutes for `~`.
 */
export function proxyJump(command: string, ssh: string, home?: string): string[] | undefined {
  const [program, ...argv] = shellWords(command.replace(/^exec\s+/, ""), home) ?? [];
  // We do not replace another ssh that the user chose.
  if (program !== "ssh" && program !== ssh) return undefined;
  const call = parseSshArgs(argv);
  if (call.kind !== "call" || call.command.length > 0) return undefined;
  const targets = call.options.filter(({ letter }) => letter === "W");
  if (targets.length !== 1 || !/^(%h|\[%h\]):%p$/.test(targets[0].value ?? "")) return undefined;
  const isLeftOut = ({ letter }: { letter: string }) => NO_MATTER.includes(letter);
  const isHarmless = call.options.every((option) =>
    isLeftOut(option) || (OF_CONNECTION.includes(option.letter) && !option.value?.includes("%"))
  );
  if (!isHarmless || call.destination.includes("%")) return undefined;
  return [...CHANNEL_ONLY, ...withoutOptions(call, isLeftOut)];
}

/** Options that -W implies or that only a session has, and -W itself. */
const NO_MATTER = "WNTntaAxXY";

/** Options that may apply to the connection to a jump host. */
const OF_CONNECTION = "46CqlpiFJobBcmI";

/**
 * Splits a command into words, if every shell would split it alike: words in single, double or no quotes,
 * and nothing that a shell would act on. `~/` at the beginning of a word is the home directory.
 */
function shellWords(command: string, home?: string): string[] | undefined {
  const WORD = /\s*((?:'[^'\n]*'|"[^"$`\\!\n]*"|[\w@%+=:,.\/[\]~-])+)(?=\s|$)/gy;
  const words: string[] = [];
  const text = command.trim();
  for (let end = 0; end < text.length; end = WORD.lastIndex) {
    const word = WORD.exec(text)?.[1];
    if (word === undefined) return undefined;
    const bare = word.replace(/'[^']*'|"[^"]*"/g, "");
    // Refuses a glob, which brackets are except in -W's target, and a ~ that is not the user's home.
    if (/[[\]]/.test(bare) && bare !== TARGET) return undefined;
    if (bare.includes("~") && !(word.startsWith("~/") && home && !bare.includes("~", 1))) {
      return undefined;
    }
    words.push(word.replace(/^~(?=\/)/, home ?? "").replace(/'([^']*)'|"([^"]*)"/g, "$1$2"));
  }
  return words;
}

/** Parses a jump host as `ssh -G` prints it: `[user@]host[:port]`, an address in brackets. */
function parseHop(text: string): { user?: string; host: string; port?: string } | undefined {
  const hop = /^(?:(.+)@)?(?:\[([^\]]+)\]|([^:/[\]]+))(?::(\d+))?$/s.exec(text);
  return hop ? { user: hop[1], host: hop[2] ?? hop[3], port: hop[4] } : undefined;
}

/** valid_hostname() in ssh.c, which checks only hosts from the command line; we check every host. */
function isValidHost(host: string): boolean {
  // deno-lint-ignore no-control-regex
  return /^(?!-)[^'`"$\\;&<>|(){},\s\x00-\x1f\x7f]+$/.test(host);
}

/** valid_ruser() in ssh.c, likewise. */
function isValidUser(user: string): boolean {
  // deno-lint-ignore no-control-regex
  return !/^-|['`";&<>|(){}\x00-\x1f\x7f]|\s-|\\$/.test(user);
}

/** A word that every shell takes literally, so it needs no quoting that could be wrong. */
const PLAIN_WORD = /^[A-Za-z0-9@+:,._/-][A-Za-z0-9@+=:,._/-]*$/;

/** A word that every shell takes literally in single quotes, as ssh itself writes its `'[%h]:%p'`. */
const BRACKETED_WORD = /^[A-Za-z0-9@+:,._/[\]-]+$/;

/** How a master's ProxyCommand begins that is the launcher on its way to the jump host. */
const OF_LAUNCHER = ["env", "SSHS_TASK=jump"];

/**
 * Returns the ProxyCommand with which a master reaches its jump host over that one's own lane. The user's
 * shell, whichever that is, reads it: `undefined` if a word needs more quoting than ssh's own, and then ssh
 * jumps by itself.
 *
 * @param launcher the path of the launcher, which is the jump host's ssh
 */
export function jumpCommand(launcher: string, argv: readonly string[]): string | undefined {
  const quoted = [...OF_LAUNCHER, launcher, ...argv].map((word) => {
    if (PLAIN_WORD.test(word)) return word;
    return word === TARGET || BRACKETED_WORD.test(word) ? `'${word}'` : undefined;
  });
  return quoted.includes(undefined) ? undefined : quoted.join(" ");
}

/** Returns the argv of the jump host's call if a configuration has a ProxyCommand of jumpCommand(). */
export function ownJumpWords(config: SshConfig): string[] | undefined {
  const words = shellWords(config.get("proxycommand") ?? "") ?? [];
  return OF_LAUNCHER.every((word, i) => words[i] === word) ? words.slice(3) : undefined;
}
