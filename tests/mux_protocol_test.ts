import assert from "node:assert/strict";
import {
  decode,
  encode,
  MUX_C_ALIVE_CHECK,
  MUX_C_OPEN_FWD,
  MUX_FWD_REMOTE,
  MUX_MSG_HELLO,
  MUX_S_ALIVE,
  MUX_S_FAILURE,
  MUX_S_OK,
  MUX_S_PERMISSION_DENIED,
  MUX_S_REMOTE_PORT,
  MuxTrouble,
  type Reply,
} from "../lib/lane/mux_protocol.ts";

Deno.test("encode writes what PROTOCOL.mux says", () => {
  const rows: [fields: (number | string)[], hex: string][] = [
    [[MUX_MSG_HELLO, 4], "00000008 00000001 00000004"],
    [[MUX_C_ALIVE_CHECK, 0xffffffff], "00000008 10000004 ffffffff"],
    [
      [MUX_C_OPEN_FWD, 4, MUX_FWD_REMOTE, "localhost", 1, "é.b", 2],
      "00000029 10000006 00000004 00000002 00000009 6c6f63616c686f7374 00000001 00000004 c3a92e62 00000002",
    ],
  ];
  for (const [fields, hex] of rows) assert.deepEqual(encode(...fields), bytes(hex));
});

const REPLIES: [hex: string, reply: Reply][] = [
  ["00000001 00000004", { type: MUX_MSG_HELLO }],
  ["00000001 00000004 00000004 696e666f 00000001 30", { type: MUX_MSG_HELLO }],
  ["80000001 00000006", { type: MUX_S_OK, id: 6 }],
  ["80000001 00000006 c0ffee", { type: MUX_S_OK, id: 6 }],
  ["80000002 00000007 00000002 6e6f", { type: MUX_S_PERMISSION_DENIED, id: 7, reason: "no" }],
  ["80000003 00000008 00000002 c3a9", { type: MUX_S_FAILURE, id: 8, reason: "é" }],
  ["80000005 00000009 00001092", { type: MUX_S_ALIVE, id: 9, pid: 4242 }],
  ["80000007 ffffffff 00000050", { type: MUX_S_REMOTE_PORT, id: 0xffffffff }],
];

Deno.test("decode reads what PROTOCOL.mux says, and ignores what follows the fields that it knows", () => {
  for (const [hex, reply] of REPLIES) assert.deepEqual(decode(bytes(hex)), reply, hex);
});

Deno.test("decode refuses what is not a reply of version 4", () => {
  const rows: [hex: string, message: RegExp][] = [
    ["", /of 0 bytes is cut short/],
    ["8000", /cut short/],
    ["80000001", /cut short/],
    ["80000099 00000001", /Unknown message type 0x80000099/],
    ["10000004 00000001", /Unknown message type 0x10000004/],
    ["00000001 00000003", /version 3$/],
    ["00000001 00000005", /version 5$/],
    ["80000003 00000001 00000003 6e6f", /cut short/],
    ["80000003 00000001 ffffffff 6e6f", /cut short/],
  ];
  for (const [hex, message] of rows) {
    assert.throws(() => decode(bytes(hex)), { name: "MuxTrouble", kind: "garbled", message }, hex);
  }
});

Deno.test("decode returns or throws MuxTrouble, whatever it is fed", () => {
  let [seed, replies, refusals] = [1, 0, 0];
  // Marsaglia's xorshift32: the same numbers each time.
  const random = (below: number) => {
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    return (seed >>> 0) % below;
  };
  for (let round = 0; round < 50_000; round++) {
    const original = bytes(REPLIES[random(REPLIES.length)][0]);
    const input = original.slice(0, random(3) === 0 ? random(original.length + 1) : undefined);
    for (let changes = random(4); changes > 0 && input.length > 0; changes--) {
      input[random(input.length)] = [0, 1, 0x7f, 0x80, 0xff, random(256)][random(6)];
    }
    try {
      assert.equal(typeof decode(input).type, "number");
      replies++;
    } catch (error) {
      if (!(error instanceof MuxTrouble)) throw error;
      refusals++;
    }
  }
  assert.ok(replies > 5_000 && refusals > 5_000, `${replies} replies, ${refusals} refusals`);
});

function bytes(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(hex.replaceAll(" ", ""));
}
