/** Calls at the same moment: how long they take, what they cost, and how many log in or fail. */
import { fromFileUrl } from "@std/path/posix/from-file-url";
import { pause } from "../tests/support/eventually.ts";
import { needPython } from "../tests/support/programs.ts";
import { activity } from "./cpu.ts";
import type { Lab, Way } from "./lab.ts";
import { programsOf } from "./programs.ts";
import type { Column } from "./table.ts";

/** What {@linkcode atOnce} finds, in this order. */
export const COLUMNS: readonly Column[] = [
  { name: "wall time", unit: "ms" },
  { name: "CPU time", unit: "ms", isCompared: true },
  { name: "logins", unit: "" },
  { name: "failed calls", unit: "" },
  { name: "bytes on stderr", unit: "" },
  { name: "programs per call", unit: "" },
];

/** The sleeper starts within this time after the calls, ms; what that takes is theirs. */
const SETTLE = 1300;

/** What burst.py prints. */
interface Outcome {
  readonly ms: number;
  readonly cpu: number;
  readonly failed: number;
  readonly leaves: boolean;
  readonly said: string;
}

export interface AtOnce {
  readonly calls: number;
  /** Whether to make them once more, under strace, for the last column. */
  readonly trace: boolean;
  /** Makes the state that each run of calls finds. */
  readonly prepare: () => Promise<void>;
  /** What the calls say is added to it. */
  readonly said: Set<string>;
}

/** Makes calls of one way to the near host. */
export async function atOnce(
  lab: Lab,
  way: Way,
  { calls, trace, prepare, said }: AtOnce,
): Promise<number[]> {
  const script = fromFileUrl(new URL("burst.py", import.meta.url));
  const argv = [needPython(), script, `${calls}`, ...lab.argv(way)];
  const env = lab.env(way);
  let programs = NaN;
  if (trace) {
    await prepare();
    const started = await programsOf(argv, env);
    // The first one is python.
    programs = started === undefined ? NaN : (started.length - 1) / calls;
  }
  await prepare();
  const running = () => activity(lab.processes(way).map(({ pid }) => pid)).ms;
  const [logins, before] = [lab.sshd.logins(), running()];
  const outcome: Outcome = JSON.parse(await run(argv, env));
  if (outcome.leaves) await pause(SETTLE);
  outcome.said.split(/\r?\n/).forEach((line) => line && said.add(line));
  return [
    outcome.ms,
    outcome.cpu + running() - before,
    lab.sshd.logins() - logins,
    outcome.failed,
    outcome.said.length,
    programs,
  ];
}

/** Runs a program to its end; resolves to its stdout. */
async function run([program, ...args]: readonly string[], env: Record<string, string>) {
  const command = new Deno.Command(program, { args, env, clearEnv: true, stdin: "null" });
  const { success, stdout, stderr } = await command.output();
  const text = new TextDecoder();
  if (!success) throw new Error(`${args[0]}: ${text.decode(stderr)}`);
  return text.decode(stdout);
}
