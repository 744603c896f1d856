/** Digests that name things. */

/** Returns the SHA-256 of some bytes, in hex. */
export async function digestOf(bytes: Uint8Array): Promise<string> {
  // A copy, since crypto requires a buffer of its own.
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes))).toHex();
}

/** Returns a short name for a text, such as an identity: 16 hex digits of its SHA-256. */
export async function shortDigest(text: string): Promise<string> {
  return (await digestOf(new TextEncoder().encode(text))).slice(0, 16);
}
