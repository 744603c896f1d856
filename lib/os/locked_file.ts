import { ifThere, namesIn, removePath, removeUnless, statOf } from "./files.ts";

/** A file whose lock (flock) this process holds. */
export class LockedFile implements Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;

  private constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
  }

  /**
   * Takes the lock on a file, and creates the file if needed. `undefined`: another process holds the
   * lock, or there is no such directory.
   */
  static tryTake(path: string): LockedFile | undefined {
    removeUnless(path, "isFile");
    const options = { read: true, write: true, create: true, mode: 0o600 };
    const file = ifThere(() => Deno.openSync(path, options));
    if (!file) return undefined;
    const locked = new LockedFile(path, file);
    // The file may have been removed before we locked it: others will lock its successor.
    if (file.tryLockSync(true) && locked.isMine()) return locked;
    file.close();
  }

  static isLocked(path: string): boolean {
    if (!statOf(path)?.isFile) return false;
    using file = ifThere(() => Deno.openSync(path));
    return file !== undefined && !file.tryLockSync(false);
  }

  /** Replaces the contents of the file. */
  write(text: string): void {
    this.#file.truncateSync();
    this.#file.seekSync(0, Deno.SeekMode.Start);
    this.#file.writeSync(new TextEncoder().encode(text));
  }

  /** The number under which this process has the file open; "" if the system does not say. */
  get descriptor(): string {
    const mine = this.#file.statSync();
    const isMine = (name: string) => {
      const { dev, ino } = ifThere(() => Deno.statSync(`/proc/self/fd/${name}`)) ?? {};
      return dev === mine.dev && ino === mine.ino;
    };
    return namesIn("/proc/self/fd").find(isMine) ?? "";
  }

  /** Whether its path still leads to this file. */
  isMine(): boolean {
    const [mine, there] = [this.#file.statSync(), statOf(this.#path)];
    return there !== undefined && there.ino === mine.ino && there.dev === mine.dev;
  }

  /** Removes the file, if it is still this one. */
  remove(): void {
    if (this.isMine()) removePath(this.#path);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}
