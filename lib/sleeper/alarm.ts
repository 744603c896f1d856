/** In ms: a timer takes at most 2^31. */
const LONGEST = 24 * 3600_000;

/** A pause that others can shorten. */
export class Alarm {
  #due = Infinity;
  #timer?: ReturnType<typeof setTimeout>;
  #ring?: () => void;

  /** Ends the pause at most `ms` from now; outside a pause it counts for the next one. */
  within(ms: number): void {
    const due = performance.now() + ms;
    if (due >= this.#due) return;
    this.#due = due;
    if (this.#ring) this.#set();
  }

  /** Waits for `ms` (possibly Infinity), or less if within() says so. */
  async wait(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ring = resolve;
    this.within(ms);
    this.#set();
    await promise;
    this.#ring = undefined;
    this.#due = Infinity;
  }

  #set(): void {
    clearTimeout(this.#timer);
    if (this.#due === Infinity) return;
    const left = Math.max(0, this.#due - performance.now());
    this.#timer = setTimeout(() => this.#rings(), Math.min(left, LONGEST));
  }

  #rings(): void {
    if (performance.now() < this.#due - 1) this.#set();
    else this.#ring?.();
  }
}
