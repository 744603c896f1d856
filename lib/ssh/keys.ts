/** The keys that ssh would offer for a configuration: its key and certificate files, and its agent. */
import { readFile } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { absolutePath, expandPath, type SshConfig } from "./configuration.ts";
import { parseWire } from "./wire.ts";

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
