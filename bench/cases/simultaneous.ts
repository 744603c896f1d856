/** 50 calls at the same moment to a host that there is no connection to yet. */
import type { Effort } from "../effort.ts";
import { Lab } from "../lab.ts";
import { row, type Table } from "../table.ts";
import { takeTurns } from "../turns.ts";
import { type Way, WAYS } from "../way.ts";

const CALLS = 50;

/** A call that takes longer than this is counted as failed, ms. */
const DEADLINE = 60_000;

/** sshd_config's default is 10:30:100: of more than 10 that are logging in it drops some. */
const MAX_STARTUPS = { default: undefined, "200": "MaxStartups 200" } as const;

export async function simultaneous(lab: Lab, effort: Effort): Promise<Table[]> {
  const tables = [await against(lab, "default", effort)];
  await using roomy = await Lab.open([MAX_STARTUPS[200]]);
  tables.push(await against(roomy, "200", effort));
  return tables;
}

async function against(
  lab: Lab,
  maxStartups: keyof typeof MAX_STARTUPS,
  { repeats }: Effort,
): Promise<Table> {
  const turns = { what: `${CALLS} first calls, MaxStartups ${maxStartups}`, repeats };
  const found = await takeTurns(lab, turns, (way) => burst(lab, way));
  return {
    id: `simultaneous/${maxStartups}`,
    title: `${CALLS} simultaneous first calls, MaxStartups ${maxStartups}`,
    columns: [
      { name: "wall time", unit: "ms" },
      { name: "logins", unit: "" },
      { name: "failed calls", unit: "" },
      { name: "lines on stderr", unit: "" },
    ],
    rows: Array.from(found, ([way, bursts]) =>
      row(
        WAYS[way],
        bursts.map(({ wall }) => wall),
        bursts.map(({ logins }) => logins),
        bursts.map(({ failures }) => failures),
        bursts.map(({ lines }) => lines),
      )),
    baseline: WAYS.plain,
    notes: maxStartups === "default"
      ? ["A call that sshd drops ends early: the wall time of ways with failed calls says little."]
      : [],
  };
}

interface Burst {
  wall: number;
  logins: number;
  failures: number;
  lines: number;
}

async function burst(lab: Lab, way: Way): Promise<Burst> {
  const before = lab.sshd.logins();
  const [program, ...args] = lab.call(way, "loopback");
  const command = new Deno.Command(program, {
    args,
    env: lab.env(way),
    clearEnv: true,
    stdin: "null",
    stdout: "null",
    // A ControlMaster's master holds the stderr of the call that started it, but not for ever.
    stderr: "piped",
  });
  const start = performance.now();
  const calls = await Promise.all(Array.from({ length: CALLS }, () => finish(command.spawn())));
  return {
    wall: Math.max(...calls.map(({ end }) => end)) - start,
    logins: lab.sshd.logins() - before,
    failures: calls.filter(({ success }) => !success).length,
    lines: calls.reduce((sum, { lines }) => sum + lines, 0),
  };
}

async function finish(child: Deno.ChildProcess) {
  const timer = setTimeout(() => child.kill("SIGKILL"), DEADLINE);
  const said = child.stderr.text();
  const { success } = await child.status;
  const end = performance.now();
  clearTimeout(timer);
  return { success, end, lines: (await said).split("\n").length - 1 };
}
