/** The keys in an SSH agent, each as base64, the second word of its line in a `.pub` file. */
import { isSystemError } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { connectUnix, NoConnection, type UnixConnection } from "../os/unix_socket.ts";
import type { SshConfig } from "./config_dump.ts";
import { usesKeys } from "./key_files.ts";
import { absolutePath, expandPath } from "./tokens.ts";
import { parseWire } from "./wire.ts";

/**
 * Returns the socket of the agent that a master of this configuration may ask for keys; `undefined` for
 * none. As in main() of ssh.c: IdentityAgent, which may be `none`, `SSH_AUTH_SOCK`, the name of another
 * variable after a `$`, or a path; otherwise SSH_AUTH_SOCK.
 */
export function agentOf(
  config: SshConfig,
  system: Pick<System, "cwd" | "env">,
): string | undefined {
  if (!usesKeys(config)) return undefined;
  const place = config.get("identityagent") ?? "SSH_AUTH_SOCK";
  if (place === "none") return undefined;
  const variable = place === "SSH_AUTH_SOCK" ? place : /^\$(\w+)$/.exec(place)?.[1];
  if (variable === undefined) return expandPath(place, config, system);
  const path = system.env(variable);
  return path === undefined ? undefined : absolutePath(path, system);
}

/** Which of an agent's keys are offered (pubkey_prepare() in sshconnect2.c). */
export interface OfferRule {
  /** Only those that key files name (IdentitiesOnly). */
  readonly identitiesOnly: boolean;
  /** The public keys and certificates in the key files, as "type base64". */
  readonly publicKeys: readonly string[];
}

/** Returns an agent's keys in the order in which ssh offers them: first those that key files name. */
export function offeredKeys(agentKeys: readonly string[], rule: OfferRule): string[] {
  const files = listedKeys(rule.publicKeys);
  const named = agentKeys.filter((key) => files.includes(key));
  const others = agentKeys.filter((key) => !files.includes(key));
  return rule.identitiesOnly ? named : [...named, ...others];
}

/** Returns the keys in lines as `ssh-add -L` prints them, in base64. Without a key it prints a sentence. */
export function listedKeys(lines: readonly string[]): string[] {
  return lines.flatMap((line) => /^\S+-\S+ ([A-Za-z0-9+/=]{16,})(?: |$)/.exec(line)?.[1] ?? []);
}

// From draft-ietf-sshm-ssh-agent.
const SSH_AGENT_FAILURE = 5;
const SSH_AGENTC_REQUEST_IDENTITIES = 11;
const SSH_AGENT_IDENTITIES_ANSWER = 12;

/** From authfd.c: ssh rejects an answer that is longer. */
const MAX_AGENT_REPLY_LEN = 256 * 1024;

/**
 * Returns the public keys in an agent, in its order. `"absent"`: nobody listens there. `"silent"`: no answer
 * within `deadline` (ms), one that we do not understand, or a socket that we cannot connect to.
 */
export async function agentKeys(
  socket: string,
  options: { readonly deadline: number },
): Promise<readonly string[] | "silent" | "absent"> {
  const start = performance.now();
  const connection = await connectUnix(socket, options).catch((error: Error) => {
    if (error instanceof NoConnection) return "absent";
    // A name that is too long has no errno (Rust's SocketAddr).
    if (isSystemError(error) || /SUN_LEN/.test(error.message)) return "silent";
    throw error;
  });
  if (typeof connection === "string") return connection;
  const left = Math.max(0, Math.ceil(options.deadline - (performance.now() - start)));
  // Not setTimeout(): its first use costs as much as all the rest.
  AbortSignal.timeout(left).addEventListener("abort", () => connection.close());
  try {
    const request = new Uint8Array([0, 0, 0, 1, SSH_AGENTC_REQUEST_IDENTITIES]);
    if (!await connection.write(request)) return "silent";
    const answer = await readMessage(connection);
    return (answer && keysIn(answer)) ?? "silent";
  } finally {
    connection.close();
  }
}

/** Reads one message: a length, which stays in front, and a body. */
async function readMessage(connection: UnixConnection): Promise<Uint8Array | undefined> {
  let bytes: Uint8Array = new Uint8Array(0);
  const part = new Uint8Array(16 * 1024);
  for (let length = 4; bytes.length < length;) {
    const count = await connection.read(part);
    if (count === null) return undefined;
    bytes = new Uint8Array([...bytes, ...part.subarray(0, count)]);
    if (bytes.length >= 4) length = 4 + new DataView(bytes.buffer).getUint32(0);
    if (length > MAX_AGENT_REPLY_LEN) return undefined;
  }
  return bytes;
}

/** Returns the keys in an answer. An agent that refuses has none to offer. */
function keysIn(answer: Uint8Array): string[] | undefined {
  return parseWire(answer, (reader) => {
    reader.uint32();
    const type = reader.byte();
    if (type === SSH_AGENT_FAILURE) return [];
    if (type !== SSH_AGENT_IDENTITIES_ANSWER) return undefined;
    const keys: string[] = [];
    for (let count = reader.uint32(); count > 0; count--) {
      const key = reader.bytes();
      if (key.length > 0) keys.push(key.toBase64()); // ssh also ignores what is not a key.
      reader.bytes(); // its comment
    }
    return keys;
  });
}

/**
 * How long an agent may take to answer, ms. One that takes longer may show a dialog, so we do not ask it
 * behind the user's back.
 */
export const AGENT_DEADLINE = 200;

/**
 * Whether OpenSSH's own ssh-agent listens at a socket, which answers without a dialog: a process of that
 * name was given the path (-a), or the path is one that it makes. An agent that sshd forwards has a name of
 * the same form before 10.1, with the pid of that sshd.
 */
export async function isOpenSshAgent(
  socket: string,
  system: Pick<System, "commandLines">,
): Promise<boolean> {
  const lines = await system.commandLines();
  const agents = [...lines.values()].filter((line) => /^(\S*\/)?ssh-agent /.test(line));
  if (agents.some((line) => line.includes(` ${socket} `))) return true;
  const ownName = /\/s\.\w+\.agent\.\w+$|\/com\.apple\.launchd\.\w+\/Listeners$/;
  const maker = /\/ssh-\w+\/agent\.(\d+)$/.exec(socket)?.[1];
  const isIts = maker ? !/\bsshd\b/.test(lines.get(Number(maker)) ?? "") : ownName.test(socket);
  return isIts && agents.length > 0;
}
