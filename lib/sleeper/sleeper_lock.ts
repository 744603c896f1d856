/** The file that names the sleeper, with a lock on it: of two sleepers one stays. */
import { makeWay, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { sleeperFile, sleeperPid, sleeperText } from "./sleeper_start.ts";

export class SleeperLock implements Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  readonly #inode: number | null;

  private constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
    this.#inode = file.statSync().ino;
  }

  /** Takes the file. `undefined`: another is awake or about to be, or the state directory is gone. */
  static tryTake(
    stateDir: string,
    system: Pick<System, "isAlive" | "now" | "pid">,
  ): SleeperLock | undefined {
    const named = sleeperPid(stateDir, system);
    if (named !== undefined && named !== system.pid) return undefined;
    const path = sleeperFile(stateDir);
    makeWay(path);
    let file: Deno.FsFile;
    try {
      file = Deno.openSync(path, { read: true, write: true, create: true, mode: 0o600 });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    if (!file.tryLockSync(true)) {
      file.close();
      return undefined;
    }
    file.truncateSync();
    file.writeSync(new TextEncoder().encode(sleeperText(system.pid, "awake")));
    return new SleeperLock(path, file);
  }

  /** Whether the state directory is there still, and its sleeper is this one. */
  isMine(): boolean {
    return statOf(this.#path)?.ino === this.#inode;
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}
