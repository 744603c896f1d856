/** Calls, timed from their start to the end of the last one. */
import { fromFileUrl } from "@std/path/posix/from-file-url";
import { needPython } from "../tests/support/programs.ts";

export interface Outcome {
  readonly ms: number;
  /** CPU time of the calls, and of what they started that has ended; in ms. */
  readonly cpu: number;
  /** How many failed, or were killed at the deadline. */
  readonly failed: number;
  /** Whether anything that they started goes on. */
  readonly leaves: boolean;
  /** What they wrote to stderr. */
  readonly said: string;
}

export interface CallOptions {
  /** How many calls at the same moment; 1 by default. */
  readonly calls?: number;
  /** When they are killed, in s; after two minutes by default. */
  readonly deadline?: number;
}

/** Runs a program, whose path is absolute, without input, and with `env` as the whole environment. */
export async function call(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  options: CallOptions = {},
): Promise<Outcome> {
  const [program, ...args] = caller(argv, options);
  const command = new Deno.Command(program, { args, env, clearEnv: true, stdin: "null" });
  const { success, stdout, stderr } = await command.output();
  const text = new TextDecoder();
  if (!success) throw new Error(`calls.py: ${text.decode(stderr)}`);
  return JSON.parse(text.decode(stdout));
}

/** Returns the command that makes the calls, the first program of which is python. */
export function caller(
  argv: readonly string[],
  { calls = 1, deadline = 120 }: CallOptions = {},
): string[] {
  const script = fromFileUrl(new URL("calls.py", import.meta.url));
  return [needPython(), script, `${calls}`, `${deadline}`, ...argv];
}
