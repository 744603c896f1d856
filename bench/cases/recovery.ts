/**
 * A connection that has died without a word, as after a suspend or a change of the network: nothing
 * passes on it any more, while the server still takes new ones. How long until the next call has its
 * answer?
 */
import { Relay } from "../../tests/support/relay.ts";
import type { Effort } from "../effort.ts";
import type { Lab } from "../lab.ts";
import { progress } from "../progress.ts";
import { row, type Table } from "../table.ts";
import { WAYS } from "../way.ts";

/** ControlMaster hangs for as long as TCP does, about 15 minutes: nobody waits for that, ms. */
const BOUND = 30_000;

const SHARING = ["auto", "launcher"] as const;
type Sharing = typeof SHARING[number];

export async function recovery(lab: Lab, effort: Effort): Promise<Table[]> {
  const { cutDelays, cutCalls } = effort;
  const lanes = SHARING.flatMap((way) =>
    cutDelays.flatMap((delay) =>
      Array.from({ length: cutCalls }, (_, i) => ({ way, delay, name: `${delay}-${i}` }))
    )
  );
  progress(`recovery: ${lanes.length} connections, then silence`);
  await using link = Relay.start(lab.sshd.port);
  for (const { way, name } of lanes) await call(lab, link, way, name);
  link.cutOpen();
  const answers = await Promise.all(lanes.map(async ({ way, delay, name }) => {
    await new Promise((resolve) => setTimeout(resolve, delay * 1000));
    return await call(lab, link, way, name);
  }));
  for (const way of SHARING) await lab.cold(way);
  return cutDelays.map((delay) => {
    const taken = (way: Sharing) =>
      answers.filter((_, i) => lanes[i].way === way && lanes[i].delay === delay);
    return {
      id: `recovery/${delay}`,
      title: `A connection dies without a word; a call ${delay} s later`,
      columns: [{ name: "until its answer", unit: "ms" }],
      rows: SHARING.map((way) => row(WAYS[way], taken(way))),
      baseline: WAYS.auto,
      notes: [`A call without an answer was ended after ${BOUND / 1000} s.`],
    };
  });
}

/** Makes a call over a connection of that name; resolves to how long it took, ms. */
async function call(lab: Lab, link: Relay, way: Sharing, name: string): Promise<number> {
  const [program, ...args] = lab.rsh(way, "loopback");
  // Either only keeps the connections apart.
  const apart = way === "auto" ? `ControlPath=${lab.dir}/auto/${name}` : `HostKeyAlias=${name}`;
  const child = new Deno.Command(program, {
    args: [...args, "-p", `${link.port}`, "-o", apart, "host", "true"],
    env: lab.env(way),
    clearEnv: true,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const start = performance.now();
  const timer = setTimeout(() => child.kill("SIGKILL"), BOUND);
  const { success, signal: ended } = await child.status;
  clearTimeout(timer);
  if (!success && ended !== "SIGKILL") throw new Error(`${WAYS[way]} failed after the cut`);
  return performance.now() - start;
}
