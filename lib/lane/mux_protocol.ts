/**
 * The messages of ssh(1)'s connection multiplexing, as OpenSSH's PROTOCOL.mux names them: what a client that
 * opens no sessions sends and receives. Pure: no I/O.
 */
import { parseWire } from "../ssh/wire.ts";

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

/** Types of a {@linkcode Forward}. */
export const MUX_FWD_LOCAL = 1;
export const MUX_FWD_REMOTE = 2;
export const MUX_FWD_DYNAMIC = 3;

/** Stands for a port in a forwarding to a unix socket (`PORT_STREAMLOCAL`, -2 in channels.h). */
export const PORT_STREAMLOCAL = 0xfffffffe;

/** The one version that OpenSSH has spoken since 4.9 (`SSHMUX_VER`). */
export const MUX_VERSION = 4;

/** Longest message accepted, in bytes: ssh(1)'s own limit for a packet (`PACKET_MAX_SIZE`). */
export const MUX_MAX_LENGTH = 256 * 1024;

/**
 * The fields of `MUX_C_OPEN_FWD` and `MUX_C_CLOSE_FWD`, which must agree in all. A host is an address, "*" for
 * all, "" for what GatewayPorts says, or the path of a unix socket; then the port is `PORT_STREAMLOCAL`.
 */
export type Forward = readonly [
  type: number,
  listenHost: string,
  listenPort: number,
  connectHost: string,
  connectPort: number,
];

/** A message from a master. Only a hello has no `id`: the others repeat that of the request. */
export interface Reply {
  readonly type: number;
  readonly id?: number;
  /** Of `MUX_S_PERMISSION_DENIED` and `MUX_S_FAILURE`. */
  readonly reason?: string;
  /** Of `MUX_S_ALIVE`. */
  readonly pid?: number;
}

/** Something is wrong with a master, and not with us. */
export class MuxTrouble extends Error {
  override name = "MuxTrouble";

  /**
   * - `absent`: there is no socket, or nobody listens there
   * - `late`: no answer came in time; the connection is still usable, as the answer may come later
   * - `refused`: the master understood and said no
   * - `closed`: the connection is over, ended from either side
   * - `garbled`: the other side does not speak the protocol, or not this version of it; it is over too
   */
  constructor(
    readonly kind: "absent" | "late" | "refused" | "closed" | "garbled",
    message: string,
    cause?: unknown,
  ) {
    super(message, { cause });
  }
}

/** Whether an error says something about the master (of this kind), and not about us. */
export function isMuxTrouble(error: unknown, kind?: MuxTrouble["kind"]): error is MuxTrouble {
  return error instanceof MuxTrouble && (kind === undefined || error.kind === kind);
}

/** Encodes a message in SSH wire format (RFC 4251 section 5: uint32, string), with its length in front. */
export function encode(...fields: readonly (number | string)[]): Uint8Array<ArrayBuffer> {
  const bytes = fields.flatMap((field) => {
    if (typeof field === "number") return uint32(field);
    const text = new TextEncoder().encode(field);
    return [...uint32(text.length), ...text];
  });
  return Uint8Array.from([...uint32(bytes.length), ...bytes]);
}

function uint32(value: number): number[] {
  return [value >>> 24, value >>> 16 & 0xff, value >>> 8 & 0xff, value & 0xff];
}

/**
 * Decodes a reply, given without its length. As ssh(1) does, it ignores what follows the known fields, such as
 * the extensions of a hello (10.3 and later announce `info`). Text that is not UTF-8 gets replacement
 * characters.
 *
 * @throws {MuxTrouble} when it is cut short, of an unknown type or of another version
 */
export function decode(body: Uint8Array): Reply {
  const reply = parseWire(body, (reader): Reply => {
    const type = reader.uint32();
    const id = reader.uint32();
    switch (type) {
      case MUX_MSG_HELLO: // Its version stands where others have the id.
        if (id === MUX_VERSION) return { type };
        throw new MuxTrouble("garbled", `Unsupported multiplexing protocol version ${id}`);
      case MUX_S_OK:
      case MUX_S_REMOTE_PORT:
        return { type, id };
      case MUX_S_PERMISSION_DENIED:
      case MUX_S_FAILURE:
        return { type, id, reason: new TextDecoder().decode(reader.bytes()) };
      case MUX_S_ALIVE:
        return { type, id, pid: reader.uint32() };
    }
    throw new MuxTrouble("garbled", `Unknown message type 0x${type.toString(16).padStart(8, "0")}`);
  });
  if (reply) return reply;
  throw new MuxTrouble("garbled", `Message of ${body.length} bytes is cut short`);
}
