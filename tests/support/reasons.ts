/**
 * Preloaded by `deno task test`: has each test write why it failed as soon as it does, to the file that
 * SSHS_TEST_REASONS names. Deno itself tells at the end of a run, which tests/run.sh may not wait for.
 */
const file = Deno.env.get("SSHS_TEST_REASONS");
const register = Deno.test as (...words: unknown[]) => void;
if (file) Object.defineProperty(Deno, "test", { value: Object.assign(registerNoted, Deno.test) });

type TestFunction = (test: Deno.TestContext) => unknown;

/** Takes the same words as Deno.test: a name, options, a function, or options that have it. */
function registerNoted(...words: unknown[]): void {
  register(...words.map((word) => {
    if (typeof word === "function") return noted(word as TestFunction);
    const { fn } = Object(word) as { fn?: TestFunction };
    return fn ? { ...word as object, fn: noted(fn) } : word;
  }));
}

function noted(fn: TestFunction): TestFunction {
  return async (test) => {
    try {
      await fn(test);
    } catch (error) {
      const { error: last, suppressed } = Object(error) as SuppressedError;
      const reasons = suppressed ? [suppressed, last] : [error];
      const text = reasons.map((reason) => Deno.inspect(reason)).join("\nand then ");
      Deno.writeTextFileSync(file!, `${test.name}: ${text}\n\n`, { append: true });
      throw error;
    }
  };
}
