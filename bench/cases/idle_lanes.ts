/** What connections cost while nobody uses them, beside their masters: the sleeper that holds them. */
import { allLanes } from "../../lib/lane/layout.ts";
import { eventually, pause } from "../../tests/support/eventually.ts";
import { isThere } from "../../tests/support/is_there.ts";
import { call } from "../call.ts";
import type { Effort } from "../effort.ts";
import { cpuOf } from "../cpu.ts";
import type { Lab } from "../lab.ts";
import { progress } from "../turns.ts";
import { type Table, tableOf } from "../table.ts";

export const SLEEPER = "the sleeper of sshs";

export async function idleLanes(lab: Lab, effort: Effort): Promise<Table[]> {
  const { lanes } = effort;
  progress(`idle lanes: ${lanes}`);
  for (let lane = 0; lane < lanes; lane++) await startLane(lab, lane);
  await eventually("the sleeper holds all lanes", () => {
    const held = allLanes(lab.state("sshs")).filter(({ master }) => isThere(master));
    return held.length === lanes;
  }, { deadline: 30_000, interval: 200 });
  await pause(effort.restSeconds * 1000);
  const table = await watch(lab, effort);
  await lab.cold("sshs");
  return [table];
}

/** An interval that no other has makes a connection of its own, and is too long to cost anything. */
async function startLane(lab: Lab, index: number): Promise<void> {
  const words = ["-o", `ServerAliveInterval=${10_000 + index}`, "host", "true"];
  const { failed, said } = await call([...lab.rsh("sshs", "near"), ...words], lab.env("sshs"));
  if (failed) throw new Error(`lane ${index}: ${said}`);
}

async function watch(lab: Lab, { lanes, windowSeconds }: Effort): Promise<Table> {
  const [sleeper] = lab.processes("sshs").filter(({ args }) => args.includes("--sleeper"));
  const before = cpuOf([sleeper.pid]);
  await pause(windowSeconds * 1000);
  const perSecond = (cpuOf([sleeper.pid]) - before) / windowSeconds;
  return tableOf({
    id: "idle-lanes",
    title: `${lanes} idle connections, within ten minutes of a session`,
    columns: [
      { name: "private dirty", unit: "kB" },
      { name: "CPU", unit: "ms/s" },
    ],
    found: { [SLEEPER]: [[dirtyMemory(sleeper.pid), perSecond]] },
    notes: [
      "Ten minutes after the last session began, it waits for the end of the linger or a call.",
    ],
  });
}

/** In kB. */
function dirtyMemory(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
  return Number(/^Private_Dirty:\s+(\d+) kB$/m.exec(text)![1]);
}
