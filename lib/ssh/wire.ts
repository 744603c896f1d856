/** The data types of SSH's own formats (RFC 4251 section 5), for agents and key files. */

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
export function parseWire<T>(
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
