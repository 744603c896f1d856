/** Connections to unix sockets. That the other side is over is a value, not an exception. */
import { isAbsence, isSystemError, removePath, statOf } from "./files.ts";
import { pause } from "./system.ts";

/** A connection. A pending read or write ends with it. */
export type UnixConnection = ReturnType<typeof wrap>;

/** There is no such file, or nobody listens. */
export class NoConnection extends Error {
  override name = "NoConnection";

  constructor(cause: Error) {
    super(cause.message, { cause });
  }
}

/**
 * Connects to a socket. Waits, for at most `deadline` ms, only while the listener's queue is full.
 *
 * @throws {NoConnection} if nobody is there
 * @throws {Deno.errors.WouldBlock} if the queue is still full; other errors of the system
 */
export async function connectUnix(
  path: string,
  { deadline }: { readonly deadline: number },
): Promise<UnixConnection> {
  const until = performance.now() + deadline;
  while (true) {
    try {
      return wrap(await Deno.connect({ transport: "unix", path }));
    } catch (error) {
      const isAbsent = error instanceof Deno.errors.ConnectionRefused || isAbsence(error);
      if (isAbsent) throw new NoConnection(error as Error);
      // EAGAIN: the queue is full (unix(7)). A master's holds 64 clients (mux.c), which a burst can fill.
      if (!(error instanceof Deno.errors.WouldBlock) || performance.now() >= until) throw error;
    }
    await pause(5);
  }
}

/**
 * Tries what a control socket needs: makes a socket, a file and a hard link at paths that begin with
 * `path`, and removes them again. Returns when the file was made by the file system's clock, ms since the
 * epoch; or what failed.
 */
export function tryFiles(path: string): { readonly made: number } | { readonly problem: string } {
  try {
    Deno.listen({ transport: "unix", path }).close();
    Deno.writeTextFileSync(`${path}.file`, "", { mode: 0o600 });
    Deno.linkSync(`${path}.file`, `${path}.link`);
    return { made: statOf(`${path}.file`)?.mtime?.getTime() ?? 0 };
  } catch (error) {
    return { problem: (error as Error).message };
  } finally {
    for (const end of ["", ".file", ".link"]) removePath(path + end);
  }
}

function wrap(conn: Deno.UnixConn) {
  let isOpen = true;
  return {
    /** Reads into `chunk` and returns the number of bytes; `null` once either side has closed. */
    async read(chunk: Uint8Array): Promise<number | null> {
      return await unlessOver(conn.read(chunk)) ?? null;
    },
    /** Writes all bytes. False: the connection is closed. */
    async write(bytes: Uint8Array): Promise<boolean> {
      for (let sent = 0; sent < bytes.length;) {
        const count = await unlessOver(conn.write(bytes.subarray(sent)));
        if (count === undefined) return false;
        sent += count;
      }
      return true;
    },
    /** May be called twice. */
    close(): void {
      if (isOpen) conn.close();
      isOpen = false;
    },
  };
}

/** Returns the result of a read or write; `undefined` if the connection broke or was closed meanwhile. */
async function unlessOver<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    const isClosed = error instanceof Deno.errors.BadResource ||
      error instanceof Deno.errors.Interrupted;
    if (!isClosed && !isSystemError(error)) throw error;
  }
}
