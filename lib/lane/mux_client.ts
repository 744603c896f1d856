/**
 * Talks to a connection master over its control socket (OpenSSH's PROTOCOL.mux): asks whether its server
 * still answers, and tells it to stop listening or to end. Opens no sessions: that is ssh's job.
 *
 * Everything that waits has a deadline, and nothing that the other side says is trusted.
 */
import { connectUnix, NoConnection, type UnixConnection } from "../os/unix_socket.ts";
import {
  decode,
  encode,
  type Forward,
  FrameSplitter,
  MUX_C_ALIVE_CHECK,
  MUX_C_CLOSE_FWD,
  MUX_C_OPEN_FWD,
  MUX_C_STOP_LISTENING,
  MUX_C_TERMINATE,
  MUX_FWD_DYNAMIC,
  MUX_FWD_LOCAL,
  MUX_FWD_REMOTE,
  MUX_MSG_HELLO,
  MUX_S_ALIVE,
  MUX_S_FAILURE,
  MUX_S_OK,
  MUX_S_PERMISSION_DENIED,
  MUX_S_REMOTE_PORT,
  MUX_VERSION,
  type MuxForward,
  type MuxMessage,
  MuxProtocolError,
  PORT_STREAMLOCAL,
} from "./mux_protocol.ts";

/** No answer came in time. The connection is still usable: the answer may come later. */
export class DeadlineExceeded extends Error {
  override name = "DeadlineExceeded";
}

/** The connection is over: the master has closed it, or this side has. */
export class MuxClosed extends Error {
  override name = "MuxClosed";
}

/** The master understood and said no. */
export class MuxRefused extends Error {
  override name = "MuxRefused";
}

/** Whether an error says something about the master, and not about us. */
export function isMuxTrouble(error: unknown): boolean {
  return error instanceof DeadlineExceeded || error instanceof MuxClosed ||
    error instanceof MuxRefused || error instanceof MuxProtocolError ||
    error instanceof NoConnection;
}

/**
 * A control connection to a master. While it is open, the master's `ControlPersist` does not count
 * down, at no cost to the server: this alone holds the master.
 *
 * Requests are sent one at a time, in the order of the calls, as the master handles them: it reads
 * nothing more from a connection while a forwarding requested on it is pending (`mux_pause` in mux.c).
 * A request that timed out stays in the queue until its answer comes, so those behind it on the same
 * connection time out as well: never ping on a connection that is needed for something else.
 *
 * Every request may throw `DeadlineExceeded` (no answer in time; the connection stays open),
 * `MuxClosed` (the connection is over), `MuxRefused`, or `MuxProtocolError` (it is over too).
 */
export class MuxConnection implements Disposable {
  /** Resolves once the connection is over, from either side. Never rejects. */
  readonly closed: Promise<void>;
  readonly #conn: UnixConnection;
  #lastId = 0;
  /** Settles when the last request in the queue has been answered. Never rejects. */
  #queue: Promise<unknown> = Promise.resolve();
  /** The request that waits for the next message. */
  #waiting?: {
    id: number | undefined;
    resolve(reply: MuxMessage): void;
    reject(error: Error): void;
  };
  /** Why the connection is over. */
  #end?: Error;

  private constructor(conn: UnixConnection) {
    this.#conn = conn;
    this.closed = this.#readLoop();
  }

  /**
   * Connects and exchanges hellos.
   *
   * @param options.deadline ms for both together, 1000 unless given
   * @throws {NoConnection} nothing is there, or nobody listens
   * @throws {DeadlineExceeded | MuxClosed | MuxProtocolError} somebody listens, but is no master
   */
  static async connect(
    socket: string,
    options: { deadline?: number } = {},
  ): Promise<MuxConnection> {
    const until = performance.now() + (options.deadline ?? 1000);
    const conn = await connectUnix(socket, { deadline: until - performance.now() }).catch(
      (error) => {
        if (!(error instanceof Deno.errors.WouldBlock)) throw error;
        throw new DeadlineExceeded("Master did not take the connection in time");
      },
    );
    const connection = new MuxConnection(conn);
    try {
      const hello: MuxMessage = { type: MUX_MSG_HELLO, version: MUX_VERSION };
      await connection.#inTurn(until - performance.now(), () => connection.#exchange(hello));
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /**
   * Asks for the master's process id.
   *
   * @param options.deadline ms, 1000 unless given
   */
  async alive(options: { deadline?: number } = {}): Promise<number> {
    const reply = await this.#ask(MUX_C_ALIVE_CHECK, options.deadline);
    if (reply.type !== MUX_S_ALIVE) throw this.#notGranted(reply);
    // It may be signalled later, so reject 0, 1 and what kill(2) takes for a process group.
    if (reply.pid < 2 || reply.pid > 0x7fffffff) {
      throw this.#over(new MuxProtocolError(`Master claims to be process ${reply.pid}`));
    }
    return reply.pid;
  }

  /**
   * Makes one round trip to the server and returns how long it took, in ms.
   *
   * It asks for a remote forwarding that no server can grant, not even to root: a unix socket without
   * a path, which the master passes on as the TCP port 4294967294 (mux.c,
   * channel_request_remote_forwarding in channels.c). sshd refuses that first, without a log message
   * (serverloop.c, "port > INT_MAX"); a port that it would try to bind costs two error lines each
   * time. A server before 7.8 may read it as port 65534; a forwarding that is granted is cancelled at
   * once. Each ping asks for another destination, because the master answers by itself while an
   * identical request is pending; nothing can connect to it (`.invalid`, RFC 6761 section 6.4).
   *
   * @param options.deadline ms, 3000 unless given. When it passes, keep the connection if you can: a
   * forwarding that is granted late is then still cancelled
   */
  async ping(options: { deadline?: number } = {}): Promise<number> {
    return await this.#inTurn(options.deadline ?? 3000, async () => {
      const forward = {
        forwardType: MUX_FWD_REMOTE,
        listenHost: "",
        listenPort: PORT_STREAMLOCAL,
        connectHost: `${crypto.randomUUID()}.invalid`,
        connectPort: 1,
      };
      const start = performance.now();
      const reply = await this.#exchange({
        type: MUX_C_OPEN_FWD,
        id: this.#nextId(),
        ...forward,
      });
      const elapsed = performance.now() - start;
      if (reply.type === MUX_S_FAILURE) return elapsed;
      if (reply.type !== MUX_S_OK && reply.type !== MUX_S_REMOTE_PORT) {
        throw this.#notGranted(reply);
      }
      await this.#exchange({ type: MUX_C_CLOSE_FWD, id: this.#nextId(), ...forward });
      return elapsed;
    });
  }

  /** Tells the master to open a forward, which may take a round trip to the server: 3000 ms. */
  openForward(forward: Forward): Promise<void> {
    return this.#forward(MUX_C_OPEN_FWD, forward, 3000);
  }

  /** Tells the master to cancel a forward. Connections through it stay open. */
  closeForward(forward: Forward): Promise<void> {
    return this.#forward(MUX_C_CLOSE_FWD, forward, 1000);
  }

  /**
   * Makes the master remove its socket and take no new clients. Sessions live on, and so does this
   * connection; with `ControlPersist` the master exits some time after the last of them.
   */
  async stopListening(): Promise<void> {
    const reply = await this.#ask(MUX_C_STOP_LISTENING);
    if (reply.type !== MUX_S_OK) throw this.#notGranted(reply);
  }

  /** Ends the master and every session on it. On return it has agreed; `closed` tells when it is gone. */
  async terminate(): Promise<void> {
    if (this.#end !== undefined) throw this.#end;
    try {
      const reply = await this.#ask(MUX_C_TERMINATE);
      if (reply.type !== MUX_S_OK) throw this.#notGranted(reply);
    } catch (error) {
      // mux.c itself calls it usual that a master exits before it has sent its answer.
      if (!(error instanceof MuxClosed)) throw error;
    }
  }

  /** Waits, without a deadline, until all requests have been answered. */
  async settled(): Promise<void> {
    await this.#queue;
    if (this.#end !== undefined) throw this.#end;
  }

  /** Closes the connection. Requests that still wait throw `MuxClosed`. May be called twice. */
  close(): void {
    this.#over(new MuxClosed("Control connection was closed by this side"));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Sends a request without fields. The master answers by itself, so 1000 ms unless given. */
  #ask(
    type: typeof MUX_C_ALIVE_CHECK | typeof MUX_C_TERMINATE | typeof MUX_C_STOP_LISTENING,
    deadline = 1000,
  ): Promise<MuxMessage> {
    return this.#inTurn(deadline, () => this.#exchange({ type, id: this.#nextId() }));
  }

  async #forward(
    type: typeof MUX_C_OPEN_FWD | typeof MUX_C_CLOSE_FWD,
    forward: Forward,
    deadline: number,
  ): Promise<void> {
    const reply = await this.#inTurn(
      deadline,
      () => this.#exchange({ type, id: this.#nextId(), ...fieldsOf(forward) }),
    );
    if (reply.type !== MUX_S_OK) throw this.#notGranted(reply);
  }

  #nextId(): number {
    return this.#lastId = (this.#lastId + 1) >>> 0;
  }

  /** Runs `work` once everything queued before it has been answered. */
  async #inTurn<T>(deadline: number, work: () => Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>();
    let gaveUp = false;
    // Not setTimeout(), whose first use costs an ssh call as much as the rest of a probe.
    AbortSignal.timeout(Math.max(0, Math.ceil(deadline))).addEventListener("abort", () => {
      gaveUp = true;
      late.reject(new DeadlineExceeded("Master did not answer in time"));
    });
    late.promise.catch(() => {}); // Nobody listens after the answer.
    const done = this.#queue.then(() => gaveUp ? late.promise : work());
    this.#queue = done.catch(() => {}); // the caller gets the error, the queue just goes on
    return await Promise.race([done, late.promise]);
  }

  /** Sends a message and waits for the next one, which must carry the same request id. */
  #exchange(request: MuxMessage): Promise<MuxMessage> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    const { promise, resolve, reject } = Promise.withResolvers<MuxMessage>();
    this.#waiting = { id: idOf(request), resolve, reject };
    this.#conn.write(encode(request)).then((isWritten) => {
      if (!isWritten) this.#over(brokeOff());
    }, (error) => this.#over(brokeOff(error)));
    return promise;
  }

  /** Reads until the end, so that a close is seen at once, whether or not a request waits. */
  async #readLoop(): Promise<void> {
    const splitter = new FrameSplitter();
    const chunk = new Uint8Array(512);
    try {
      for (let count; (count = await this.#conn.read(chunk)) !== null;) {
        for (const body of splitter.push(chunk.subarray(0, count))) this.#dispatch(decode(body));
      }
      this.#over(new MuxClosed("Master closed the control connection"));
    } catch (error) {
      this.#over(error instanceof MuxProtocolError ? error : brokeOff(error));
    }
  }

  #dispatch(message: MuxMessage): void {
    const waiting = this.#waiting;
    if (waiting === undefined) throw new MuxProtocolError("Message without a request");
    const id = idOf(message);
    if (id !== waiting.id) {
      throw new MuxProtocolError(
        `Message ${id ?? "without an id"} where ${waiting.id ?? "a hello"} was due`,
      );
    }
    this.#waiting = undefined;
    waiting.resolve(message);
  }

  /** Returns the error for an unwanted reply. */
  #notGranted(reply: MuxMessage): Error {
    if (reply.type === MUX_S_PERMISSION_DENIED || reply.type === MUX_S_FAILURE) {
      // Quoted, since the other side chose the text and it may end up on a terminal.
      return new MuxRefused(`Master refused: ${JSON.stringify(reply.reason.slice(0, 200))}`);
    }
    return this.#over(new MuxProtocolError(`Unexpected reply 0x${reply.type.toString(16)}`));
  }

  /** Ends the connection; the first reason is kept. Returns `error`, to be thrown. */
  #over(error: Error): Error {
    if (this.#end !== undefined) return error;
    this.#end = error;
    this.#conn.close();
    this.#waiting?.reject(error);
    return error;
  }
}

const FORWARD_TYPES = {
  local: MUX_FWD_LOCAL,
  remote: MUX_FWD_REMOTE,
  dynamic: MUX_FWD_DYNAMIC,
} as const;

function fieldsOf({ type, listenHost, listenPort, connectHost, connectPort }: Forward): MuxForward {
  return {
    forwardType: FORWARD_TYPES[type],
    listenHost,
    listenPort: listenPort ?? PORT_STREAMLOCAL,
    connectHost,
    connectPort: connectPort ?? PORT_STREAMLOCAL,
  };
}

/** The request id; only a hello has none. */
function idOf(message: MuxMessage): number | undefined {
  return "id" in message ? message.id : undefined;
}

/** To callers, a failed read or write means only that the connection is gone. */
function brokeOff(cause?: unknown): MuxClosed {
  return new MuxClosed("Control connection broke off", { cause });
}
