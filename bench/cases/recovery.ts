/**
 * A connection that has died without a word, as after a suspend or a change of the network: nothing
 * passes on it any more, while the server still takes new ones. How long until the next call has its
 * answer?
 */
import { namesIn } from "../../lib/os/files.ts";
import { allLanes } from "../../lib/lane/layout.ts";
import { eventually, pause } from "../../tests/support/eventually.ts";
import { isThere } from "../../tests/support/is_there.ts";
import { endAll } from "../../tests/support/processes.ts";
import { Relay } from "../../tests/support/relay.ts";
import { call } from "../call.ts";
import type { Effort } from "../effort.ts";
import { type Lab, WAYS } from "../lab.ts";
import { progress } from "../turns.ts";
import { type Table, tableOf } from "../table.ts";

const STATES = { idle: "an idle connection", open: "a connection with a session" } as const;

/** One connection, and the call that comes so many s after its death. */
interface Death {
  readonly way: typeof DYING[number];
  readonly state: keyof typeof STATES;
  readonly delay: number;
  readonly argv: readonly string[];
  readonly env: Record<string, string>;
}

const DYING = ["plain", "auto", "sshs"] as const;

export async function recovery(lab: Lab, effort: Effort): Promise<Table[]> {
  await using link = Relay.start(lab.sshd.port);
  await lab.writeConfig("relayed", { port: link.port });
  const deaths = deathsOf(lab, effort);
  progress(`recovery: ${deaths.length} connections, then silence`);
  const open: Deno.ChildProcess[] = [];
  for (const death of deaths) {
    if (death.state === "open") open.push(await openSession(death));
    else await call(death.argv, death.env);
  }
  await waitForSleepers(deaths);
  link.cutOpen();
  const answers = await Promise.all(deaths.map(async (death) => {
    await pause(death.delay * 1000);
    return { ...death, ...await call(death.argv, death.env, { deadline: effort.cutDeadline }) };
  }));
  await endAll(open.map(({ pid }) => pid));
  for (const way of ["auto", "sshs"] as const) await lab.cold(way);
  const tables = [];
  for (const cut of effort.cuts) {
    for (const state of ["idle", "open"] as const) {
      const of = (way: string) =>
        answers.filter((one) => one.way === way && one.state === state && one.delay === cut)
          .map(({ ms, failed, said }) => [ms, failed, said.length]);
      tables.push(tableOf({
        id: `recovery/${state}/${cut}`,
        title: `The link of ${STATES[state]} dies; a call ${cut} s later`,
        columns: [
          { name: "until its end", unit: "ms" },
          { name: "without an answer", unit: "" },
          { name: "bytes on stderr", unit: "" },
        ],
        found: Object.fromEntries(DYING.map((way) => [WAYS[way], of(way)])),
        notes: [`A call was ended after ${effort.cutDeadline} s.`],
      }));
    }
  }
  return tables;
}

/** Each state and delay has a state directory, and so a sleeper, of its own. */
function deathsOf(lab: Lab, { cuts, cutCalls }: Effort): Death[] {
  const deaths: Death[] = [];
  for (const way of DYING) {
    for (const state of ["idle", "open"] as const) {
      for (const delay of cuts) {
        const dir = `${lab.state(way)}/${state}-${delay}`;
        for (let i = 0; i < cutCalls; i++) {
          // Either keeps the connections apart, and costs nothing.
          const apart = way === "auto"
            ? `ControlPath=${dir}-${i}`
            : `ServerAliveInterval=${10_000 + i}`;
          const argv = [...lab.rsh(way, "relayed"), "-o", apart, "host", "echo up"];
          deaths.push({ way, state, delay, argv, env: lab.env(way, dir) });
        }
      }
    }
  }
  return deaths;
}

/** Opens a session that stays; resolves when it is there. */
async function openSession({ argv: [program, ...args], env }: Death): Promise<Deno.ChildProcess> {
  const command = new Deno.Command(program, {
    args: args.with(-1, "echo up; exec sleep 600"),
    env,
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  });
  const child = command.spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  return child;
}

/** A sleeper begins a second after the call that wakes it. */
async function waitForSleepers(deaths: readonly Death[]): Promise<void> {
  const dirs = new Set(deaths.filter(({ way }) => way === "sshs").map(({ env }) => env.SSHS_DIR));
  await eventually(
    "the sleepers hold all lanes",
    () =>
      [...dirs].every((dir) =>
        namesIn(dir).length > 0 && allLanes(dir).every(({ master }) => isThere(master))
      ),
    { deadline: 60_000, interval: 100 },
  );
  await pause(2000);
}
