/**
 * Being interrupted while something detached is under way: the signal does not end this process at
 * once but sets an abort signal, so that what was started is ended first; then the process dies by
 * the very signal, as the shell that waits for it must see.
 */
import { isIgnored } from "./libc.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;

export class Interrupt implements Disposable {
  readonly #abort = new AbortController();
  readonly #listeners = new Map<Deno.Signal, () => void>();
  #received: Deno.Signal | undefined;

  /** @throws {Error} when there are no descriptors left for it */
  constructor() {
    needDescriptors();
    for (const name of SIGNALS) {
      // Under nohup, or in the background of a script: it stays ignored, over the exec too.
      if (isIgnored(name)) continue;
      const listener = () => {
        this.#received ??= name;
        this.#abort.abort();
      };
      this.#listeners.set(name, listener);
      Deno.addSignalListener(name, listener);
    }
  }

  /** Aborted once a signal came. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Dies by the signal that came, if one did. */
  async dieIfInterrupted(): Promise<void> {
    if (!this.#received) return;
    this[Symbol.dispose]();
    Deno.kill(Deno.pid, this.#received);
    await new Promise(() => setTimeout(() => Deno.exit(255), 1000)); // Where the signal is ignored.
  }

  [Symbol.dispose](): void {
    for (const [name, listener] of this.#listeners) Deno.removeSignalListener(name, listener);
    this.#listeners.clear();
  }
}

/** Deno's first listener takes two descriptors, and Deno panics without (2.9, ext/signals/lib.rs). */
function needDescriptors(): void {
  using _one = Deno.openSync("/dev/null");
  using _two = Deno.openSync("/dev/null");
}
