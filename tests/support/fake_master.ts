import { encode, MUX_MSG_HELLO, MUX_VERSION } from "../../lib/lane/mux_protocol.ts";

/** What a fake master does with each client; once this returns, it is silent. */
export type Behaviour = (client: Deno.UnixConn) => Promise<unknown>;

/** A request: its type, its id (of a hello: its version), and its other fields in hex. */
export interface Request {
  readonly type: number;
  readonly id: number;
  readonly rest: string;
}

export const HELLO = encode(MUX_MSG_HELLO, MUX_VERSION);

/** A listener on a control socket that treats each client as told. */
export class FakeMaster implements AsyncDisposable {
  readonly #listener: Deno.UnixListener;
  readonly #clients: Deno.UnixConn[] = [];
  readonly #serving: Promise<void>;

  constructor(readonly socket: string, behaviour: Behaviour) {
    this.#listener = Deno.listen({ transport: "unix", path: socket });
    this.#serving = this.#serve(behaviour);
  }

  /** Listens in a directory of its own. */
  static async listen(behaviour: Behaviour): Promise<FakeMaster> {
    return new FakeMaster(`${await Deno.makeTempDir({ prefix: "sshs-mux-" })}/sock`, behaviour);
  }

  async #serve(behaviour: Behaviour): Promise<void> {
    const served: Promise<unknown>[] = [];
    for await (const client of this.#listener) {
      this.#clients.push(client);
      served.push(behaviour(client).catch(ignoreHangUp));
    }
    await Promise.all(served);
  }

  /** Closes all connections. */
  hangUp(): void {
    for (const client of this.#clients.splice(0)) {
      try {
        client.close();
      } catch (error) {
        ignoreHangUp(error);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.hangUp();
    await this.#serving;
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
export function answering(reply: (request: Request) => Uint8Array | undefined): Behaviour {
  return async (client) => {
    await send(client, HELLO);
    for await (const request of received(client)) {
      const bytes = request.type === MUX_MSG_HELLO ? undefined : reply(request);
      if (bytes) await send(client, bytes);
    }
  };
}

/** Sends in one write, so that the client reads it in one go. */
export async function send(client: Deno.UnixConn, ...parts: Uint8Array[]): Promise<void> {
  const bytes = Uint8Array.from(parts.flatMap((part) => [...part]));
  for (let sent = 0; sent < bytes.length;) sent += await client.write(bytes.subarray(sent));
}

/** Yields the requests of a client. */
export async function* received(client: Deno.UnixConn): AsyncGenerator<Request> {
  let bytes = new Uint8Array();
  const chunk = new Uint8Array(512);
  for (let count; (count = await client.read(chunk)) !== null;) {
    bytes = Uint8Array.from([...bytes, ...chunk.subarray(0, count)]);
    for (;;) {
      const view = new DataView(bytes.buffer);
      const length = bytes.length < 4 ? Infinity : 4 + view.getUint32(0);
      if (bytes.length < length) break;
      const rest = bytes.slice(12, length).toHex();
      yield { type: view.getUint32(4), id: view.getUint32(8), rest };
      bytes = bytes.slice(length);
    }
  }
}
