/**
 * Jump hosts that share too. ssh reaches a jump host by running itself again with `-W '[%h]:%p'`
 * (ssh.c, "-J"); here that ssh is a client of the jump host's own lane, so ten hosts behind one
 * bastion make one login there. Pure.
 */
import { parseDestination } from "./ssh_args.ts";
import type { Call } from "./plan.ts";
import type { SshConfig } from "./ssh_config.ts";

/**
 * The argv by which ssh would call the jump host of a call, after the program's name: `undefined`
 * without a jump host. As in ssh.c the last of a chain is the jump host, and the rest is its own.
 */
export function jumpCall(call: Call, config: SshConfig): string[] | undefined {
  const jump = config.get("proxyjump");
  if (!jump || jump === "none") return undefined;
  const hops = jump.split(",");
  const last = parseDestination(hops[hops.length - 1].replace(/^(?!ssh:\/\/)/, "ssh://"));
  const file = call.options.findLast(({ letter }) => letter === "F")?.value;
  return [
    ...(file === undefined ? [] : ["-F", file]),
    ...(last.user === undefined ? [] : ["-l", last.user]),
    ...(last.port === undefined ? [] : ["-p", `${last.port}`]),
    ...(hops.length > 1 ? ["-J", hops.slice(0, -1).join(",")] : []),
    ...["-W", "[%h]:%p"],
    "--",
    last.host,
  ];
}

/** What a shell of any kind takes for itself, so that no quoting is needed and none can be wrong. */
const PLAIN_WORD = /^[A-Za-z0-9@+=:,._/-]+$/;

/**
 * The ProxyCommand that reaches the jump host over its lane. The user's shell reads it, whichever that
 * is, so a word that would need quotes makes it `undefined`: then ssh jumps by itself.
 */
export function jumpCommand(
  ssh: string,
  socket: string,
  argv: readonly string[],
): string | undefined {
  const words = [ssh, "-S", socket, "-o", "ControlMaster=no", ...argv];
  const target = "[%h]:%p";
  if (!words.every((word) => word === target || PLAIN_WORD.test(word))) return undefined;
  return words.map((word) => word === target ? `'${target}'` : word).join(" ");
}
