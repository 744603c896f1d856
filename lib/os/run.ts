/** Programs that run to their end, whose output is wanted. */

/**
 * `stdin`: ours, if the program asks whether that is a terminal. `showStderr`: the program's stderr is ours; the
 * output then has none. `env`: variables added to the inherited ones.
 */
type RunOptions = Pick<Deno.CommandOptions, "cwd" | "env" | "signal"> & {
  readonly stdin?: "inherit";
  readonly showStderr?: boolean;
};

/**
 * Runs a program to its end without standard input. `signal` ends it. Does not wait for what the program
 * leaves running, even if that holds the output open, as a daemon started by a `Match exec` does.
 */
export async function run(
  path: string,
  args: readonly string[],
  { showStderr, ...options }: RunOptions = {},
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const child = new Deno.Command(path, {
    stdin: "null",
    ...options,
    args: [...args],
    stdout: "piped",
    stderr: showStderr ? "inherit" : "piped",
  }).spawn();
  const [{ code }, stdout, stderr] = await Promise.all([
    child.status,
    textOf(child.stdout, child.status),
    showStderr ? "" : textOf(child.stderr, child.status),
  ]);
  return { code, stdout, stderr };
}

/** How long an output may stay open after its program has ended, ms. By then all of it is in the pipe. */
const HELD_OPEN = 300;

/** Reads a stream to its end, or to that of the program. */
async function textOf(
  stream: ReadableStream<Uint8Array>,
  ended: Promise<unknown>,
): Promise<string> {
  const reader = stream.getReader();
  let done = false;
  ended.then(() => {
    // Not setTimeout(): its first use costs more than a run of ssh -G.
    if (!done) AbortSignal.timeout(HELD_OPEN).addEventListener("abort", () => reader.cancel());
  });
  const decoder = new TextDecoder();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text += decoder.decode(part.value, { stream: true });
  }
  done = true;
  return text + decoder.decode();
}
