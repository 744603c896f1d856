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
  #delay: number;
  readonly #speed: number;
  #listener: Deno.TcpListener;
  #target: number;
  /** The sides of each open connection; the far one comes later. */
  #open: Set<Deno.TcpConn[]> = new Set();
  #gate: PromiseWithResolvers<void> | undefined;
  /** The connections that the gate is closed to; all if not set. */
  #shut: ReadonlySet<Deno.TcpConn[]> | undefined;
  #closed = false;
  #work: Promise<void>;

  private constructor(target: number, { delayMs = 0, bytesPerSecond = Infinity }: RelayOptions) {
    this.#target = target;
    this.#delay = delayMs;
    this.#speed = bytesPerSecond;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.port = this.#listener.addr.port;
    this.#work = this.#accept();
  }

  /** Starts a relay to the port `target` of the loopback interface. */
  static start(target: number, options: RelayOptions = {}): Relay {
    return new Relay(target, options);
  }

  /** How many connections are open now. */
  get openConnections(): number {
    return this.#open.size;
  }

  /** Changes the delay, one way in ms, for what comes from now on. */
  setDelay(delayMs: number): void {
    this.#delay = delayMs;
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
    for (const sides of this.#open) closeAll(sides);
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
    try {
      await this.#passable(sides);
      if (this.#closed) return;
      sides.push(await Deno.connect({ hostname: "127.0.0.1", port: this.#target }));
      for (const side of sides) side.setNoDelay();
      const [near, far] = sides;
      await Promise.all([this.#pass(near, far, sides), this.#pass(far, near, sides)]);
    } catch (error) {
      if (!isDisconnect(error)) throw error;
    } finally {
      closeAll(sides);
      this.#open.delete(sides);
    }
  }

  /** Relays one direction: reads on while earlier parts are under way, and keeps the order. */
  async #pass(from: Deno.TcpConn, to: Deno.TcpConn, sides: Deno.TcpConn[]): Promise<void> {
    const buffer = new Uint8Array(64 << 10);
    let held = 0;
    let busyUntil = 0;
    let last = Promise.resolve();
    const send = (size: number, act: () => Promise<void>) => {
      busyUntil = Math.max(busyUntil, performance.now()) + 1000 * size / this.#speed;
      const due = busyUntil + this.#delay;
      last = last.then(() => this.#passable(sides, due)).then(act);
      // Thrown where `last` is awaited.
      last.catch(() => closeAll([from]));
    };
    for (let size = await read(from, buffer); size > 0; size = await read(from, buffer)) {
      const bytes = buffer.slice(0, size);
      held += size;
      send(size, async () => {
        await writeAll(to, bytes);
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

/** Reads; resolves to 0 at the end, however the connection ended. */
async function read(from: Deno.TcpConn, buffer: Uint8Array<ArrayBuffer>): Promise<number> {
  try {
    return await from.read(buffer) ?? 0;
  } catch (error) {
    if (isDisconnect(error)) return 0;
    throw error;
  }
}

async function writeAll(to: Deno.TcpConn, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await to.write(bytes.subarray(sent));
}

function closeAll(sides: readonly Deno.TcpConn[]): void {
  for (const side of sides) {
    try {
      side.close();
    } catch (error) {
      if (!isDisconnect(error)) throw error;
    }
  }
}

function isDisconnect(error: unknown): boolean {
  const { BadResource, BrokenPipe, ConnectionRefused, ConnectionReset, Interrupted, NotConnected } =
    Deno.errors;
  return [BadResource, BrokenPipe, ConnectionRefused, ConnectionReset, Interrupted, NotConnected]
    .some((expected) => error instanceof expected);
}

if (import.meta.main) {
  const [target, delayMs] = Deno.args.map(Number);
  console.log(Relay.start(target, { delayMs }).port);
}
