import { pause } from "./eventually.ts";

/** How a relay treats what passes. */
export interface RelayOptions {
  /** How long each way takes, in ms: the round trip is twice that. 0 by default. */
  delayMs?: number;
  /** How fast each way is; what exceeds it waits here. No limit by default. */
  bytesPerSecond?: number;
}

/** Bytes that one direction may hold back; then it stops reading, as a full pipe does. */
const WINDOW = 32 << 20;

const { BadResource, BrokenPipe, ConnectionRefused, ConnectionReset, Interrupted, NotConnected } =
  Deno.errors;
/** How a connection may end. */
const ENDS = [
  BadResource,
  BrokenPipe,
  ConnectionRefused,
  ConnectionReset,
  Interrupted,
  NotConnected,
];

/**
 * A TCP relay on a free port of the loopback interface that can be slow, or silently dead.
 *
 *     await using relay = Relay.start(sshd.port, { delayMs: 25 });
 *     const config = await sshd.writeConfig({ port: relay.port });
 *     relay.cut();
 *
 * Also a program: `deno run --allow-net tests/support/relay.ts TARGET-PORT DELAY-MS` prints its port and
 * runs until it is killed.
 */
export class Relay implements AsyncDisposable {
  readonly port: number;
  /** How many connections were ever accepted. */
  connections = 0;
  /** How long each way takes from now on, ms. */
  delayMs: number;
  readonly #speed: number;
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #target: number;
  /** The sides of each open connection; the far one comes later. */
  readonly #open: Set<Deno.TcpConn[]> = new Set();
  #gate: PromiseWithResolvers<void> | undefined;
  /** The connections that the gate is closed to; all if not set. */
  #shut: ReadonlySet<Deno.TcpConn[]> | undefined;
  #closed = false;
  readonly #work: Promise<void>;

  private constructor(target: number, { delayMs = 0, bytesPerSecond = Infinity }: RelayOptions) {
    this.#target = target;
    this.delayMs = delayMs;
    this.#speed = bytesPerSecond;
    this.port = this.#listener.addr.port;
    this.#work = this.#accept();
  }

  /** Starts a relay to the port `target` of the loopback interface. */
  static start(target: number, options: RelayOptions = {}): Relay {
    return new Relay(target, options);
  }

  /**
   * Becomes a black hole, like a sleeping laptop or a lost VPN: everything stays connected and nothing
   * passes. New connections are accepted, since the kernel does that, but never answered.
   */
  cut(): void {
    this.#gate ??= Promise.withResolvers();
    this.#shut = undefined;
  }

  /** Likewise, but new connections pass, as in another network, where the old ones are lost. */
  cutOpen(): void {
    this.#gate ??= Promise.withResolvers();
    this.#shut = new Set(this.#open);
  }

  /** Goes on after {@linkcode cut}: what was held back arrives late, and in order. */
  restore(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  /** Closes everything; resolves when nothing is open. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.close();
    for (const sides of this.#open) await closeAll(sides);
    this.restore();
    await this.#work;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #accept(): Promise<void> {
    const relayed: Promise<void>[] = [];
    for await (const near of this.#listener) {
      this.connections++;
      relayed.push(this.#relay([near]));
    }
    await Promise.all(relayed);
  }

  async #relay(sides: Deno.TcpConn[]): Promise<void> {
    this.#open.add(sides);
    await untilItEnds(async () => {
      await this.#passable(sides);
      if (this.#closed) return;
      sides.push(await Deno.connect({ hostname: "127.0.0.1", port: this.#target }));
      for (const side of sides) side.setNoDelay();
      const [near, far] = sides;
      await Promise.all([this.#pass(near, far, sides), this.#pass(far, near, sides)]);
    });
    await closeAll(sides);
    this.#open.delete(sides);
  }

  /** Relays one direction: reads on while earlier parts are under way, and keeps the order. */
  async #pass(from: Deno.TcpConn, to: Deno.TcpConn, sides: Deno.TcpConn[]): Promise<void> {
    const buffer = new Uint8Array(64 << 10);
    let held = 0;
    let busyUntil = 0;
    let last = Promise.resolve();
    const send = (size: number, act: () => Promise<void>) => {
      busyUntil = Math.max(busyUntil, performance.now()) + 1000 * size / this.#speed;
      const due = busyUntil + this.delayMs;
      last = last.then(() => this.#passable(sides, due)).then(act);
      // Thrown where `last` is awaited.
      last.catch(() => closeAll([from]));
    };
    const read = () => untilItEnds(() => from.read(buffer));
    for (let size = await read(); size; size = await read()) {
      const bytes = buffer.slice(0, size);
      held += size;
      send(size, async () => {
        for (let sent = 0; sent < bytes.length;) sent += await to.write(bytes.subarray(sent));
        held -= bytes.length;
      });
      if (held > WINDOW) await last;
    }
    send(0, () => to.closeWrite());
    await last;
  }

  /** Waits until the time `due`, and until the relay is not cut. */
  async #passable(sides: Deno.TcpConn[], due = 0): Promise<void> {
    const wait = due - performance.now();
    if (wait > 0) await pause(wait);
    while (this.#gate !== undefined && (this.#shut?.has(sides) ?? true)) await this.#gate.promise;
  }
}

async function closeAll(sides: readonly Deno.TcpConn[]): Promise<void> {
  for (const side of sides) await untilItEnds(() => side.close());
}

/** Resolves to what `act` gives, or to nothing if the connection has ended, however it did. */
async function untilItEnds<T>(act: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await act();
  } catch (error) {
    if (!ENDS.some((end) => error instanceof end)) throw error;
  }
}

if (import.meta.main) {
  const [target, delayMs] = Deno.args.map(Number);
  console.log(Relay.start(target, { delayMs }).port);
}
