/** Times of a command, taken by hyperfine. */
import { needProgram } from "../tests/support/programs.ts";

export interface TimesOptions {
  readonly runs: number;
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Runs a command one time after the other, without a shell, and resolves to the wall time of each
 * run in ms.
 *
 * @throws {Error} when a run fails
 */
export async function times(
  argv: readonly string[],
  { runs, env }: TimesOptions,
): Promise<number[]> {
  const json = await Deno.makeTempFile();
  try {
    const { success, stderr } = await new Deno.Command(needProgram("hyperfine"), {
      args: [
        ...["--shell=none", "--style=none", "--runs", `${runs}`, "--export-json", json],
        argv.map(quote).join(" "),
      ],
      env,
      clearEnv: true,
      stdin: "null",
      stdout: "null",
    }).output();
    if (!success) throw new Error(`${argv.join(" ")}: ${new TextDecoder().decode(stderr)}`);
    const { results: [{ times }] } = JSON.parse(await Deno.readTextFile(json));
    return times.map((seconds: number) => seconds * 1000);
  } finally {
    await Deno.remove(json);
  }
}

/** One word of a command line as hyperfine splits it: as a shell does. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
