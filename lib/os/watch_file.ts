import { statOf } from "./files.ts";

/** How often to check a file if the system does not report changes, ms. */
const POLL = 1000;

/**
 * Calls `onWrite` soon after a file is written to (perhaps once for several writes) or removed, until
 * the result is disposed of.
 */
export function watchFile(path: string, onWrite: () => void): Disposable {
  let stop: () => void;
  const poll = () => {
    const look = () => statOf(path)?.mtime?.getTime();
    let last = look();
    const timer = setInterval(() => {
      const now = look();
      if (now !== last) onWrite();
      last = now;
    }, POLL);
    stop = () => clearInterval(timer);
  };
  const read = async (watcher: Deno.FsWatcher) => {
    for await (const { kind } of watcher) {
      if (kind === "remove") {
        // The system watches this file, not one that may replace it.
        watcher.close();
        poll();
      }
      onWrite();
    }
  };
  try {
    const watcher = Deno.watchFs(path);
    stop = () => watcher.close();
    read(watcher);
  } catch {
    poll(); // No more watches are available, or this system has none.
  }
  return { [Symbol.dispose]: () => stop() };
}
