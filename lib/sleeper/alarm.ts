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
    if (this.#ring) this.#set(this.#ring);
  }

  /** Waits for `ms`, at most a day, or less if within() says so. */
  async wait(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.within(Math.min(ms, LONGEST));
    this.#set(this.#ring = resolve);
    await promise;
    this.#ring = undefined;
    this.#due = Infinity;
  }

  #set(ring: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(ring, Math.max(0, this.#due - performance.now()));
  }
}
