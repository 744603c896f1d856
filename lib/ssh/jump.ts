/**
 * Sharing of connections to jump hosts. ssh reaches a jump host by running itself again with `-W '[%h]:%p'`
 * (main() in ssh.c, "ProxyJump"). Here that ssh is a client of the jump host's own lane, so ten hosts
 * behind one bastion need one login there. Pure.
 */
import type { System } from "../os/system.ts";
import { parseSshArgs, type SshCall, type SshOption, withoutOptions } from "./arguments.ts";
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
 * Returns the jump host's argv for ProxyJump. As in ssh.c, the last of a chain is the jump host, the others
 * are its own jump hosts, and of the call's options it gets only
 * -F (and -v, with which a call logs in nowhere).
 */
export function jumpCall(call: SshCall, config: SshConfig): string[] | undefined {
  // ssh -G does not print "none"; it prints `[user@]host[:port]`, an address in brackets.
  const hops = config.get("proxyjump")?.split(",") ?? [];
  const hop = /^(?:(.+)@)?(?:\[([^\]]+)\]|([^:/[\]]+))(?::(\d+))?$/s.exec(hops.at(-1) ?? "");
  const [, user, address, name, port] = hop ?? [];
  const host = address ?? name ?? "";
  if (![config.get("hostname") ?? "", host, user ?? "user"].every(isValid)) return undefined;
  const file = call.options.findLast(({ letter }) => letter === "F")?.value;
  return [
    ...(user === undefined ? [] : ["-l", user]),
    ...(port === undefined ? [] : ["-p", port]),
    ...(hops.length > 1 ? ["-J", hops.slice(0, -1).join(",")] : []),
    ...(file === undefined ? [] : ["-F", file]),
    ...CHANNEL_ONLY,
    "--",
    host,
  ];
}

/** valid_hostname() in ssh.c, which checks only what the command line names. It refuses more users than ssh does. */
function isValid(name: string): boolean {
  // deno-lint-ignore no-control-regex
  return /^(?!-)[^'`"$\\;&<>|(){},\s\x00-\x1f\x7f]+$/.test(name);
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
 * Returns the jump host's argv for a ProxyCommand that is just another ssh: `ssh [options] -W %h:%p host`.
 * `undefined` for one that does more, or that a shell would change: it stays a command. `home` is what the
 * user's shell substitutes for `~`.
 */
export function proxyJump(command: string, ssh: string, home?: string): string[] | undefined {
  const [program, ...argv] = shellWords(command.replace(/^exec\s+/, ""), home) ?? [];
  // We do not replace another ssh that the user chose.
  if (program !== "ssh" && program !== ssh) return undefined;
  const call = parseSshArgs(argv);
  if (call.kind !== "call" || call.command.length > 0) return undefined;
  const targets = call.options.filter(({ letter }) => letter === "W");
  if (targets.length !== 1 || !/^(%h|\[%h\]):%p$/.test(targets[0].value ?? "")) return undefined;
  const isLeftOut = ({ letter }: SshOption) => NO_MATTER.includes(letter);
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

/** A word that every shell takes literally, so it needs no quoting that could be wrong. */
const PLAIN = /^[\w@+=:,./%-]+$/;

/** Words that every shell takes literally in quotes, as ssh itself writes its `'[%h]:%p'`. */
const QUOTED = /^(['"])([\w@+=:,./%~[\]-]+)\1$/;

/**
 * Splits a command into words, if every shell would split it alike and act on none of them. `~/` at the
 * beginning of a word is the home directory.
 */
function shellWords(command: string, home?: string): string[] | undefined {
  const words = command.trim().split(/[ \t]+/).map((word) => {
    if (word === TARGET || PLAIN.test(word)) return word;
    if (home && word.startsWith("~/") && PLAIN.test(word.slice(1))) return home + word.slice(1);
    return QUOTED.exec(word)?.[2];
  });
  return words.includes(undefined) ? undefined : words as string[];
}

/**
 * Returns the ProxyCommand with which a master reaches its jump host over that one's own lane. The user's
 * shell, whichever that is, reads it, and ssh substitutes tokens before: `undefined` if a word needs more than
 * ssh's own quotes, and then ssh jumps by itself.
 *
 * @param launcher the path of the launcher, which is the jump host's ssh
 */
export function jumpCommand(launcher: string, argv: readonly string[]): string | undefined {
  const quoted = ["env", "SSHS_TASK=jump", launcher, ...argv].map((word) => {
    if (word !== TARGET && (/[%~]/.test(word) || word.startsWith("="))) return undefined;
    return PLAIN.test(word) ? word : QUOTED.exec(`'${word}'`)?.[0];
  });
  return quoted.includes(undefined) ? undefined : quoted.join(" ");
}
