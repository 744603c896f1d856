/**
 * Whether a login led where the decision said. ssh reads its configuration again for the master, and a
 * `Match exec`, a network, a name server or a wrapper around ssh may answer otherwise than before: the lane
 * would then have another key, user or host than its identity says, for all later calls.
 */
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { parseSshArgs } from "./arguments.ts";
import type { SshConfig } from "./config_dump.ts";
import { readConfig } from "./configuration.ts";
import { connectionLines } from "./connection_lines.ts";
import { shortDigest } from "./digest.ts";
import { jumpWords, ownJumpWords } from "./jump.ts";

/** What a master has instead of its jump host: a ProxyCommand of ours. */
const OF_JUMP = /^(proxyjump|proxycommand|proxyusefdpass) /;

/** Returns a digest of what connects a call: of its own configuration, and then of its jump hosts'. */
export function connectionDigest(configs: readonly SshConfig[]): Promise<string> {
  const texts = configs.map((config, i) => {
    const isBehind = i < configs.length - 1;
    const lines = connectionLines(config).filter((line) => !isBehind || !OF_JUMP.test(line));
    return lines.join("\n");
  });
  return shortDigest(texts.join("\n\n"));
}

/**
 * Returns the exit status 0 if the words of a master, or those of a call, lead now where they led when the
 * digest was made; else 1, also if ssh does not say.
 */
export async function sameConnection(
  digest: string,
  argv: readonly string[],
  { ssh }: Pick<Given, "ssh">,
  system: Pick<System, "env" | "run">,
): Promise<number> {
  const configs: SshConfig[] = [];
  for (let next: readonly string[] | undefined = argv; next;) {
    const call = parseSshArgs(next);
    if (call.kind !== "call" || configs.length > MAX_CHAIN) return 1;
    const answer = await readConfig(ssh, call, system);
    if (answer.kind === "failed") return 1;
    configs.push(answer.config);
    next = ownJumpWords(answer.config) ?? jumpWords(call, answer.config, ssh, system);
  }
  return await connectionDigest(configs) === digest ? 0 : 1;
}

/** More jump hosts in a row are a circle. */
const MAX_CHAIN = 16;
