/** Which programs calls start until they end, as strace sees them. */
import { eventually } from "../tests/support/eventually.ts";
import { signal } from "../tests/support/processes.ts";
import { findProgram } from "../tests/support/programs.ts";
import { caller, type CallOptions } from "./call.ts";

/**
 * Makes calls and returns the paths of the programs that were started until their end, their own among
 * them; `undefined` where there is no strace. What they leave behind goes on.
 */
export async function programsOf(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  options?: CallOptions,
): Promise<string[] | undefined> {
  const program = findProgram("strace");
  if (program === undefined) return undefined;
  const log = await Deno.makeTempFile();
  try {
    const strace = new Deno.Command(program, {
      args: [
        "-f",
        "-q",
        "-e",
        "trace=execve",
        "-e",
        "signal=none",
        "-o",
        log,
        "--",
        ...caller(argv, options),
      ],
      env,
      clearEnv: true,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    let text = "";
    // It follows the sleeper for as long as that lives: the calls' end is what counts.
    await eventually("the end of the calls under strace", async () => {
      text = await Deno.readTextFile(log);
      const end = new RegExp(`^${parseInt(text)} +\\+\\+\\+ (?:exited|killed)`, "m").exec(text);
      text = text.slice(0, end?.index);
      return end;
    }, { deadline: 120_000, interval: 100 });
    // It blocks other signals. What it has traced goes on.
    signal([strace.pid], "SIGKILL");
    await strace.status;
    // The first one is python.
    return startedIn(text).slice(1);
  } finally {
    await Deno.remove(log);
  }
}

/** Returns the paths of the programs that strace saw start: those of a search in PATH fail. */
function startedIn(log: string): string[] {
  const begun = new Map<string, string>();
  return log.split("\n").flatMap((line) => {
    const [pid] = line.split(" ", 1);
    const path = /execve\("([^"]*)"/.exec(line)?.[1] ?? begun.get(pid);
    if (path === undefined) return [];
    if (line.endsWith("<unfinished ...>")) begun.set(pid, path);
    else begun.delete(pid);
    return line.endsWith(" = 0") ? [path] : [];
  });
}
