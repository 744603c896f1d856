/**
 * Talks to a connection master over its control socket (OpenSSH's PROTOCOL.mux): asks whether its server
 * still answers, and tells it to stop listening or to end. Opens no sessions: that is ssh's job. Everything
 * that waits has a deadline, and nothing that the other side says is trusted.
 */
import { connectUnix, NoConnection, type UnixConnection } from "../os/unix_socket.ts";
import {
  decode,
  encode,
  type Forward,
  isMuxTrouble,
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
  MUX_S_REMOTE_PORT,
  MUX_VERSION,
  MuxTrouble,
  PORT_STREAMLOCAL,
  type Reply,
} from "./mux_protocol.ts";

/** How long a master may take, ms: by itself, and with a round trip to its server. */
const [BY_ITSELF, ROUND_TRIP] = [1000, 3000];

/**
 * A control connection to a master. While it is open, the master's `ControlPersist` does not count
 * down, at no cost to the server: this alone holds the master.
 *
 * Requests are sent one at a time, in the order of the calls, as the master handles them: it reads
 * nothing more from a connection while a forwarding requested on it is pending (`mux_pause` in mux.c).
 * A request that timed out stays in the queue until its answer comes, so those behind it on the same
 * connection time out as well: never ping on a connection that is needed for something else.
 *
 * Each may throw {@linkcode MuxTrouble}, of any kind but `absent`. Deadlines are in ms.
 */
export class MuxConnection implements Disposable {
  /** Resolves once the connection is over, from either side. Never rejects. */
  readonly closed: Promise<void>;
  readonly #conn: UnixConnection;
  #lastId = 0;
  /** Settles when the last request in the queue has been answered. Never rejects. */
  #queue: Promise<unknown> = Promise.resolve();
  /** The request that waits for the next message. */
  #waiting?: PromiseWithResolvers<Reply> & { id: number | undefined };
  /** Why the connection is over. */
  #end?: MuxTrouble;

  private constructor(conn: UnixConnection) {
    this.#conn = conn;
    this.closed = this.#readLoop();
  }

  /** Connects and exchanges hellos. Throws a system error if no connection can be made at all. */
  static async connect(socket: string, deadline: number = BY_ITSELF): Promise<MuxConnection> {
    const until = performance.now() + deadline;
    const conn = await connectUnix(socket, { deadline }).catch((error) => {
      if (error instanceof NoConnection) throw new MuxTrouble("absent", error.message);
      throw error instanceof Deno.errors.WouldBlock ? new MuxTrouble("late", error.message) : error;
    });
    const connection = new MuxConnection(conn);
    try {
      await connection.#ask(until - performance.now(), MUX_MSG_HELLO, MUX_VERSION);
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Asks for the master's process id. */
  async alive(deadline: number = BY_ITSELF): Promise<number> {
    const { pid = 0 } = this.#expect(MUX_S_ALIVE, await this.#ask(deadline, MUX_C_ALIVE_CHECK));
    // It may be signalled later, so reject 0, 1 and what kill(2) takes for a process group.
    if (pid > 1 && pid <= 0x7fffffff) return pid;
    throw this.#over(new MuxTrouble("garbled", `Master claims to be process ${pid}`));
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
   * identical request is pending; nothing can connect to it (`.invalid`, RFC 6761 section 6.4). When the
   * deadline passes, keep the connection if you can: a forwarding that is granted late is then cancelled.
   */
  async ping(deadline: number = ROUND_TRIP): Promise<number> {
    return await this.#inTurn(deadline, async () => {
      const nowhere = `${crypto.randomUUID()}.invalid`;
      const forward: Forward = [MUX_FWD_REMOTE, "", PORT_STREAMLOCAL, nowhere, 1];
      const start = performance.now();
      const reply = await this.#exchange(MUX_C_OPEN_FWD, ...forward);
      const elapsed = performance.now() - start;
      if (reply.type === MUX_S_FAILURE) return elapsed;
      if (reply.type !== MUX_S_REMOTE_PORT) this.#expect(MUX_S_OK, reply);
      await this.#exchange(MUX_C_CLOSE_FWD, ...forward);
      return elapsed;
    });
  }

  /** Makes the master open a forward (`MUX_C_OPEN_FWD`), or cancel it: connections through it stay open. */
  async forward(request: number, forward: Forward): Promise<void> {
    this.#expect(MUX_S_OK, await this.#ask(ROUND_TRIP, request, ...forward));
  }

  /**
   * Makes the master remove its socket and take no new clients. Sessions live on, and so does this
   * connection; with `ControlPersist` the master exits some time after the last of them.
   */
  async stopListening(): Promise<void> {
    this.#expect(MUX_S_OK, await this.#ask(BY_ITSELF, MUX_C_STOP_LISTENING));
  }

  /** Ends the master and every session on it. On return it has agreed; `closed` tells when it is gone. */
  async terminate(): Promise<void> {
    if (this.#end) throw this.#end;
    try {
      this.#expect(MUX_S_OK, await this.#ask(BY_ITSELF, MUX_C_TERMINATE));
    } catch (error) {
      // mux.c itself calls it usual that a master exits before it has sent its answer.
      if (!isMuxTrouble(error, "closed")) throw error;
    }
  }

  /** Waits, without a deadline, until all requests have been answered. */
  async settled(): Promise<void> {
    await this.#queue;
    if (this.#end) throw this.#end;
  }

  /** Closes the connection. May be called twice. */
  close(): void {
    this.#over(new MuxTrouble("closed", "Control connection was closed by this side"));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #ask(deadline: number, type: number, ...fields: readonly (number | string)[]): Promise<Reply> {
    return this.#inTurn(deadline, () => this.#exchange(type, ...fields));
  }

  /** Runs `work` once everything queued before it has been answered. */
  async #inTurn<T>(deadline: number, work: () => Promise<T>): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    let gaveUp = false;
    const timer = setTimeout(() => {
      gaveUp = true;
      reject(new MuxTrouble("late", "Master did not answer in time"));
    }, deadline);
    const done = this.#queue.then(() => gaveUp ? late : work());
    this.#queue = done.catch(() => {}); // the caller gets the error, the queue just goes on
    try {
      return await Promise.race([done, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Sends a message and waits for the next one, which must carry the same request id. */
  #exchange(type: number, ...fields: readonly (number | string)[]): Promise<Reply> {
    if (this.#end) return Promise.reject(this.#end);
    const id = type === MUX_MSG_HELLO ? undefined : this.#lastId = (this.#lastId + 1) >>> 0;
    const waiting = this.#waiting = { id, ...Promise.withResolvers<Reply>() };
    this.#conn.write(encode(type, ...(id === undefined ? [] : [id]), ...fields)).then(
      (isWritten) => isWritten || this.#brokeOff(),
      (error) => this.#brokeOff(error),
    );
    return waiting.promise;
  }

  /** Reads until the end, so that a close is seen at once, whether or not a request waits. */
  async #readLoop(): Promise<void> {
    try {
      for (let body; (body = await this.#readMessage());) this.#dispatch(decode(body));
      this.#over(new MuxTrouble("closed", "Master closed the control connection"));
    } catch (error) {
      this.#brokeOff(error);
    }
  }

  async #readMessage(): Promise<Uint8Array | undefined> {
    const head = await this.#read(4);
    const length = head && new DataView(head.buffer).getUint32(0);
    if (length === undefined) return undefined;
    if (length <= MUX_MAX_LENGTH) return this.#read(length);
    throw new MuxTrouble("garbled", `Message of ${length} bytes is too long`);
  }

  /** Reads so many bytes; `undefined`: the connection is closed. */
  async #read(length: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const bytes = new Uint8Array(length);
    for (let have = 0; have < length;) {
      const count = await this.#conn.read(bytes.subarray(have));
      if (count === null) return undefined;
      have += count;
    }
    return bytes;
  }

  #dispatch(reply: Reply): void {
    const waiting = this.#waiting;
    if (!waiting) throw new MuxTrouble("garbled", "Message without a request");
    if (reply.id !== waiting.id) {
      const [came, due] = [reply.id ?? "without an id", waiting.id ?? "a hello"];
      throw new MuxTrouble("garbled", `Message ${came} where ${due} was due`);
    }
    this.#waiting = undefined;
    waiting.resolve(reply);
  }

  /** Returns the reply if it is of this type. */
  #expect(type: number, reply: Reply): Reply {
    const { type: came, reason } = reply;
    if (came === type) return reply;
    if (reason === undefined) {
      throw this.#over(new MuxTrouble("garbled", `Unexpected reply 0x${came.toString(16)}`));
    }
    // Quoted, since the other side chose the text and it may end up on a terminal.
    throw new MuxTrouble("refused", `Master refused: ${JSON.stringify(reason.slice(0, 200))}`);
  }

  /** Ends the connection; the first reason is kept. Returns `error`, to be thrown. */
  #over(error: MuxTrouble): MuxTrouble {
    if (!this.#end) {
      this.#end = error;
      this.#conn.close();
      this.#waiting?.reject(error);
    }
    return error;
  }

  /** To callers, a failed read or write means only that the connection is gone. */
  #brokeOff(cause?: unknown): void {
    const closed = new MuxTrouble("closed", "Control connection broke off", cause);
    this.#over(isMuxTrouble(cause) ? cause : closed);
  }
}
