import assert from "node:assert/strict";
import { DeadlineExceeded, MuxClosed, MuxConnection, MuxRefused } from "../lib/lane/mux_client.ts";
import {
  decode,
  encode,
  FrameSplitter,
  MUX_C_ALIVE_CHECK,
  MUX_C_CLOSE_FWD,
  MUX_C_OPEN_FWD,
  MUX_C_TERMINATE,
  MUX_MSG_HELLO,
  MUX_S_ALIVE,
  MUX_S_FAILURE,
  MUX_S_OK,
  MUX_S_PERMISSION_DENIED,
  MUX_S_REMOTE_PORT,
  MUX_VERSION,
  type MuxMessage,
} from "../lib/lane/mux_protocol.ts";
import { probe } from "../lib/lane/probe.ts";
import { eventually, pause } from "./support/eventually.ts";

const HELLO = encode({ type: MUX_MSG_HELLO, version: MUX_VERSION });

/** What the fake master does with each client; once this returns, the fake is silent. */
type Behaviour = (client: Deno.UnixConn) => Promise<unknown>;

Deno.test("probe finds a path that is no master's socket foreign, whatever answers there", async (t) => {
  const longHello = hex("00040000 00000001 00000004");
  const rows: [string, Behaviour, RegExp][] = [
    ["silence", () => Promise.resolve(), /in time$/],
    ["silence after the hello", (client) => send(client, HELLO), /in time$/],
    ["another protocol", (client) => send(client, text("SSH-2.0-x\r\n")), /too long$/],
    [
      "a length of 4 GiB",
      (client) => send(client, hex("ffffffff")),
      /4294967295 bytes is too long/,
    ],
    ["a length just over the cap", (client) => send(client, hex("00040001")), /too long$/],
    ["the longest length, no message", (client) => send(client, hex("00040000")), /in time$/],
    ["a length of 0", (client) => send(client, hex("00000000")), /cut short$/],
    ["version 3", (client) => send(client, hex("00000008 00000001 00000003")), /version 3$/],
    ["version 5", (client) => send(client, hex("00000008 00000001 00000005")), /version 5$/],
    ["a hello twice", (client) => send(client, HELLO, HELLO), /without a request$/],
    ["an answer before the hello", (client) => send(client, alive(1)), /where a hello was due$/],
    ["an answer before the question", (client) => send(client, HELLO, alive(1)), /without a req/],
    ["another request's answer", answering((id) => alive(id + 1)), /^Message 2 where 1 was due$/],
    ["an answer of another kind", answering((id) => ({ type: MUX_S_OK, id })), /^Unexpected reply/],
    ["a question", answering((id) => ({ type: MUX_C_TERMINATE, id })), /^Unexpected reply/],
    ["the pid 0", answering((id) => alive(id, 0)), /process 0$/],
    ["the pid of init", answering((id) => alive(id, 1)), /process 1$/],
    [
      "a pid that kill(2) takes for a group",
      answering((id) => alive(id, 0xffffffff)),
      /process 42949/,
    ],
    ["a refusal", answering((id) => refusal(id, "go away")), /^Master refused: "go away"$/],
    [
      "a refusal in colour",
      answering((id) => refusal(id, "\x1b[31m")),
      /^Master refused: "\\u001b/,
    ],
    ["a close at once", (client) => Promise.resolve(client.close()), /^Master closed|broke off$/],
    ["a close within a message", sendAndClose(HELLO.subarray(0, 6)), /^Master closed|broke off$/],
    ["a close after the hello", sendAndClose(HELLO), /^Master closed|broke off$/],
    ["a flood of zeros", flooding(new Uint8Array(4096)), /cut short$/],
    ["a flood of noise", flooding(new Uint8Array(4096).fill(0xff)), /too long$/],
    ["a flood of hellos", flooding(HELLO), /without a request$/],
    ["a flood of extensions", flooding(new Uint8Array(4096), longHello), /cut short$/],
  ];
  for (const [what, behaviour, reason] of rows) {
    await t.step(what, async () => {
      await using fake = await FakeMaster.listen(behaviour);
      // Time for a busy machine to read what is sent; less if nothing is sent.
      const deadline = reason.source === "in time$" ? 250 : 5_000;
      const start = performance.now();
      const found = await probe(fake.socket, { deadline });
      assert.equal(found.kind, "foreign");
      assert.match(found.kind === "foreign" ? found.reason : "", reason);
      assert.ok(performance.now() - start < deadline + 10_000);
    });
  }
});

Deno.test("probe reports as foreign what is not a socket, or not our own", async (t) => {
  const dir = await Deno.makeTempDir();
  const rows: [string, (path: string) => Promise<unknown>, RegExp][] = [
    ["a file", (path) => Deno.writeTextFile(path, "x"), /^Not a socket$/],
    ["a directory", (path) => Deno.mkdir(path), /^Not a socket$/],
    ["a link", (path) => Deno.symlink("/nowhere", path), /^Not a socket$/],
  ];
  for (const [index, [what, make, reason]] of rows.entries()) {
    await t.step(what, async () => {
      await make(`${dir}/${index}`);
      const found = await probe(`${dir}/${index}`);
      assert.match(found.kind === "foreign" ? found.reason : found.kind, reason);
    });
  }
  await t.step({
    name: "somebody else's socket",
    ignore: Deno.uid() !== 0,
    async fn() {
      await using fake = await FakeMaster.listen(answering(alive));
      await Deno.chown(fake.socket, 65534, null);
      const reason = "Socket belongs to user 65534";
      assert.deepEqual(await probe(fake.socket), { kind: "foreign", reason });
    },
  });
  await Deno.remove(dir, { recursive: true });
});

Deno.test("probe accepts an answer that comes one byte at a time", async () => {
  await using fake = await FakeMaster.listen(async (client) => {
    for (const byte of HELLO) await send(client, Uint8Array.of(byte));
    for await (const message of received(client)) {
      if (message.type !== MUX_C_ALIVE_CHECK) continue;
      for (const byte of encode(alive(message.id, 4242))) await send(client, Uint8Array.of(byte));
    }
  });
  assert.deepEqual(await probe(fake.socket), { kind: "alive", pid: 4242 });
});

Deno.test("probe skips the extensions of a hello", async () => {
  const extended = hex("00000015 00000001 00000004 00000004 696e666f 00000001 30");
  await using fake = await FakeMaster.listen(async (client) => {
    await send(client, extended);
    await answer(client, (id) => alive(id, 4242));
  });
  assert.deepEqual(await probe(fake.socket), { kind: "alive", pid: 4242 });
});

Deno.test("probe looks again when an exiting master hangs up", async () => {
  await using fake = await FakeMaster.listen((client) => {
    // ssh(1) removes its socket before it exits and its connections close.
    Deno.removeSync(fake.socket);
    return Promise.resolve(client.close());
  });
  assert.deepEqual(await probe(fake.socket), { kind: "absent" });
});

Deno.test("probe's deadline covers everything together", async () => {
  await using fake = await FakeMaster.listen(async (client) => {
    // Each byte comes in time, but the answer never does.
    while (true) {
      for (const byte of HELLO) {
        await send(client, Uint8Array.of(byte));
        await pause(40);
      }
    }
  });
  const start = performance.now();
  assert.equal((await probe(fake.socket, { deadline: 200 })).kind, "foreign");
  assert.ok(performance.now() - start < 10_000);
});

Deno.test("ping cancels a forwarding that it is granted, and asks for another one each time", async () => {
  for (const granted of [MUX_S_OK, MUX_S_REMOTE_PORT] as const) {
    const asked: MuxMessage[] = [];
    await using fake = await FakeMaster.listen(async (client) => {
      await send(client, HELLO);
      for await (const message of received(client)) {
        asked.push(message);
        if (message.type === MUX_C_OPEN_FWD && granted === MUX_S_REMOTE_PORT) {
          await send(client, { type: granted, id: message.id, port: 7 });
        } else if ("id" in message) {
          await send(client, { type: MUX_S_OK, id: message.id });
        }
      }
    });
    using connection = await MuxConnection.connect(fake.socket);
    await connection.ping();
    await connection.ping();
    const [, open1, close1, open2, close2] = asked;
    assert.deepEqual(close1, { ...open1, type: MUX_C_CLOSE_FWD, id: 2 });
    assert.deepEqual(close2, { ...open2, type: MUX_C_CLOSE_FWD, id: 4 });
    assert.ok(open1.type === MUX_C_OPEN_FWD && open2.type === MUX_C_OPEN_FWD);
    assert.notEqual(open1.connectHost, open2.connectHost);
  }
});

Deno.test("ping cancels a forwarding that is granted too late, and asks for nothing more until then", async () => {
  const asked: number[] = [];
  const grant = Promise.withResolvers<void>();
  await using fake = await FakeMaster.listen(async (client) => {
    await send(client, HELLO);
    for await (const message of received(client)) {
      asked.push(message.type);
      if (message.type === MUX_C_OPEN_FWD) await grant.promise;
      if ("id" in message) await send(client, { type: MUX_S_OK, id: message.id });
    }
  });
  using connection = await MuxConnection.connect(fake.socket);
  for (let count = 0; count < 3; count++) {
    await assert.rejects(connection.ping({ deadline: 50 }), DeadlineExceeded);
  }
  await assert.rejects(connection.alive({ deadline: 50 }), DeadlineExceeded);
  assert.deepEqual(asked, [MUX_MSG_HELLO, MUX_C_OPEN_FWD]);
  grant.resolve();
  await eventually("the forwarding is given back", () => asked.length === 3);
  assert.equal(asked[2], MUX_C_CLOSE_FWD);
  await connection.ping();
  assert.deepEqual(asked.slice(3), [MUX_C_OPEN_FWD, MUX_C_CLOSE_FWD]);
});

Deno.test("ping does not accept an answer that is not the server's", async () => {
  await using fake = await FakeMaster.listen(
    answering((id) => ({ type: MUX_S_PERMISSION_DENIED, id, reason: "Permission denied" })),
  );
  using connection = await MuxConnection.connect(fake.socket);
  await assert.rejects(connection.ping(), MuxRefused);
  await assert.rejects(connection.stopListening(), MuxRefused);
  await assert.rejects(connection.terminate(), MuxRefused);
});

Deno.test("a connection ends when it gets the answer to another request", async () => {
  await using fake = await FakeMaster.listen(answering((id) => refusal(id + 1, "")));
  using connection = await MuxConnection.connect(fake.socket);
  await assert.rejects(connection.ping(), { name: "MuxProtocolError" });
  await connection.closed;
  await assert.rejects(connection.ping(), { name: "MuxProtocolError" });
});

Deno.test("terminate takes it as agreement when a master exits before it answers", async () => {
  await using fake = await FakeMaster.listen(async (client) => {
    await send(client, HELLO);
    for await (const message of received(client)) {
      if (message.type === MUX_C_TERMINATE) return client.close();
    }
  });
  using connection = await MuxConnection.connect(fake.socket);
  await connection.terminate();
  await connection.closed;
  await assert.rejects(connection.alive(), MuxClosed);
});

/** A listener on a control socket that treats each client as told. */
class FakeMaster implements AsyncDisposable {
  readonly socket: string;
  readonly #dir: string;
  readonly #listener: Deno.UnixListener;
  readonly #clients: Deno.UnixConn[] = [];
  readonly #serving: Promise<void>;

  private constructor(dir: string, behaviour: Behaviour) {
    this.#dir = dir;
    this.socket = `${dir}/fake.sock`;
    this.#listener = Deno.listen({ transport: "unix", path: this.socket });
    this.#serving = this.#serve(behaviour);
  }

  static async listen(behaviour: Behaviour): Promise<FakeMaster> {
    return new FakeMaster(await Deno.makeTempDir({ prefix: "sshs-mux-" }), behaviour);
  }

  async #serve(behaviour: Behaviour): Promise<void> {
    const served: Promise<unknown>[] = [];
    for await (const client of this.#listener) {
      this.#clients.push(client);
      served.push(behaviour(client).catch(ignoreHangUp));
    }
    await Promise.all(served);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const client of this.#clients) {
      try {
        client.close();
      } catch (error) {
        ignoreHangUp(error);
      }
    }
    await this.#serving;
    await Deno.remove(this.#dir, { recursive: true });
  }
}

/** Ignores errors from a client that leaves, or a test that ends, at any moment; rethrows others. */
function ignoreHangUp(error: unknown): void {
  const { BrokenPipe, ConnectionReset, BadResource, Interrupted } = Deno.errors;
  if (![BrokenPipe, ConnectionReset, BadResource, Interrupted].some((e) => error instanceof e)) {
    throw error;
  }
}

/** Says hello, then answers each request as told. */
function answering(reply: (id: number) => MuxMessage): Behaviour {
  return async (client) => {
    await send(client, HELLO);
    await answer(client, reply);
  };
}

async function answer(client: Deno.UnixConn, reply: (id: number) => MuxMessage): Promise<void> {
  for await (const message of received(client)) {
    if ("id" in message) await send(client, reply(message.id));
  }
}

function sendAndClose(bytes: Uint8Array): Behaviour {
  return async (client) => {
    await send(client, bytes);
    client.close();
  };
}

/** Sends `start`, then `bytes` without end. */
function flooding(bytes: Uint8Array, start: Uint8Array = new Uint8Array()): Behaviour {
  return async (client) => {
    await send(client, start);
    while (true) await send(client, bytes);
  };
}

async function send(client: Deno.UnixConn, ...parts: (Uint8Array | MuxMessage)[]): Promise<void> {
  // In one write, so that the client reads it in one go.
  const bytes = parts.flatMap((part) => [...(part instanceof Uint8Array ? part : encode(part))]);
  for (let sent = 0; sent < bytes.length;) {
    sent += await client.write(Uint8Array.from(bytes.slice(sent)));
  }
}

async function* received(client: Deno.UnixConn): AsyncGenerator<MuxMessage> {
  const splitter = new FrameSplitter();
  const chunk = new Uint8Array(512);
  for (let count; (count = await client.read(chunk)) !== null;) {
    for (const body of splitter.push(chunk.subarray(0, count))) yield decode(body);
  }
}

function alive(id: number, pid = 4242): MuxMessage {
  return { type: MUX_S_ALIVE, id, pid };
}

function refusal(id: number, reason: string): MuxMessage {
  return { type: MUX_S_FAILURE, id, reason };
}

function text(ascii: string): Uint8Array {
  return new TextEncoder().encode(ascii);
}

function hex(digits: string): Uint8Array {
  return Uint8Array.fromHex(digits.replaceAll(" ", ""));
}
