/**
 * The keys that ssh would offer for a configuration: those in key and certificate files, and those in the
 * caller's agent.
 */
import { readFile } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { connectUnix, NoConnection, type UnixConnection } from "../os/unix_socket.ts";
import { absolutePath, expandPath, type SshConfig } from "./configuration.ts";

/**
 * Returns the files that ssh looks for, as absolute paths, whether they exist or not, as in
 * load_public_identity_files() in ssh.c. `undefined` if a name contains what we do not understand:
 * nothing may be shared or planned then.
 */
export function keyFiles(
  config: SshConfig,
  system: Pick<System, "cwd" | "env">,
): string[] | undefined {
  if (!usesKeys(config)) return [];
  const certificates = expandAll(config.all("certificatefile"), config, system);
  const identities = expandAll(config.all("identityfile"), config, system);
  if (!certificates || !identities) return undefined;
  // ssh looks for a certificate beside its key only if none is named.
  const beside = certificates.length === 0 ? identities.map((path) => `${path}-cert`) : [];
  const named = [...identities, ...beside, ...certificates];
  // ssh tries each as named and with `.pub` (sshkey_load_public() in authfile.c).
  return [...new Set(named.flatMap((path) => [path, `${path}.pub`]))];
}

function expandAll(
  names: readonly string[],
  config: SshConfig,
  system: Pick<System, "cwd" | "env">,
): string[] | undefined {
  const paths: string[] = [];
  for (const name of names) {
    if (name.toLowerCase() === "none" || name === "/dev/null") continue;
    const path = expandPath(name, config, system);
    if (path === undefined) return undefined;
    paths.push(path);
  }
  return paths;
}

/** The contents of key files. */
export interface Keys {
  /** 64 hex digits that change with the contents, and with which files exist. */
  readonly digest: string;
  /** The public keys and certificates readable without a passphrase, as publicKeyIn() returns them. */
  readonly publicKeys: readonly string[];
}

/** MAX_KEY_FILE_SIZE of sshkey.h: ssh reads no larger file. */
const MAX_KEY_FILE_SIZE = 1024 * 1024;

/**
 * Reads the files that `keyFiles()` returns. `undefined` if one is a pipe (`-i <(...)`), which only ssh
 * may read.
 */
export async function readKeys(paths: readonly string[]): Promise<Keys | undefined> {
  const digests: string[] = [];
  const publicKeys = new Set<string>();
  for (const path of paths) {
    const content = readFile(path, MAX_KEY_FILE_SIZE);
    if (content === "other") return undefined;
    if (content === "absent") {
      digests.push("-");
      continue;
    }
    digests.push(await digestOf(content));
    const key = publicKeyIn(new TextDecoder().decode(content));
    if (key !== undefined) publicKeys.add(key);
  }
  const digest = await digestOf(new TextEncoder().encode(digests.join(" ")));
  return { digest, publicKeys: [...publicKeys] };
}

/** Returns the SHA-256 of some bytes, in hex. */
export async function digestOf(bytes: Uint8Array): Promise<string> {
  // A copy, since crypto requires a buffer of its own.
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes))).toHex();
}

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

/** Whether ssh offers keys at all. */
function usesKeys(config: SshConfig): boolean {
  return !/^(no|false)$/.test(config.get("pubkeyauthentication") ?? "yes");
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

/** Returns a public key (or a certificate) as text: type and data in base64, without a comment. */
function publicKeyText(blob: Uint8Array): string | undefined {
  const type = parseWire(blob, (reader) => new TextDecoder().decode(reader.bytes()));
  return type && /^[\x21-\x7e]+$/.test(type) ? `${type} ${blob.toBase64()}` : undefined;
}

/**
 * Returns the public key in the text of a key file: a `.pub` file, a certificate, or a private key in
 * OpenSSH's own format, which contains it in clear (sshkey_load_public() in authfile.c). `undefined` for
 * anything else: ssh does not learn it from an older private key before decrypting that.
 */
export function publicKeyIn(text: string): string | undefined {
  for (const line of text.split("\n")) {
    const words = line.trim().split(/[ \t]+/);
    if (words[0] === "" || words[0].startsWith("#")) continue;
    if (line.startsWith("-----BEGIN")) return publicPartOf(text);
    const blob = words.length > 1 ? decode(words[1]) : undefined;
    const key = blob && publicKeyText(blob);
    if (key?.startsWith(`${words[0]} `)) return key;
  }
}

const MAGIC = "openssh-key-v1\0";

/** Returns the public part of a private key (PROTOCOL.key). */
function publicPartOf(text: string): string | undefined {
  const armour =
    /^-----BEGIN OPENSSH PRIVATE KEY-----\r?\n([A-Za-z0-9+/=\s]+)-----END OPENSSH PRIVATE KEY-----/m
      .exec(text);
  const bytes = armour ? decode(armour[1].replace(/\s+/g, "")) : undefined;
  return bytes && parseWire(bytes, (reader) => {
    if (new TextDecoder().decode(reader.take(MAGIC.length)) !== MAGIC) return undefined;
    // Cipher, key derivation, its options, and the number of keys: always one.
    for (let i = 0; i < 3; i++) reader.bytes();
    reader.uint32();
    return publicKeyText(reader.bytes());
  });
}

function decode(base64: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(base64);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

// The data types of SSH's own formats (RFC 4251 section 5), for agents and key files.

/** Reads one value after another. Throws RangeError if the bytes end too early. */
class WireReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  byte(): number {
    return this.#view.getUint8(this.#at++);
  }

  uint32(): number {
    const value = this.#view.getUint32(this.#at);
    this.#at += 4;
    return value;
  }

  /** Reads a `string`: its length, and that many bytes. */
  bytes(): Uint8Array {
    const length = this.uint32();
    return this.take(length);
  }

  /** Reads `length` bytes as they are. */
  take(length: number): Uint8Array {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new RangeError("Cannot read beyond the end");
    const part = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return part;
  }
}

/** Returns the result of `read` on the bytes; `undefined` if they end too early. */
function parseWire<T>(
  bytes: Uint8Array,
  read: (reader: WireReader) => T,
): T | undefined {
  try {
    return read(new WireReader(bytes));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
