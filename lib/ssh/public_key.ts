/** Public keys and certificates, as files and agents have them. Pure. */
import { parseWire } from "./wire.ts";

/** Returns a public key (or a certificate) as text: type and data in base64, without a comment. */
export function publicKeyText(blob: Uint8Array): string | undefined {
  const type = parseWire(blob, (reader) => reader.text());
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

/**
 * Returns when a certificate ("type base64") expires, s since the epoch; Infinity for a key, for a
 * certificate without an end, and for one that has expired at `now` (ms), which no server accepts.
 */
export function validBefore(key: string, now: number): number {
  const [type, base64] = key.split(" ");
  const blob = type.includes("-cert-v") && decode(base64);
  // How many values make the key (PROTOCOL.certkeys): most have two, a security key one more.
  const values = (/ed25519/.test(type) ? 1 : /dss/.test(type) ? 4 : 2) +
    (/^sk-/.test(type) ? 1 : 0);
  const end = blob && parseWire(blob, (reader) => {
    // Type, nonce and the key itself; serial, user or host; key id, principals, valid after.
    for (let i = 0; i < values + 2; i++) reader.bytes();
    reader.uint64();
    reader.uint32();
    for (let i = 0; i < 2; i++) reader.bytes();
    reader.uint64();
    return reader.uint64();
  });
  const isForever = !end || end > BigInt(Number.MAX_SAFE_INTEGER);
  return isForever || Number(end) * 1000 <= now ? Infinity : Number(end);
}
