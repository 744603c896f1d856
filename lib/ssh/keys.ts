/** The keys in the caller's agent that ssh would offer for a configuration. */
import type { System } from "../os/system.ts";
import { connectUnix, NoConnection, type UnixConnection } from "../os/unix_socket.ts";
import type { SshConfig } from "./config_dump.ts";
import { usesKeys } from "./key_files.ts";
import { publicKeyText } from "./public_key.ts";
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
  /** The public keys and certificates in the key files. */
  readonly publicKeys: readonly string[];
}

/** Returns an agent's keys in the order in which ssh offers them: first those that key files name. */
export function offeredKeys(agentKeys: readonly string[], rule: OfferRule): string[] {
  const named = agentKeys.filter((key) => rule.publicKeys.includes(key));
  if (rule.identitiesOnly) return named;
  return [...named, ...agentKeys.filter((key) => !rule.publicKeys.includes(key))];
}

// From draft-ietf-sshm-ssh-agent.
const SSH_AGENT_FAILURE = 5;
const SSH_AGENTC_REQUEST_IDENTITIES = 11;
const SSH_AGENT_IDENTITIES_ANSWER = 12;

/** From authfd.c: ssh rejects an answer that is longer or has more keys. */
const MAX_AGENT_REPLY_LEN = 256 * 1024;
const MAX_AGENT_IDENTITIES = 2048;

/**
 * Returns the public keys in an agent, in its order, each as "type base64". `"absent"`: nobody listens
 * there. `"silent"`: no answer within `deadline` (ms), one that we do not understand, or a socket
 * that we cannot connect to.
 */
export async function agentKeys(
  socket: string,
  options: { readonly deadline: number },
): Promise<readonly string[] | "silent" | "absent"> {
  const start = performance.now();
  const connection = await connectUnix(socket, options);
  if (connection instanceof NoConnection) {
    return connection.why === "absent" || connection.why === "refused" ? "absent" : "silent";
  }
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

/** Reads one message, a length and a body, and returns the body. */
async function readMessage(connection: UnixConnection): Promise<Uint8Array | undefined> {
  const head = await readExactly(connection, 4);
  const length = head && new DataView(head.buffer).getUint32(0);
  if (!length || length > MAX_AGENT_REPLY_LEN) return undefined;
  return await readExactly(connection, length);
}

async function readExactly(
  connection: UnixConnection,
  length: number,
): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(length);
  for (let have = 0; have < length;) {
    const count = await connection.read(bytes.subarray(have));
    if (count === null) return undefined;
    have += count;
  }
  return bytes;
}

/** Returns the keys in an answer. An agent that refuses has none to offer. */
function keysIn(answer: Uint8Array): string[] | undefined {
  return parseWire(answer, (reader) => {
    const type = reader.byte();
    if (type === SSH_AGENT_FAILURE) return [];
    if (type !== SSH_AGENT_IDENTITIES_ANSWER) return undefined;
    const count = reader.uint32();
    if (count > MAX_AGENT_IDENTITIES) return undefined;
    const keys: string[] = [];
    for (let i = 0; i < count; i++) {
      // ssh also ignores what is not a key.
      const key = publicKeyText(reader.bytes());
      if (key !== undefined) keys.push(key);
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

/** The keys in the user's agents. We ask an agent as long as a lane that may have used it is in use. */
export class Agents {
  readonly #ask: typeof agentKeys;
  /** Agents that have answered, and those that have never done so in time, which are not asked again. */
  readonly #known = new Set<string>();
  readonly #silent = new Set<string>();
  #answers = new Map<string, Promise<readonly string[] | undefined>>();

  constructor(ask: typeof agentKeys = agentKeys) {
    this.#ask = ask;
  }

  /** Returns the public keys in the agent at a socket; `undefined` if it does not say. */
  keysOf(socket: string): Promise<readonly string[] | undefined> {
    if (this.#silent.has(socket)) return Promise.resolve(undefined);
    const asked = this.#answers.get(socket) ?? this.#keysOf(socket);
    this.#answers.set(socket, asked);
    return asked;
  }

  /** Forgets the answers so far, so that agents are asked again. */
  forget(): void {
    this.#answers.clear();
  }

  /** Notes that an agent answers: it is asked again even if it is late once, as on a busy machine. */
  trust(socket: string): void {
    this.#known.add(socket);
  }

  async #keysOf(socket: string): Promise<readonly string[] | undefined> {
    const keys = await this.#ask(socket, { deadline: AGENT_DEADLINE });
    if (keys === "absent") return [];
    if (keys !== "silent") {
      this.trust(socket);
      return keys;
    }
    if (!this.#known.has(socket)) this.#silent.add(socket);
  }
}
