import assert from "node:assert/strict";
import {
  decode,
  encode,
  FrameSplitter,
  MUX_C_ALIVE_CHECK,
  MUX_C_CLOSE_FWD,
  MUX_C_OPEN_FWD,
  MUX_C_STOP_LISTENING,
  MUX_C_TERMINATE,
  MUX_FWD_REMOTE,
  MUX_MAX_LENGTH,
  MUX_MSG_HELLO,
  MUX_S_ALIVE,
  MUX_S_FAILURE,
  MUX_S_OK,
  MUX_S_PERMISSION_DENIED,
  MUX_S_REMOTE_PORT,
  MUX_VERSION,
  type MuxMessage,
  MuxProtocolError,
} from "../lib/lane/mux_protocol.ts";

const forward = {
  forwardType: MUX_FWD_REMOTE,
  listenHost: "localhost",
  listenPort: 1,
  connectHost: "a.b",
  connectPort: 2,
};

/** Each message beside its bytes, as PROTOCOL.mux lays them out. */
const onTheWire: [MuxMessage, string][] = [
  [{ type: MUX_MSG_HELLO, version: 4 }, "00000008 00000001 00000004"],
  [{ type: MUX_C_ALIVE_CHECK, id: 1 }, "00000008 10000004 00000001"],
  [{ type: MUX_C_TERMINATE, id: 2 }, "00000008 10000005 00000002"],
  [{ type: MUX_C_STOP_LISTENING, id: 3 }, "00000008 10000009 00000003"],
  [
    { type: MUX_C_OPEN_FWD, id: 4, ...forward },
    "00000028 10000006 00000004 00000002 00000009 6c6f63616c686f7374 00000001 00000003 612e62 00000002",
  ],
  [
    { type: MUX_C_CLOSE_FWD, id: 5, ...forward },
    "00000028 10000007 00000005 00000002 00000009 6c6f63616c686f7374 00000001 00000003 612e62 00000002",
  ],
  [{ type: MUX_S_OK, id: 6 }, "00000008 80000001 00000006"],
  [
    { type: MUX_S_PERMISSION_DENIED, id: 7, reason: "no" },
    "0000000e 80000002 00000007 00000002 6e6f",
  ],
  [{ type: MUX_S_FAILURE, id: 8, reason: "é" }, "0000000e 80000003 00000008 00000002 c3a9"],
  [{ type: MUX_S_ALIVE, id: 9, pid: 4242 }, "0000000c 80000005 00000009 00001092"],
  [{ type: MUX_S_REMOTE_PORT, id: 0xffffffff, port: 80 }, "0000000c 80000007 ffffffff 00000050"],
];

Deno.test("encode writes what PROTOCOL.mux says", () => {
  for (const [message, hex] of onTheWire) assert.deepEqual(encode(message), bytes(hex));
});

Deno.test("decode reads what PROTOCOL.mux says", () => {
  for (const [message, hex] of onTheWire) {
    assert.deepEqual(decode(bytes(hex).subarray(4)), message);
  }
});

Deno.test("decode ignores what follows the fields that it knows", () => {
  assert.deepEqual(decode(bytes("80000001 00000006 c0ffee")), { type: MUX_S_OK, id: 6 });
});

Deno.test("decode refuses what is not a message of version 4", async (t) => {
  const rows: [string, string, RegExp][] = [
    ["nothing", "", /cut short/],
    ["half a type", "8000", /cut short/],
    ["a type alone", "80000001", /cut short/],
    ["an unknown type", "80000099 00000001", /Unknown message type 0x80000099/],
    ["version 3", "00000001 00000003", /version 3$/],
    ["version 5", "00000001 00000005", /version 5$/],
    ["an extension without a value", "00000001 00000004 00000001 61", /cut short/],
    ["a string beyond the end", "80000003 00000001 00000003 6e6f", /cut short/],
    ["a string of 4 GiB", "80000003 00000001 ffffffff 6e6f", /cut short/],
  ];
  for (const [what, hex, message] of rows) {
    await t.step(what, () => {
      assert.throws(() => decode(bytes(hex)), { name: "MuxProtocolError", message });
    });
  }
});

Deno.test("FrameSplitter accepts the longest message and none longer", () => {
  const longest = new Uint8Array(4 + MUX_MAX_LENGTH);
  new DataView(longest.buffer).setUint32(0, MUX_MAX_LENGTH);
  assert.equal(new FrameSplitter().push(longest)[0].length, MUX_MAX_LENGTH);
  for (const header of ["00040001", "7fffffff", "ffffffff"]) {
    assert.throws(() => new FrameSplitter().push(bytes(header)), MuxProtocolError);
  }
});

Deno.test("FrameSplitter allocates by what came, not by the announced length", () => {
  const before = Deno.memoryUsage().external;
  const splitters = Array.from({ length: 1000 }, () => new FrameSplitter());
  for (const splitter of splitters) assert.deepEqual(splitter.push(bytes("00040000 00")), []);
  const grown = Deno.memoryUsage().external - before;
  assert.ok(grown < 1000 * 4096, `1000 splitters took ${grown} bytes`);
});

Deno.test("encode and decode are each other's inverse, however the stream is cut", () => {
  const random = seeded(1);
  for (let round = 0; round < 2_000; round++) {
    const messages = Array.from({ length: 1 + random(4) }, () => randomMessage(random));
    const splitter = new FrameSplitter();
    const stream = concat(messages.map(encode));
    const bodies = cut(random, stream).flatMap((chunk) => splitter.push(chunk));
    assert.deepEqual(bodies.map(decode), messages);
  }
});

Deno.test("decode and FrameSplitter return or throw MuxProtocolError, whatever they are fed", () => {
  const random = seeded(2);
  let messages = 0;
  let refusals = 0;
  for (let round = 0; round < 100_000; round++) {
    const input = round % 4 === 0
      ? randomBytes(random, random(48))
      : mutated(random, encode(randomMessage(random)));
    const splitter = new FrameSplitter();
    try {
      // Half of the input skips the splitter: without its first four bytes it goes to decode itself.
      const bodies = round % 2 === 0
        ? [input.subarray(4)]
        : cut(random, input).flatMap((chunk) => splitter.push(chunk));
      for (const body of bodies) {
        const message = decode(body);
        assert.deepEqual(decode(encode(message).subarray(4)), message);
        messages++;
      }
    } catch (error) {
      if (!(error instanceof MuxProtocolError)) throw error;
      refusals++;
    }
  }
  // Both outcomes were frequent.
  assert.ok(messages > 10_000 && refusals > 10_000, `${messages} messages, ${refusals} refusals`);
});

/** Returns a whole number from 0 up to, but not including, `below`. */
type Random = (below: number) => number;

/** Marsaglia's xorshift32: the same numbers for the same seed. */
function seeded(seed: number): Random {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function randomMessage(random: Random): MuxMessage {
  const number = () => [random(2 ** 32 - 1), random(256), 0, 0xffffffff][random(4)];
  const text = () => "aé\ufeff😀\0\x1b ".repeat(random(4)).slice(random(3));
  const id = number();
  const type = onTheWire[random(onTheWire.length)][0].type;
  switch (type) {
    case MUX_MSG_HELLO:
      return { type, version: MUX_VERSION };
    case MUX_C_ALIVE_CHECK:
    case MUX_C_TERMINATE:
    case MUX_C_STOP_LISTENING:
    case MUX_S_OK:
      return { type, id };
    case MUX_C_OPEN_FWD:
    case MUX_C_CLOSE_FWD:
      return {
        type,
        id,
        forwardType: number(),
        listenHost: text(),
        listenPort: number(),
        connectHost: text(),
        connectPort: number(),
      };
    case MUX_S_PERMISSION_DENIED:
    case MUX_S_FAILURE:
      return { type, id, reason: text() };
    case MUX_S_ALIVE:
      return { type, id, pid: number() };
    case MUX_S_REMOTE_PORT:
      return { type, id, port: number() };
  }
}

/** Returns the bytes with some changed, and perhaps some cut off or added at the end. */
function mutated(random: Random, original: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(original);
  for (let changes = random(4); changes > 0; changes--) {
    copy[random(copy.length)] = [0, 1, 0x7f, 0x80, 0xff, random(256)][random(6)];
  }
  if (random(3) === 0) return copy.subarray(0, random(copy.length + 1));
  return random(3) === 0 ? concat([copy, randomBytes(random, random(24))]) : copy;
}

function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random(256));
}

/** Returns the same bytes in chunks of any size, including empty ones. */
function cut(random: Random, stream: Uint8Array): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let start = 0; start < stream.length;) {
    const end = start + random(1 + [3, 300][random(2)]);
    chunks.push(stream.subarray(start, end));
    start = end;
  }
  return chunks;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function bytes(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(hex.replaceAll(" ", ""));
}
