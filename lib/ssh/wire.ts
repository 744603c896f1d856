/** The data types of SSH's own formats (RFC 4251 section 5), for agents, certificates and ticket caches. */

/** Reads one value after another. Throws RangeError if the bytes end too early. */
export class WireReader {
  readonly #view: DataView;
  #at = 0;

  constructor({ buffer, byteOffset, byteLength }: Uint8Array) {
    this.#view = new DataView(buffer, byteOffset, byteLength);
  }

  /** How many bytes have been read. */
  get count(): number {
    return this.#at;
  }

  byte(): number {
    return this.take(1)[0];
  }

  uint32(): number {
    return this.#view.getUint32((this.#at += 4) - 4);
  }

  uint64(): bigint {
    return this.#view.getBigUint64((this.#at += 8) - 8);
  }

  /** Reads a `string`: its length, and that many bytes. */
  bytes(): Uint8Array {
    return this.take(this.uint32());
  }

  /** Reads `length` bytes as they are. */
  take(length: number): Uint8Array {
    const { buffer, byteOffset, byteLength } = this.#view;
    if ((this.#at += length) > byteLength) throw new RangeError("Cannot read beyond the end");
    return new Uint8Array(buffer, byteOffset + this.#at - length, length);
  }
}

/** Returns the result of `read` on bytes, or on base64; `undefined` if they are none or end too early. */
export function parseWire<T>(
  data: Uint8Array | string,
  read: (reader: WireReader) => T,
): T | undefined {
  try {
    return read(new WireReader(typeof data === "string" ? Uint8Array.fromBase64(data) : data));
  } catch (error) {
    if (error instanceof RangeError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
