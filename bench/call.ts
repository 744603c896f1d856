/** One call, timed from its start to the end of its process. */
import { pause } from "../tests/support/eventually.ts";

export interface Outcome {
  /** From the start to the end of the process, in ms. */
  readonly ms: number;
  readonly success: boolean;
  /** Whether we killed it at the deadline. */
  readonly isOverdue: boolean;
  /** What it wrote to stderr. */
  readonly said: string;
}

/** How long to read what an ended process left in its stderr pipe, ms. */
const LEFT_OVER = 200;

/**
 * Runs a program without input, and kills it after `deadline` ms.
 *
 * @param env the whole environment
 */
export async function call(
  [program, ...args]: readonly string[],
  env: Readonly<Record<string, string>>,
  deadline = 60_000,
): Promise<Outcome> {
  const start = performance.now();
  const child = new Deno.Command(program, {
    args,
    env,
    clearEnv: true,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), deadline);
  let said = "";
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  const reading = (async () => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) said += part.value;
  })();
  const { success, signal } = await child.status;
  const ms = performance.now() - start;
  clearTimeout(timer);
  // A master may hold the pipe for longer.
  await Promise.race([reading, pause(LEFT_OVER)]);
  reader.cancel().catch(() => {});
  return { ms, success, isOverdue: signal === "SIGKILL", said };
}
