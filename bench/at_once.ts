/** Calls at the same moment: how long they take, what they cost, and how many log in or fail. */
import { pause } from "../tests/support/eventually.ts";
import { call } from "./call.ts";
import { cpuOf } from "./cpu.ts";
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
  const [argv, env] = [lab.argv(way), lab.env(way)];
  let programs = NaN;
  if (trace) {
    await prepare();
    programs = ((await programsOf(argv, env, { calls }))?.length ?? NaN) / calls;
  }
  await prepare();
  const running = () => cpuOf(lab.processes(way).map(({ pid }) => pid));
  const [logins, before] = [lab.sshd.logins(), running()];
  const outcome = await call(argv, env, { calls });
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
