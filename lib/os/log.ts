/** Logs that nobody reads until something is wrong, and that must not grow meanwhile. */
import { makeWay, statOf } from "./files.ts";

/** A log is emptied at this size, in bytes: ours, and that of a master which runs with -v. */
const MAX_LOG = 64 * 1024;

/** Adds a line to a log, with the time `now` in ms since the epoch. A log that cannot be written is none. */
export function logLine(path: string, now: number, line: string): void {
  try {
    makeWay(path);
    cutLog(path);
    const text = `${new Date(now).toISOString()} ${line}\n`;
    Deno.writeTextFileSync(path, text, { append: true, mode: 0o600 });
  } catch (error) {
    // A full disk, or the directory is gone.
    if (error instanceof Deno.errors.NotCapable) throw error;
  }
}

/** Empties a log that has grown too large; who writes to it appends. */
export function cutLog(path: string): void {
  if ((statOf(path)?.size ?? 0) > MAX_LOG) Deno.truncateSync(path);
}
