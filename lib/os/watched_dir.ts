/** A directory that is looked at again and again: it is read only when it has changed, as its mtime tells. */
import { namesIn, statOf } from "./files.ts";

/** A change in the same tick of the kernel's clock (10 ms at most) leaves no other mtime behind, ms. */
const TICK = 1000;

export class WatchedDir {
  readonly path: string;
  #names: readonly string[] = [];
  #changed?: number;
  #read = 0;

  constructor(path: string) {
    this.path = path;
  }

  /** The names in it now, in the same array as last time if it has not changed; `undefined` where it is gone. */
  names(): readonly string[] | undefined {
    const changed = statOf(this.path)?.mtime?.getTime();
    if (changed === undefined) return undefined;
    if (changed !== this.#changed || this.#read < changed + TICK) {
      this.#read = Date.now();
      this.#changed = changed;
      this.#names = namesIn(this.path);
    }
    return this.#names;
  }
}
