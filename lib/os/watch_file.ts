import { statOf } from "./files.ts";

/** How often to check a file if the system does not report changes, ms. */
const POLL = 1000;

/**
 * Calls `onWrite` soon after a file is written to (perhaps once for several writes) or removed, until
 * the result is disposed of.
 */
export function watchFile(path: string, onWrite: () => void): Disposable {
  let watcher: Deno.FsWatcher;
  try {
    watcher = Deno.watchFs(path);
  } catch {
    return pollFile(path, onWrite); // No more watches are available, or this system has none.
  }
  let close = () => watcher.close();
  const read = async () => {
    for await (const { kind } of watcher) {
      if (kind === "remove") {
        // The system watches this file, not one that may replace it.
        watcher.close();
        const poll = pollFile(path, onWrite);
        close = () => poll[Symbol.dispose]();
      }
      onWrite();
    }
  };
  read();
  return { [Symbol.dispose]: () => close() };
}

/** Like watchFile(), by checking the file every `every` ms. Exported for its test. */
export function pollFile(path: string, onWrite: () => void, every: number = POLL): Disposable {
  const look = () => statOf(path)?.mtime?.getTime();
  let last = look();
  const timer = setInterval(() => {
    const now = look();
    if (now !== last) onWrite();
    last = now;
  }, every);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
