/** What connections cost while nobody uses them: masters, and the one sleeper that holds ours. */
import { allLanes } from "../../lib/lane/layout.ts";
import { eventually, pause } from "../../tests/support/eventually.ts";
import { isThere } from "../../tests/support/is_there.ts";
import { call } from "../call.ts";
import type { Effort } from "../effort.ts";
import { type Lab, WAYS } from "../lab.ts";
import { progress } from "../progress.ts";
import { type Table, tableOf } from "../table.ts";

export const SLEEPER = "the sleeper of sshs";

export async function idleLanes(lab: Lab, effort: Effort): Promise<Table[]> {
  const tables: Table[] = [];
  let started = 0;
  for (const lanes of effort.lanes) {
    progress(`idle lanes: ${lanes}`);
    for (; started < lanes; started++) await startLanes(lab, started);
    await eventually("the sleeper holds all lanes", () => {
      const held = allLanes(lab.state("sshs")).filter(({ master }) => isThere(master));
      return held.length === lanes;
    }, { deadline: 30_000, interval: 200 });
    await pause(effort.restSeconds * 1000);
    tables.push(await watch(lab, lanes, effort));
  }
  for (const way of ["auto", "sshs"] as const) await lab.cold(way);
  return tables;
}

/** An interval that no other has makes a connection of its own, and is too long to cost anything. */
async function startLanes(lab: Lab, index: number): Promise<void> {
  for (const way of ["auto", "sshs"] as const) {
    // A stock master has one socket for a destination, whatever the options: it is told another.
    const socket = way === "auto" ? ["-o", `ControlPath=${lab.state(way)}/${index}`] : [];
    const apart = ["-o", `ServerAliveInterval=${10_000 + index}`, ...socket];
    const { success, said } = await call(
      [...lab.rsh(way, "near"), ...apart, "host", "true"],
      lab.env(way),
    );
    if (!success) throw new Error(`lane ${index} of ${WAYS[way]}: ${said}`);
  }
}

async function watch(lab: Lab, lanes: number, effort: Effort): Promise<Table> {
  const isSleeper = ({ args }: { args: string[] }) => args.includes("--sleeper");
  const groups = {
    [`masters of ${WAYS.auto}`]: () => lab.processes("auto"),
    "masters of sshs": () => lab.processes("sshs").filter((process) => !isSleeper(process)),
    [SLEEPER]: () => lab.processes("sshs").filter(isSleeper),
  };
  const pids = Object.values(groups).map((group) => group().map(({ pid }) => pid));
  const taken: number[][][] = pids.map(() => []);
  for (let window = 0; window < effort.windows; window++) {
    const before = pids.map(activity);
    await pause(effort.windowSeconds * 1000);
    pids.map(activity).forEach(({ ms, wakeups }, i) => {
      const perSecond = (ms - before[i].ms) / effort.windowSeconds;
      taken[i].push([
        pids[i].reduce((sum, pid) => sum + dirtyMemory(pid), 0),
        pids[i].length,
        perSecond,
        (wakeups - before[i].wakeups) / effort.windowSeconds,
        perSecond * 86.4,
      ]);
    });
  }
  return tableOf({
    id: `idle-lanes/${lanes}`,
    title: `${lanes} idle lane${lanes === 1 ? "" : "s"}, within ten minutes of a session`,
    columns: [
      { name: "private dirty", unit: "kB" },
      { name: "processes", unit: "" },
      { name: "CPU", unit: "ms/s" },
      { name: "wake-ups", unit: "/s" },
      { name: "CPU in a day of it", unit: "s" },
    ],
    found: Object.fromEntries(Object.keys(groups).map((name, i) => [name, taken[i]])),
    notes: [
      "Ten minutes after the last session began, the sleeper waits for the end of the linger or a call.",
    ],
  });
}

/** What the processes have done so far: CPU time in ms, and how often a thread has woken up. */
function activity(pids: readonly number[]): { ms: number; wakeups: number } {
  let [ms, wakeups] = [0, 0];
  for (const pid of pids) {
    for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
      const task = `/proc/${pid}/task/${name}`;
      ms += parseInt(Deno.readTextFileSync(`${task}/schedstat`)) / 1e6;
      const status = Deno.readTextFileSync(`${task}/status`);
      wakeups += Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)![1]);
    }
  }
  return { ms, wakeups };
}

/** In kB. */
function dirtyMemory(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
  return Number(/^Private_Dirty:\s+(\d+) kB$/m.exec(text)![1]);
}
