import assert from "node:assert/strict";

/**
 * Asserts that two byte arrays are the same, by length and hash. For whatever may hold a megabyte: if
 * such values differ, node:assert builds a comparison that takes gigabytes.
 */
export async function assertSameBytes(
  actual: Uint8Array,
  expected: Uint8Array,
  message?: string,
): Promise<void> {
  assert.equal(await summary(actual), await summary(expected), message);
}

async function summary(bytes: Uint8Array): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes)));
  return `${bytes.length} bytes, SHA-256 ${hash.toHex()}`;
}
