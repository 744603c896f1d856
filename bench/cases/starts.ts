/** How many programs a call starts, and how many of them are Deno, as strace sees them. */
import { eventually } from "../../tests/support/eventually.ts";
import { signal } from "../../tests/support/processes.ts";
import { needProgram } from "../../tests/support/programs.ts";
import type { Effort } from "../effort.ts";
import type { Lab } from "../lab.ts";
import { type Table, tableOf } from "../table.ts";
import { takeTurns } from "../turns.ts";

export async function starts(lab: Lab, { bursts: [{ calls }] }: Effort): Promise<Table[]> {
  const count = async (argv: readonly string[], way: "sshs" | "fresh" = "sshs") => {
    const { deno, programs } = await countStarts(argv, lab.env(way));
    return [deno, programs];
  };
  const atOnce = ["sh", "-c", `for i in $(seq ${calls}); do "$@" & done; wait`, "sh"];
  await lab.plan("near");
  const found = await takeTurns({ what: "programs started", rounds: 1 }, {
    "first call": () => count(lab.argv("sshs", "near")),
    "warm call": () => count(lab.argv("sshs", "near")),
    "first call behind a bastion": async () => {
      await lab.plan("inner");
      return await count(lab.argv("sshs", "inner"));
    },
    "ssh -V": () => count([...lab.rsh("sshs", "near"), "-V"]),
    "host direct by its configuration": async () => {
      await count([...lab.rsh("sshs", "direct"), "host"]);
      return await count([...lab.rsh("sshs", "direct"), "host"]);
    },
    "words never seen": () => count(lab.argv("fresh", "near"), "fresh"),
    [`${calls} first calls at once`]: async () => {
      await lab.cold("sshs");
      return await count([...atOnce, ...lab.argv("sshs", "near")]);
    },
    [`${calls} at once, words never seen`]: async () => {
      await lab.cold("fresh");
      return await count([...atOnce, ...lab.argv("fresh", "near")], "fresh");
    },
  });
  for (const way of ["sshs", "fresh"] as const) await lab.cold(way);
  return [tableOf({
    id: "starts",
    title: "Programs started until the call ends, by strace",
    columns: [{ name: "Deno", unit: "" }, { name: "all programs", unit: "" }],
    found,
    notes: [
      "The launcher and ssh are among them, and so is what the launcher starts beside the call.",
    ],
  })];
}

interface Starts {
  /** Of Deno, until the call has ended; the sleeper, which nobody waits for, is left out. */
  readonly deno: number;
  /** Of any program, the call's own and ssh included. */
  readonly programs: number;
}

/**
 * Makes a call under strace and counts what it starts until it ends; what it leaves behind goes on.
 *
 * @throws {Error} where strace may not trace
 */
async function countStarts(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Starts> {
  const log = await Deno.makeTempFile();
  try {
    const strace = new Deno.Command(needProgram("strace"), {
      args: ["-f", "-q", "-e", "trace=execve", "-e", "signal=none", "-o", log, "--", ...argv],
      env,
      clearEnv: true,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    let text = "";
    // It follows the sleeper for as long as that lives: the call's own end is what counts.
    await eventually("the call's end under strace", async () => {
      text = await Deno.readTextFile(log);
      const end = new RegExp(`^${parseInt(text)} +\\+\\+\\+ (?:exited|killed)`, "m").exec(text);
      text = text.slice(0, end?.index);
      return end;
    }, { deadline: 60_000 });
    // It blocks other signals. What it has traced goes on.
    signal([strace.pid], "SIGKILL");
    await strace.status;
    const started = text.match(/execve\(".*(?: = 0$|<unfinished \.\.\.>$)/gm) ?? [];
    return {
      deno: started.filter((line) => /execve\("[^"]*\/deno"(?!.*"--sleeper")/.test(line)).length,
      programs: started.length,
    };
  } finally {
    await Deno.remove(log);
  }
}
