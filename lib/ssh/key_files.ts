/** The key and certificate files that ssh would look at for a configuration. */
import { readFile, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import type { SshConfig } from "./config_dump.ts";
import { digestOf } from "./digest.ts";
import { publicKeyIn, validBefore } from "./public_key.ts";
import { expandPath } from "./tokens.ts";

/**
 * Returns the files that ssh looks for, as absolute paths, whether they exist or not, as in
 * load_public_identity_files() in ssh.c; and the file of revoked host keys. `undefined` if a name contains
 * what we do not understand: nothing may be shared or planned then.
 */
export function keyFiles(
  config: SshConfig,
  system: Pick<System, "cwd" | "env">,
): string[] | undefined {
  const revoked = expandAll(config.all("revokedhostkeys"), config, system);
  if (!usesKeys(config)) return revoked;
  const certificates = expandAll(config.all("certificatefile"), config, system);
  const identities = expandAll(config.all("identityfile"), config, system);
  if (!certificates || !identities || !revoked) return undefined;
  // ssh looks for a certificate beside its key only if none is named.
  const beside = certificates.length === 0 ? identities.map((path) => `${path}-cert`) : [];
  const named = [...identities, ...beside, ...certificates];
  // ssh tries each as named and with `.pub` (sshkey_load_public() in authfile.c).
  return [...new Set([...named.flatMap((path) => [path, `${path}.pub`]), ...revoked])];
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

/** Whether ssh offers keys at all. */
export function usesKeys(config: SshConfig): boolean {
  return !/^(no|false)$/.test(config.get("pubkeyauthentication") ?? "yes");
}

/** The contents of key files. */
export interface Keys {
  /** 64 hex digits that change with the files' contents, modes and owners, and with which of them exist. */
  readonly digest: string;
  /** The public keys and certificates readable without a passphrase, as publicKeyIn() returns them. */
  readonly publicKeys: readonly string[];
  /**
   * False: ssh does not use one of them, for its mode. A chmod(1) would change that, but neither the content
   * nor the time of the file, so no shell would notice.
   */
  readonly areUsable: boolean;
  /** When the first of the certificates that are valid now expires, s since the epoch. */
  readonly until?: number;
}

/** MAX_KEY_FILE_SIZE of sshkey.h: ssh reads no larger file. */
const MAX_KEY_FILE_SIZE = 1024 * 1024;

/**
 * Reads the files that `keyFiles()` returns. `undefined` if one is a pipe (`-i <(...)`), which only ssh
 * may read.
 */
export async function readKeys(
  paths: readonly string[],
  system: Pick<System, "now" | "uid">,
): Promise<Keys | undefined> {
  const digests: string[] = [];
  const publicKeys = new Set<string>();
  let areUsable = true;
  for (const path of paths) {
    // Another process may find another file there.
    if (/^\/(dev|proc)\//.test(path)) return undefined;
    const content = readFile(path, MAX_KEY_FILE_SIZE);
    if (content === "other") return undefined;
    // In a directory that we may not enter there is nothing, for ssh as well.
    const info = content === "absent" ? undefined : statOf(path);
    if (content === "denied") areUsable = false;
    if (content === "absent" || !info) {
      digests.push("-");
      continue;
    }
    const facts = `${info.uid} ${((info.mode ?? 0) & 0o7777).toString(8)}`;
    const text = content === "denied" ? "" : new TextDecoder().decode(content);
    digests.push(content === "denied" ? facts : `${facts} ${await digestOf(content)}`);
    // sshkey_perm_ok() in authfile.c.
    const isOpen = info.uid === system.uid() && ((info.mode ?? 0) & 0o077) !== 0;
    if (isOpen && /^-----BEGIN .*PRIVATE KEY-----/m.test(text)) areUsable = false;
    const key = publicKeyIn(text);
    if (key !== undefined) publicKeys.add(key);
  }
  const digest = await digestOf(new TextEncoder().encode(digests.join(" ")));
  const until = Math.min(...[...publicKeys].map((key) => validBefore(key, system.now())));
  return {
    digest,
    publicKeys: [...publicKeys],
    areUsable,
    until: isFinite(until) ? until : undefined,
  };
}
