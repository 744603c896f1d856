/**
 * The messages of ssh(1)'s connection multiplexing, as OpenSSH's PROTOCOL.mux names them: encodes and decodes
 * them, and splits a byte stream. Only what a client that opens no sessions sends and receives.
 *
 * Pure: no I/O. Input from the other side is bounded before it is trusted.
 */

export const MUX_MSG_HELLO = 0x00000001;
export const MUX_C_ALIVE_CHECK = 0x10000004;
export const MUX_C_TERMINATE = 0x10000005;
export const MUX_C_OPEN_FWD = 0x10000006;
export const MUX_C_CLOSE_FWD = 0x10000007;
export const MUX_C_STOP_LISTENING = 0x10000009;
export const MUX_S_OK = 0x80000001;
export const MUX_S_PERMISSION_DENIED = 0x80000002;
export const MUX_S_FAILURE = 0x80000003;
export const MUX_S_ALIVE = 0x80000005;
export const MUX_S_REMOTE_PORT = 0x80000007;

/** Forwarding types of `MUX_C_OPEN_FWD` and `MUX_C_CLOSE_FWD`. */
export const MUX_FWD_LOCAL = 1;
export const MUX_FWD_REMOTE = 2;
export const MUX_FWD_DYNAMIC = 3;

/** Stands for a port in a forwarding to a unix socket (`PORT_STREAMLOCAL`, -2 in channels.h). */
export const PORT_STREAMLOCAL = 0xfffffffe;

/** The one version that OpenSSH has spoken since 4.9 (`SSHMUX_VER`). */
export const MUX_VERSION = 4;

/** Longest message accepted, in bytes: ssh(1)'s own limit for a packet (`PACKET_MAX_SIZE`). */
export const MUX_MAX_LENGTH = 256 * 1024;

/** A forward as a user asks for it (mux_client_forward() in mux.c). */
export interface Forward {
  readonly type: "local" | "remote" | "dynamic";
  /** An address, "*" for all, "" for what GatewayPorts says; or the path of a unix socket. */
  readonly listenHost: string;
  /** `null`: the host is a path. */
  readonly listenPort: number | null;
  readonly connectHost: string;
  readonly connectPort: number | null;
}

/** The forwarding that a request opens or closes; the two must agree in every field. */
export interface MuxForward {
  forwardType: number;
  listenHost: string;
  listenPort: number;
  connectHost: string;
  connectPort: number;
}

/** A message from either side. `id` is the request id, which a reply repeats. */
export type MuxMessage =
  | { type: typeof MUX_MSG_HELLO; version: number }
  | {
    type: typeof MUX_C_ALIVE_CHECK | typeof MUX_C_TERMINATE | typeof MUX_C_STOP_LISTENING;
    id: number;
  }
  | { type: typeof MUX_C_OPEN_FWD | typeof MUX_C_CLOSE_FWD; id: number } & MuxForward
  | { type: typeof MUX_S_OK; id: number }
  | { type: typeof MUX_S_PERMISSION_DENIED | typeof MUX_S_FAILURE; id: number; reason: string }
  | { type: typeof MUX_S_ALIVE; id: number; pid: number }
  | { type: typeof MUX_S_REMOTE_PORT; id: number; port: number };

/** The other side does not speak the protocol, or not this version of it. */
export class MuxProtocolError extends Error {
  override name = "MuxProtocolError";
}

/** Encodes a message for sending, with its length in front. */
export function encode(message: MuxMessage): Uint8Array<ArrayBuffer> {
  switch (message.type) {
    case MUX_MSG_HELLO:
      return frame(message.type, message.version);
    case MUX_C_ALIVE_CHECK:
    case MUX_C_TERMINATE:
    case MUX_C_STOP_LISTENING:
    case MUX_S_OK:
      return frame(message.type, message.id);
    case MUX_C_OPEN_FWD:
    case MUX_C_CLOSE_FWD:
      return frame(
        message.type,
        message.id,
        message.forwardType,
        message.listenHost,
        message.listenPort,
        message.connectHost,
        message.connectPort,
      );
    case MUX_S_PERMISSION_DENIED:
    case MUX_S_FAILURE:
      return frame(message.type, message.id, message.reason);
    case MUX_S_ALIVE:
      return frame(message.type, message.id, message.pid);
    case MUX_S_REMOTE_PORT:
      return frame(message.type, message.id, message.port);
  }
}

/**
 * Decodes one message, given without its length.
 *
 * As ssh(1) does, it ignores what follows the known fields, and skips the extensions of a hello
 * (10.3 and later announce `info`). Text that is not UTF-8 gets replacement characters.
 *
 * @throws {MuxProtocolError} when it is cut short, of an unknown type or of another version
 */
export function decode(body: Uint8Array): MuxMessage {
  const fields = new FieldReader(body);
  const type = fields.uint32();
  switch (type) {
    case MUX_MSG_HELLO: {
      const version = fields.uint32();
      if (version !== MUX_VERSION) {
        throw new MuxProtocolError(`Unsupported multiplexing protocol version ${version}`);
      }
      while (!fields.atEnd) {
        fields.string();
        fields.string();
      }
      return { type, version };
    }
    case MUX_C_ALIVE_CHECK:
    case MUX_C_TERMINATE:
    case MUX_C_STOP_LISTENING:
    case MUX_S_OK:
      return { type, id: fields.uint32() };
    case MUX_C_OPEN_FWD:
    case MUX_C_CLOSE_FWD:
      return {
        type,
        id: fields.uint32(),
        forwardType: fields.uint32(),
        listenHost: fields.string(),
        listenPort: fields.uint32(),
        connectHost: fields.string(),
        connectPort: fields.uint32(),
      };
    case MUX_S_PERMISSION_DENIED:
    case MUX_S_FAILURE:
      return { type, id: fields.uint32(), reason: fields.string() };
    case MUX_S_ALIVE:
      return { type, id: fields.uint32(), pid: fields.uint32() };
    case MUX_S_REMOTE_PORT:
      return { type, id: fields.uint32(), port: fields.uint32() };
    default:
      throw new MuxProtocolError(`Unknown message type 0x${type.toString(16).padStart(8, "0")}`);
  }
}

/** Splits a byte stream, however it arrives, into messages. Memory use follows the bytes received. */
export class FrameSplitter {
  // Room for every message of a well-behaved master: the longest are failures with their reason.
  #buffer = new Uint8Array(256);
  #length = 0;

  /**
   * Takes what was read and returns the messages that it completes, without their lengths.
   *
   * @throws {MuxProtocolError} when a message claims to be longer than `MUX_MAX_LENGTH`
   */
  push(chunk: Uint8Array): Uint8Array[] {
    this.#append(chunk);
    const view = new DataView(this.#buffer.buffer, 0, this.#length);
    const frames: Uint8Array[] = [];
    let start = 0;
    while (this.#length - start >= 4) {
      const length = view.getUint32(start);
      if (length > MUX_MAX_LENGTH) {
        throw new MuxProtocolError(`Message of ${length} bytes is too long`);
      }
      const end = start + 4 + length;
      if (end > this.#length) break;
      frames.push(this.#buffer.slice(start + 4, end));
      start = end;
    }
    this.#buffer.copyWithin(0, start, this.#length);
    this.#length -= start;
    return frames;
  }

  #append(chunk: Uint8Array): void {
    const needed = this.#length + chunk.length;
    if (needed > this.#buffer.length) {
      // Doubling keeps a long message that comes byte by byte from being copied for each byte.
      const larger = new Uint8Array(Math.max(needed, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = larger;
    }
    this.#buffer.set(chunk, this.#length);
    this.#length = needed;
  }
}

/** Reads the fields of a message one after the other, never past its end. */
class FieldReader {
  static readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  readonly #view: DataView;
  #offset = 0;

  constructor(body: Uint8Array) {
    this.#view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  }

  get atEnd(): boolean {
    return this.#offset === this.#view.byteLength;
  }

  uint32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  string(): string {
    const length = this.uint32();
    const start = this.#view.byteOffset + this.#take(length);
    return FieldReader.#decoder.decode(new Uint8Array(this.#view.buffer, start, length));
  }

  /** Skips the next bytes and returns where they start. */
  #take(bytes: number): number {
    const start = this.#offset;
    if (bytes > this.#view.byteLength - start) {
      throw new MuxProtocolError(`Message of ${this.#view.byteLength} bytes is cut short`);
    }
    this.#offset = start + bytes;
    return start;
  }
}

const encoder = new TextEncoder();

/** Encodes fields in SSH wire format (RFC 4251 section 5: uint32, string), with their length in front. */
function frame(...fields: (number | string)[]): Uint8Array<ArrayBuffer> {
  const values = fields.map((field) => typeof field === "string" ? encoder.encode(field) : field);
  const size = (value: number | Uint8Array) => typeof value === "number" ? 4 : 4 + value.length;
  const length = values.reduce<number>((sum, value) => sum + size(value), 0);
  const bytes = new Uint8Array(4 + length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length);
  let offset = 4;
  for (const value of values) {
    view.setUint32(offset, typeof value === "number" ? value : value.length);
    if (typeof value !== "number") bytes.set(value, offset + 4);
    offset += size(value);
  }
  return bytes;
}
