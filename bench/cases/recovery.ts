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
import { progress } from "../progress.ts";
import { type Table, tableOf } from "../table.ts";

const STATES = { idle: "an idle connection", open: "a connection with a session" } as const;

/** One connection, and the call that comes so many s after its death. */
interface Death {
  readonly way: "plain" | "auto" | "sshs";
  readonly state: keyof typeof STATES;
  readonly delay: number;
  readonly argv: readonly string[];
  readonly env: Record<string, string>;
}

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
  const answers = await Promise.all(deaths.map(async ({ delay, argv, env }) => {
    await pause(delay * 1000);
    return await call(argv, env, effort.cutDeadline * 1000);
  }));
  await endAll(open.map(({ pid }) => pid));
  for (const way of ["auto", "sshs"] as const) await lab.cold(way);
  return effort.cuts.flatMap((cut) =>
    Object.entries(STATES).map(([state, name]) => ({
      ...tableOf({
        id: `recovery/${state}/${cut}`,
        title: `The link of ${name} dies; a call ${cut} s later`,
        columns: [
          { name: "until its end", unit: "ms" },
          { name: "without an answer", unit: "" },
          { name: "bytes on stderr", unit: "" },
        ],
        found: Object.fromEntries((["plain", "auto", "sshs"] as const).map((way) => [
          WAYS[way],
          answers.filter((_, i) =>
            deaths[i].way === way && deaths[i].state === state && deaths[i].delay === cut
          ).map(({ ms, success, said }) => [ms, success ? 0 : 1, said.length]),
        ])),
        notes: [`A call was ended after ${effort.cutDeadline} s.`],
      }),
    }))
  );
}

/** Each state and delay has a state directory, and so a sleeper, of its own. */
function deathsOf(lab: Lab, { cuts, cutCalls }: Effort): Death[] {
  return (["plain", "auto", "sshs"] as const).flatMap((way) =>
    (["idle", "open"] as const).flatMap((state) =>
      cuts.flatMap((delay) =>
        Array.from({ length: cutCalls }, (_, i): Death => {
          const [program] = lab.rsh(way, "near");
          const dir = `${lab.state(way)}/${state}-${delay}`;
          const auto = ["-o", "ControlMaster=auto", "-o", "ControlPersist=10m"];
          // Either keeps the connections apart, and costs nothing.
          const apart = way === "auto"
            ? [...auto, "-o", `ControlPath=${dir}-${i}`]
            : ["-o", `ServerAliveInterval=${10_000 + i}`];
          const argv = [program, "-F", `${lab.dir}/cfg/relayed`, ...apart, "host", "echo up"];
          return { way, state, delay, argv, env: lab.env(way, dir) };
        })
      )
    )
  );
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
