/** What connections cost while nobody uses them: masters, and the one sleeper that holds ours. */
import { fieldsAfterName } from "../../lib/os/proc_stat.ts";
import { eventually } from "../../tests/support/eventually.ts";
import type { Process } from "../../tests/support/processes.ts";
import type { Effort } from "../effort.ts";
import type { Lab } from "../lab.ts";
import { progress } from "../progress.ts";
import { type Row, row, type Table } from "../table.ts";
import { type Way, WAYS } from "../way.ts";

/** proc_pid_stat(5) counts in clock ticks, of which Linux has 100 a second on every usual machine. */
const TICK = 10;

export async function idleLanes(lab: Lab, effort: Effort): Promise<Table[]> {
  const tables: Table[] = [];
  let started = 0;
  for (const lanes of effort.lanes) {
    for (; started < lanes; started++) {
      progress(`idle lanes: starting ${started + 1} of ${lanes}`);
      for (const way of ["auto", "launcher"] as const) await startLane(lab, way, started);
    }
    await settle(lab, lanes);
    progress(`idle lanes: watching ${lanes} for ${effort.windows * effort.windowSeconds} s`);
    tables.push(...await watch(lab, lanes, effort));
  }
  for (const way of ["auto", "launcher"] as const) await lab.cold(way);
  return tables;
}

/** An interval that no other lane has makes a connection of its own, and is too long to cost anything. */
async function startLane(lab: Lab, way: Way, index: number): Promise<void> {
  const [program, ...args] = lab.rsh(way, "loopback");
  const interval = ["-o", `ServerAliveInterval=${10_000 + index}`];
  // A stock master has one socket for a destination, whatever the options: it is told another.
  const socket = way === "auto" ? ["-o", `ControlPath=${lab.dir}/auto/${index}`] : [];
  const { success } = await new Deno.Command(program, {
    args: [...args, ...interval, ...socket, "host", "true"],
    env: lab.env(way),
    clearEnv: true,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  if (!success) throw new Error(`Cannot start lane ${index} of ${WAYS[way]}`);
}

/** The sleeper gives memory back 10 s after lanes have come, at its next look but one at the latest, ms. */
const TIDIED = 20_000;

/** Waits until the sleeper holds all lanes and both sides are at rest. */
async function settle(lab: Lab, lanes: number): Promise<void> {
  await eventually("the sleeper holds all lanes", async () => {
    const log = await Deno.readTextFile(`${lab.env("launcher").SSHS_DIR}/sleeper.log`)
      .catch(() => "");
    return log.match(/ holding master /g)?.length === lanes;
  }, { deadline: 30_000, interval: 200 });
  await sleep(TIDIED);
  await eventually("all are at rest", async () => {
    const before = cpu(lab.processes("launcher"));
    await sleep(1000);
    return cpu(lab.processes("launcher")) - before <= TICK;
  }, { deadline: 60_000 });
}

async function watch(lab: Lab, lanes: number, effort: Effort): Promise<Table[]> {
  const samples = { auto: new Samples(lanes), launcher: new Samples(lanes) };
  const alone = new Samples(1);
  for (let window = 0; window < effort.windows; window++) {
    const ways = ["auto", "launcher"] as const;
    const before = ways.map((way) => cpu(lab.processes(way)));
    const busy = await sleeperTime(lab);
    await sleep(effort.windowSeconds * 1000);
    ways.forEach((way, i) => {
      const all = lab.processes(way);
      samples[way].add(all, (cpu(all) - before[i]) / effort.windowSeconds);
    });
    alone.add([sleeper(lab)], (await sleeperTime(lab) - busy) / effort.windowSeconds);
  }
  const idle = {
    id: `idle-lanes/${lanes}`,
    title: `${lanes} idle lane${lanes === 1 ? "" : "s"}: each lane's share`,
    columns: [
      { name: "private dirty", unit: "kB" },
      { name: "RSS", unit: "kB" },
      { name: "CPU", unit: "ms/s" },
      { name: "processes in all", unit: "" },
    ],
    rows: [samples.auto.row(WAYS.auto), samples.launcher.row(WAYS.launcher)],
    baseline: WAYS.auto,
    notes: ["RSS counts shared pages, such as libcrypto's, once for each process."],
  };
  return [idle, {
    id: `sleeper/${lanes}`,
    title: `The sleeper alone, with ${lanes} idle lane${lanes === 1 ? "" : "s"}`,
    columns: idle.columns,
    rows: [alone.row(WAYS.launcher)],
    baseline: WAYS.launcher,
  }];
}

function sleeper(lab: Lab): Process {
  return lab.processes("launcher").find(({ args }) => args.includes("--sleeper"))!;
}

/** The processor time of the sleeper in ms: what it takes is less than a tick of stat's. */
async function sleeperTime(lab: Lab): Promise<number> {
  const tasks = `/proc/${sleeper(lab).pid}/task`;
  let total = 0;
  for await (const { name } of Deno.readDir(tasks)) {
    total += parseInt(await Deno.readTextFile(`${tasks}/${name}/schedstat`)) / 1e6;
  }
  return total;
}

/** What a way's processes take, divided by the number of lanes. */
class Samples {
  readonly #lanes: number;
  readonly #dirty: number[] = [];
  readonly #rss: number[] = [];
  readonly #cpu: number[] = [];
  readonly #count: number[] = [];

  constructor(lanes: number) {
    this.#lanes = lanes;
  }

  add(all: readonly Process[], cpu: number): void {
    const memory = all.map(({ pid }) => Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`));
    const sum = (field: string) =>
      memory.map((text) => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(text)![1]))
        .reduce((a, b) => a + b, 0);
    this.#dirty.push(sum("Private_Dirty") / this.#lanes);
    this.#rss.push(sum("Rss") / this.#lanes);
    this.#cpu.push(cpu / this.#lanes);
    this.#count.push(all.length);
  }

  row(name: string): Row {
    return row(name, this.#dirty, this.#rss, this.#cpu, this.#count);
  }
}

/** The processor time that processes have taken, with the children they have waited for, in ms. */
function cpu(all: readonly Process[]): number {
  return all.reduce((sum, { pid }) => {
    const fields = fieldsAfterName(Deno.readTextFileSync(`/proc/${pid}/stat`))!.map(Number);
    // utime, stime, cutime, cstime: fields 14 to 17, of which the first two are cut off.
    return sum + (fields[11] + fields[12] + fields[13] + fields[14]) * TICK;
  }, 0);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
