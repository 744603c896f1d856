/** How long {@linkcode eventually} waits, and how often it looks. */
export interface EventuallyOptions {
  /** In ms; 40000 by default, so that no busy machine reaches it. */
  deadline?: number;
  /** Between two looks, in ms; 20 by default. */
  interval?: number;
}

/**
 * Polls `condition` until it returns something truthy, and resolves to that.
 *
 * @throws {Error} with `what` and the last value when the deadline passes; and at once whatever
 * `condition` throws.
 */
export async function eventually<T>(
  what: string,
  condition: () => T | Promise<T>,
  { deadline = 40_000, interval = 20 }: EventuallyOptions = {},
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

/**
 * Waits for a promise that has no deadline of its own; resolves to its value.
 *
 * @throws {Error} with `what` when the deadline passes
 */
export async function inTime<T>(
  what: string,
  promise: Promise<T>,
  options?: EventuallyOptions,
): Promise<T> {
  let isSettled = false;
  const settle = () => isSettled = true;
  promise.then(settle, settle);
  await eventually(what, () => isSettled, options);
  return await promise;
}

/** Waits for `ms`. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves to how long some work takes from now on, ms. */
export async function durationOf(work: Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work;
  return performance.now() - start;
}
