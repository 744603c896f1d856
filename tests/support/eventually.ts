/** How long {@linkcode eventually} waits, and how often it looks. */
export interface EventuallyOptions {
  /** In ms; 5000 unless told. */
  deadline?: number;
  /** Between two looks, in ms; 20 unless told. */
  interval?: number;
}

/**
 * Polls `condition` until it gives something truthy, and resolves to that.
 *
 * @throws {Error} which names `what` and the last value, when the deadline passes; and whatever
 * `condition` throws, at once.
 */
export async function eventually<T>(
  what: string,
  condition: () => T | Promise<T>,
  { deadline = 5_000, interval = 20 }: EventuallyOptions = {},
): Promise<Exclude<T, undefined | null | false>> {
  const end = performance.now() + deadline;
  while (true) {
    const value = await condition();
    if (value) return value as Exclude<T, undefined | null | false>;
    if (performance.now() > end) {
      throw new Error(`Not within ${deadline} ms: ${what} (last seen: ${Deno.inspect(value)})`);
    }
    await pause(interval);
  }
}

/** Waits for `ms`. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
