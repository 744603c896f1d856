/** Logs: what the sleeper says, and what masters say. */
import { linkStatOf, removeUnless } from "./files.ts";

/**
 * The size at which a log is emptied, in bytes, since nobody reads it until something is wrong: ours, and
 * that of a master that runs with -v.
 */
const MAX_LOG = 64 * 1024;

/** Adds a line to a log, with the time `now` in ms since the epoch; does nothing if it cannot be written. */
export function logLine(path: string, now: number, line: string): void {
  try {
    removeUnless(path, "isFile");
    cutLog(path);
    const text = `${new Date(now).toISOString()} ${line}\n`;
    Deno.writeTextFileSync(path, text, { append: true, mode: 0o600 });
  } catch {
    // A full disk, or the directory is gone.
  }
}

/** Empties a log that has grown too large; its writers append. */
export function cutLog(path: string): void {
  const info = linkStatOf(path); // A link's target is not ours to empty.
  if (info?.isFile && info.size > MAX_LOG) Deno.truncateSync(path);
}
