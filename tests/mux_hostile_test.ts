/** What answers in a master's place. */
import assert from "node:assert/strict";
import { masterAt } from "../lib/lane/master.ts";
import { MuxConnection } from "../lib/lane/mux_client.ts";
import {
  encode,
  MUX_C_CLOSE_FWD,
  MUX_C_OPEN_FWD,
  MUX_C_TERMINATE,
  MUX_MSG_HELLO,
  MUX_S_ALIVE,
  MUX_S_FAILURE,
  MUX_S_OK,
  MUX_S_PERMISSION_DENIED,
  MUX_S_REMOTE_PORT,
  type MuxTrouble,
} from "../lib/lane/mux_protocol.ts";
import { eventually, pause } from "./support/eventually.ts";
import {
  answering,
  type Behaviour,
  FakeMaster,
  HELLO,
  received,
  type Request,
  send,
} from "./support/fake_master.ts";

const alive = (id: number, pid = 4242) => encode(MUX_S_ALIVE, id, pid);
const refusal = (id: number, reason: string) => encode(MUX_S_FAILURE, id, reason);
const hex = (digits: string) => Uint8Array.fromHex(digits.replaceAll(" ", ""));

const closing = (bytes: Uint8Array): Behaviour => async (client) => {
  await send(client, bytes);
  client.close();
};
/** Sends `start`, then `bytes` without end. */
const flooding = (bytes: Uint8Array, start = new Uint8Array()): Behaviour => async (client) => {
  await send(client, start);
  while (true) await send(client, bytes);
};

/** What it sends may be seen before our question, or after it. */
const UNASKED = /without a request$|where 1 was due$/;

const ROWS: readonly [string, Behaviour, MuxTrouble["kind"], RegExp?][] = [
  ["silence", () => Promise.resolve(), "late"],
  ["silence after the hello", (client) => send(client, HELLO), "late"],
  ["the longest length, no message", (client) => send(client, hex("00040000")), "late"],
  [
    "another protocol",
    (client) => send(client, new TextEncoder().encode("SSH-2.0-x\r\n")),
    "garbled",
    /too long$/,
  ],
  ["a length of 4 GiB", (client) => send(client, hex("ffffffff")), "garbled", /4294967295 bytes/],
  ["a length just over the cap", (client) => send(client, hex("00040001")), "garbled", /too long$/],
  ["a length of 0", (client) => send(client, hex("00000000")), "garbled", /cut short$/],
  ["version 3", (client) => send(client, encode(MUX_MSG_HELLO, 3)), "garbled", /version 3$/],
  ["a hello twice", (client) => send(client, HELLO, HELLO), "garbled", UNASKED],
  ["an answer before the hello", (client) => send(client, alive(1)), "garbled", /hello was due$/],
  ["an answer unasked", (client) => send(client, HELLO, alive(2)), "garbled", UNASKED],
  ["another's answer", answering(({ id }) => alive(id + 1)), "garbled", /^Message 2 where 1 was/],
  ["another kind", answering(({ id }) => encode(MUX_S_OK, id)), "garbled", /^Unexpected reply/],
  ["a question", answering(({ id }) => encode(MUX_C_TERMINATE, id)), "garbled", /^Unknown mess/],
  ["the pid 0", answering(({ id }) => alive(id, 0)), "garbled", /process 0$/],
  ["the pid of init", answering(({ id }) => alive(id, 1)), "garbled", /process 1$/],
  ["a pid for a group", answering(({ id }) => alive(id, 0xffffffff)), "garbled", /process 42949/],
  ["a refusal", answering(({ id }) => refusal(id, "no")), "refused", /^Master refused: "no"$/],
  ["a refusal in colour", answering(({ id }) => refusal(id, "\x1b[31m")), "refused", /"\\u001b/],
  ["a close at once", (client) => Promise.resolve(client.close()), "closed"],
  ["a close within a message", closing(HELLO.subarray(0, 6)), "closed"],
  ["a close after the hello", closing(HELLO), "closed"],
  ["a flood of zeros", flooding(new Uint8Array(4096)), "garbled", /cut short$/],
  ["a flood of noise", flooding(new Uint8Array(4096).fill(0xff)), "garbled", /too long$/],
  ["a flood of hellos", flooding(HELLO), "garbled", UNASKED],
  [
    "a flood of extensions",
    flooding(new Uint8Array(4096), hex("00040000 00000001 00000004")),
    "garbled",
  ],
];

Deno.test("a connection to what is no master ends in time, and says why", async (t) => {
  for (const [what, behaviour, kind, message = /./] of ROWS) {
    await t.step(what, async () => {
      await using fake = await FakeMaster.listen(behaviour);
      // Time for a busy machine to read what is sent; less if nothing is sent.
      const deadline = kind === "late" ? 250 : 5_000;
      const start = performance.now();
      const ask = async () => {
        using connection = await MuxConnection.connect(fake.socket, deadline);
        await connection.alive(deadline);
      };
      await assert.rejects(ask(), { name: "MuxTrouble", kind, message });
      assert.equal(await masterAt(fake.socket, deadline), "silent");
      assert.ok(performance.now() - start < 3 * deadline + 10_000);
    });
  }
});

Deno.test("nobody is at what is not a socket", async () => {
  const dir = await Deno.makeTempDir();
  await Deno.writeTextFile(`${dir}/file`, "x");
  await Deno.mkdir(`${dir}/directory`);
  await Deno.symlink("/nowhere", `${dir}/link`);
  for (const what of ["file", "directory", "link"]) {
    assert.equal(await masterAt(`${dir}/${what}`), "gone", what);
  }
  await Deno.remove(dir, { recursive: true });
});

Deno.test("an answer may come one byte at a time, and a hello with extensions", async () => {
  const extended = hex("00000015 00000001 00000004 00000004 696e666f 00000001 30");
  await using fake = await FakeMaster.listen(async (client) => {
    for (const byte of extended) await send(client, Uint8Array.of(byte));
    for await (const { type, id } of received(client)) {
      if (type === MUX_MSG_HELLO) continue;
      for (const byte of alive(id)) await send(client, Uint8Array.of(byte));
    }
  });
  assert.equal(await masterAt(fake.socket), 4242);
});

Deno.test("the deadline covers everything together", async () => {
  await using fake = await FakeMaster.listen(async (client) => {
    // Each byte comes in time, but the answer never does.
    for (;;) {
      for (const byte of HELLO) {
        await send(client, Uint8Array.of(byte));
        await pause(40);
      }
    }
  });
  const start = performance.now();
  assert.equal(await masterAt(fake.socket, 200), "silent");
  assert.ok(performance.now() - start < 10_000);
});

Deno.test("ping cancels a forwarding that it is granted, and asks for another one each time", async () => {
  for (const granted of [[MUX_S_OK], [MUX_S_REMOTE_PORT, 7]]) {
    const asked: Request[] = [];
    await using fake = await FakeMaster.listen(answering((request) => {
      asked.push(request);
      const [type, ...rest] = request.type === MUX_C_OPEN_FWD ? granted : [MUX_S_OK];
      return encode(type, request.id, ...rest);
    }));
    using connection = await MuxConnection.connect(fake.socket);
    await connection.ping();
    await connection.ping();
    const [open1, close1, open2, close2] = asked;
    assert.deepEqual(close1, { ...open1, type: MUX_C_CLOSE_FWD, id: 2 });
    assert.deepEqual(close2, { ...open2, type: MUX_C_CLOSE_FWD, id: 4 });
    assert.notEqual(open1.rest, open2.rest);
  }
});

Deno.test("ping cancels a forwarding that is granted too late, and asks for nothing more until then", async () => {
  const asked: number[] = [];
  const grant = Promise.withResolvers<void>();
  await using fake = await FakeMaster.listen(async (client) => {
    await send(client, HELLO);
    for await (const { type, id } of received(client)) {
      asked.push(type);
      if (type === MUX_C_OPEN_FWD) await grant.promise;
      if (type !== MUX_MSG_HELLO) await send(client, encode(MUX_S_OK, id));
    }
  });
  using connection = await MuxConnection.connect(fake.socket);
  for (let count = 0; count < 3; count++) {
    await assert.rejects(connection.ping(50), { kind: "late" });
  }
  await assert.rejects(connection.alive(50), { kind: "late" });
  assert.deepEqual(asked, [MUX_MSG_HELLO, MUX_C_OPEN_FWD]);
  grant.resolve();
  await eventually("the forwarding is given back", () => asked.length === 3);
  assert.equal(asked[2], MUX_C_CLOSE_FWD);
  await connection.ping();
  assert.deepEqual(asked.slice(3), [MUX_C_OPEN_FWD, MUX_C_CLOSE_FWD]);
});

Deno.test("a refusal is no answer of the server's to a ping, and no agreement", async () => {
  await using fake = await FakeMaster.listen(
    answering(({ id }) => encode(MUX_S_PERMISSION_DENIED, id, "Permission denied")),
  );
  using connection = await MuxConnection.connect(fake.socket);
  await assert.rejects(connection.ping(), { kind: "refused" });
  await assert.rejects(connection.stopListening(), { kind: "refused" });
  await assert.rejects(connection.terminate(), { kind: "refused" });
});

Deno.test("a connection ends when it gets the answer to another request", async () => {
  await using fake = await FakeMaster.listen(answering(({ id }) => refusal(id + 1, "")));
  using connection = await MuxConnection.connect(fake.socket);
  await assert.rejects(connection.ping(), { kind: "garbled" });
  await connection.closed;
  await assert.rejects(connection.ping(), { kind: "garbled" });
});

Deno.test("terminate takes it as agreement when a master exits before it answers", async () => {
  await using fake = await FakeMaster.listen(answering(() => {
    fake.hangUp();
    return undefined;
  }));
  using connection = await MuxConnection.connect(fake.socket);
  await connection.terminate();
  await connection.closed;
  await assert.rejects(connection.alive(), { kind: "closed" });
});
