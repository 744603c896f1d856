import assert from "node:assert/strict";

/**
 * Asserts that two runs of bytes are the same, by length and hash. For all that may hold a megabyte:
 * where such values differ, node:assert draws up a comparison of them that takes gigabytes.
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
