/** Connections to unix sockets, in which every failure of the other side is a value. */
import { isAbsence, isSystemError, linkStatOf } from "./files.ts";

export interface UnixConnection {
  /** Reads into `chunk` and returns how many bytes; `null` once the connection is over, from either side. */
  read(chunk: Uint8Array): Promise<number | null>;
  /** Writes all of it. False: the connection is over. */
  write(bytes: Uint8Array): Promise<boolean>;
  /** May be called twice. What still reads or writes is told that it is over. */
  close(): void;
}

/** Why there is no connection. */
export class NoConnection extends Error {
  override name = "NoConnection";

  /**
   * - `absent`: there is no such file
   * - `refused`: nobody listens
   * - `late`: more wait than the listener lets, until the deadline
   * - `unusable`: the system has something else against it, which is the cause
   */
  constructor(readonly why: "absent" | "refused" | "late" | "unusable", cause: unknown) {
    super(cause instanceof Error ? cause.message : why, { cause });
  }
}

/** Connects to a socket. Waits, until `deadline` (ms) has passed, only where the listener's queue is full. */
export async function connectUnix(
  path: string,
  options: { readonly deadline: number },
): Promise<UnixConnection | NoConnection> {
  const until = performance.now() + options.deadline;
  while (true) {
    try {
      return wrap(await Deno.connect({ transport: "unix", path }));
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return new NoConnection("refused", error);
      if (isAbsence(error)) return new NoConnection("absent", error);
      // EAGAIN: the queue is full (unix(7)). A master's takes 64 clients (mux.c), which a burst of calls can meet.
      if (!(error instanceof Deno.errors.WouldBlock)) {
        if (!isUnusable(error)) throw error;
        return new NoConnection("unusable", error);
      }
      if (performance.now() >= until) return new NoConnection("late", error);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Whose socket stands at a path, by the user's number; `"other"`: it is none, but a link for example. */
export function socketOwner(path: string): number | null | "absent" | "other" {
  const info = linkStatOf(path);
  if (!info) return "absent";
  return info.isSocket ? info.uid : "other";
}

/**
 * One that we may not open, one that is no socket, no more files to be had, or a name that is too
 * long for one.
 */
function isUnusable(error: unknown): boolean {
  // The last comes without an errno (Rust's SocketAddr).
  return isSystemError(error) || (error instanceof Error && /SUN_LEN/.test(error.message));
}

function wrap(conn: Deno.UnixConn): UnixConnection {
  let isOpen = true;
  return {
    async read(chunk) {
      return await unlessOver(conn.read(chunk)) ?? null;
    },
    async write(bytes) {
      for (let sent = 0; sent < bytes.length;) {
        const count = await unlessOver(conn.write(bytes.subarray(sent)));
        if (count === undefined) return false;
        sent += count;
      }
      return true;
    },
    close() {
      if (isOpen) conn.close();
      isOpen = false;
    },
  };
}

/** The result of reading or writing; `undefined` where the connection broke or was closed meanwhile. */
async function unlessOver<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    const isClosed = error instanceof Deno.errors.BadResource ||
      error instanceof Deno.errors.Interrupted;
    if (!isClosed && !isSystemError(error)) throw error;
  }
}
