/**
 * Single flight: of the calls that find no lane one starts a master, and the rest wait for what comes
 * of it. A flock, so that a killed holder frees it; every descriptor is close-on-exec, so that an exec
 * frees it too.
 */

import {
  isSystemError,
  makeDir,
  makeWay,
  namesIn,
  removeIfEmpty,
  removePath,
  statOf,
} from "../os/files.ts";

/** The holder's right to start a master for an identity. */
export class Flight implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #dir: string;

  private constructor(file: Deno.FsFile, dir: string) {
    this.#file = file;
    this.#dir = dir;
  }

  /** Takes the lock of an identity if it is free. Makes the directory where it is gone. */
  static tryTake(dir: string): Flight | undefined {
    for (;;) {
      makeDir(dir);
      makeWay(lockOf(dir));
      let file: Deno.FsFile;
      try {
        file = Deno.openSync(lockOf(dir), { write: true, create: true, mode: 0o600 });
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) continue; // The sleeper removed the directory.
        throw error;
      }
      if (!file.tryLockSync(true)) {
        file.close();
        return undefined;
      }
      if (isSameFile(file, lockOf(dir))) {
        file.truncateSync(); // Which dates it as well, for heldFor().
        return new Flight(file, dir);
      }
      file.close(); // Locked, but removed in between: others will lock its successor.
    }
  }

  /** Tells those who wait that a question is open, and that they may have to wait for its answer. */
  asking(open: boolean): void {
    tell(() => {
      this.#file.truncateSync();
      this.#file.seekSync(0, Deno.SeekMode.Start);
      if (open) this.#file.writeSync(new TextEncoder().encode("asking\n"));
    });
  }

  /** Tells those who wait that the attempt has failed: none of them repeats it. */
  failed(): void {
    tell(() => {
      makeWay(failureOf(this.#dir));
      Deno.writeTextFileSync(failureOf(this.#dir), "", { mode: 0o600 });
    });
  }

  /**
   * Removes the identity's directory, and the lock last: until then nobody else is at work in it. It
   * stays where another call has made a new lock by then.
   */
  removeDirectory(): void {
    const lock = lockOf(this.#dir);
    for (const name of namesIn(this.#dir)) {
      if (`${this.#dir}/${name}` !== lock) removePath(`${this.#dir}/${name}`);
    }
    removePath(lock);
    removeIfEmpty(this.#dir);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** Whether the holder of the lock waits for an answer of its user. */
export function isAsking(dir: string): boolean {
  return statOf(lockOf(dir))?.size ? true : false;
}

/**
 * How long the holder has had the lock, or has waited for its user since the last answer, ms. `undefined`
 * where that is not known: the clock was set back, or the lock has just gone.
 */
export function heldFor(dir: string, now: number): number | undefined {
  const taken = statOf(lockOf(dir))?.mtime?.getTime();
  return taken === undefined || taken > now ? undefined : now - taken;
}

/**
 * Whether an attempt for the identity has failed since a time in ms since the epoch. A failure that is
 * still to come was noted before the clock was set back.
 */
export function hasFailedSince(dir: string, since: number, now: number): boolean {
  const at = statOf(failureOf(dir))?.mtime?.getTime();
  return at !== undefined && at >= since && at <= now;
}

/** A word to those who wait. On a full disk it goes unheard: they wait less, or try for themselves. */
function tell(write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}

function lockOf(dir: string): string {
  return `${dir}/lock`;
}

function failureOf(dir: string): string {
  return `${dir}/failed`;
}

function isSameFile(file: Deno.FsFile, path: string): boolean {
  const [mine, there] = [file.statSync(), statOf(path)];
  return there !== undefined && there.ino === mine.ino && there.dev === mine.dev;
}
