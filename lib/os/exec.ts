/**
 * This process becomes ssh. The session's process then *is* ssh: its pid, its terminal, its signals
 * and its exit status need no handing on. Where it cannot be, ssh runs as a child with our streams.
 */
import { execv, processArgv } from "./libc.ts";
import { isInForeground, realSystem } from "./system.ts";
import { say } from "./terminal.ts";

/** What stands in Deno.args for bytes that are not UTF-8. */
export const LOST = "\uFFFD";

/**
 * Becomes the program at `path` with this process's environment. Its argv is `path`, `before`, and the
 * last words of this process's own, `argv`, byte for byte. Comes back only by exiting: with the
 * program's status where it had to be run as a child, with 126 or 127 as a shell does where it cannot
 * be run.
 */
export async function become(
  path: string,
  before: readonly string[],
  argv: readonly string[],
): Promise<never> {
  const encoder = new TextEncoder();
  const own = [path, ...before].map((word) => encoder.encode(word));
  const users = argv.some((word) => word.includes(LOST))
    ? processArgv()?.slice(-argv.length)
    : argv.map((word) => encoder.encode(word));
  if (!users) fail("Cannot hand on an argument that is not UTF-8 on this system", 255);
  execv(path, [...own, ...users]);
  Deno.exit(await runAsChild(path, [...before, ...argv]));
}

/** Those of our terminal reach the child by themselves: they must only not end us before it. */
const FROM_TERMINAL: readonly Deno.Signal[] = ["SIGINT", "SIGQUIT"];
const FORWARDED: readonly Deno.Signal[] = ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"];

async function runAsChild(path: string, args: readonly string[]): Promise<number> {
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(path, {
      args: [...args],
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
  } catch (error) {
    const missing = error instanceof Deno.errors.NotFound;
    fail(`Cannot run ${path}: ${(error as Error).message}`, missing ? 127 : 126);
  }
  for (const signal of FROM_TERMINAL) {
    Deno.addSignalListener(signal, async () => {
      if (!await isInForeground(realSystem)) forward(signal, child);
    });
  }
  for (const signal of FORWARDED) Deno.addSignalListener(signal, () => forward(signal, child));
  const { code } = await child.status;
  return code;
}

function forward(signal: Deno.Signal, child: Deno.ChildProcess): void {
  try {
    child.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // It has just ended.
  }
}

function fail(why: string, status: number): never {
  say(why);
  Deno.exit(status);
}
