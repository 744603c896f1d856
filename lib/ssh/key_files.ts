/** The key and certificate files that ssh would look at for a configuration, and what is in them. */
import { readFile, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import type { SshConfig } from "./config_dump.ts";
import { digestOf } from "./digest.ts";
import { expandPath } from "./tokens.ts";
import { parseWire } from "./wire.ts";

/**
 * Returns the files that ssh looks for, as absolute paths, whether they exist or not, as in
 * load_public_identity_files() in ssh.c; and the file of revoked host keys. `undefined` if a name contains
 * what we do not understand: nothing may be shared or planned then.
 */
export function keyFiles(
  config: SshConfig,
  system: Pick<System, "cwd" | "env">,
): string[] | undefined {
  const named = (key: string) =>
    config.all(key).filter((name) => name.toLowerCase() !== "none" && name !== "/dev/null")
      .map((name) => expandPath(name, config, system));
  const certificates = usesKeys(config) ? named("certificatefile") : [];
  const identities = usesKeys(config) ? named("identityfile") : [];
  // ssh looks for a certificate beside its key only if none is named.
  const beside = certificates.length === 0 ? identities.map((path) => path && `${path}-cert`) : [];
  // ssh tries each as named and with `.pub` (sshkey_load_public() in authfile.c).
  const keys = [...identities, ...beside, ...certificates]
    .flatMap((path) => [path, path && `${path}.pub`]);
  const files = [...new Set([...keys, ...named("revokedhostkeys")])];
  return files.includes(undefined) ? undefined : files as string[];
}

/** Whether ssh offers keys at all. */
export function usesKeys(config: SshConfig): boolean {
  return !/^(no|false)$/.test(config.get("pubkeyauthentication") ?? "yes");
}

/** MAX_KEY_FILE_SIZE of sshkey.h: ssh reads no larger file. */
const MAX_KEY_FILE_SIZE = 1024 * 1024;

/** Reads the files of keyFiles(). `undefined` if one is a pipe (`-i <(...)`), which only ssh may read. */
export async function readKeys(
  paths: readonly string[],
  system: Pick<System, "now" | "uid">,
) {
  const digests: string[] = [];
  const publicKeys = new Map<string, string>();
  const privateKeys: string[] = [];
  let areUsable = true;
  for (const path of paths) {
    // Another process may find another file there.
    if (/^\/(dev|proc)\//.test(path)) return undefined;
    const content = readFile(path, MAX_KEY_FILE_SIZE);
    if (content === "other") return undefined;
    // In a directory that we may not enter there is nothing, for ssh as well.
    const info = content === "absent" ? undefined : statOf(path);
    if (content === "absent" || !info) {
      digests.push("-");
      continue;
    }
    const isDenied = content === "denied";
    const mode = (info.mode ?? 0) & 0o7777;
    digests.push(`${info.uid} ${mode.toString(8)} ${isDenied ? "" : await digestOf(content)}`);
    const text = isDenied ? "" : new TextDecoder().decode(content);
    const isPrivate = /^-----BEGIN .*PRIVATE KEY-----/m.test(text);
    if (isPrivate) privateKeys.push(path);
    // sshkey_perm_ok() in authfile.c.
    const isOpen = isPrivate && info.uid === system.uid() && (mode & 0o077) !== 0;
    if (isDenied || isOpen) areUsable = false;
    const [, type, base64] = PUBLIC_KEY.exec(text) ?? [];
    if (base64) publicKeys.set(path, `${type} ${base64}`);
  }
  return {
    /** 64 hex digits that change with the files' contents, modes and owners, and with which of them exist. */
    digest: await digestOf(new TextEncoder().encode(digests.join())),
    /** The public keys and certificates ("type base64") in files of their own. */
    publicKeys: [...new Set(publicKeys.values())],
    /** Whether each private key has such a file: else an agent may have a key that ssh takes for this one. */
    areNamed: privateKeys.every((path) => publicKeys.has(`${path}.pub`)),
    /**
     * False: ssh does not use one of them, for its mode. A chmod(1) would change that, but neither the content
     * nor the time of the file, so no shell would notice.
     */
    areUsable,
    /** When the first of the certificates that are valid now expires, s since the epoch; Infinity: never. */
    until: Math.min(...Array.from(publicKeys.values(), (key) => validBefore(key, system.now()))),
  };
}

/** The first line of a `.pub` file or a certificate that is no comment. */
const PUBLIC_KEY = /^[ \t]*([a-z][^\s:]*-\S+)[ \t]+([A-Za-z0-9+/=]{16,})(?=\s|$)/m;

/**
 * Returns when a certificate ("type base64") expires, s since the epoch; Infinity for a key, for a
 * certificate without an end, and for one that has expired at `now` (ms), which no server accepts.
 */
function validBefore(key: string, now: number): number {
  const [type, base64] = key.split(" ");
  if (!type.includes("-cert-v")) return Infinity;
  // How many values make the key (PROTOCOL.certkeys): most have two, a security key one more.
  const values = (/ed25519/.test(type) ? 1 : /dss/.test(type) ? 4 : 2) +
    (/^sk-/.test(type) ? 1 : 0);
  const end = parseWire(base64, (reader) => {
    // Type, nonce and the key itself; serial, user or host; key id, principals, valid after.
    for (let i = 0; i < values + 2; i++) reader.bytes();
    reader.take(8 + 4);
    for (let i = 0; i < 2; i++) reader.bytes();
    reader.take(8);
    return Number(reader.uint64());
  });
  const isForever = !end || end > Number.MAX_SAFE_INTEGER;
  return isForever || end * 1000 <= now ? Infinity : end;
}
