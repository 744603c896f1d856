/** What the sleeper costs: memory, processor time, wake-ups. */
import assert from "node:assert/strict";
import { eventually, pause } from "./support/eventually.ts";
import { Scene } from "./support/scene.ts";

const PATIENCE = { deadline: 60_000 };
/** How long the idle sleeper is watched, ms. */
const WATCHED = 20_000;

/** Returns a value of /proc/PID/smaps_rollup, in kB. */
function kilobytes(pid: number, name: string): number {
  const rollup = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
  return Number(new RegExp(`${name}:\\s+(\\d+)`).exec(rollup)?.[1]);
}

/** Returns the user and system time so far, in ticks of 10 ms (proc(5)). */
function ticks(pid: number): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  const [user, system] = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 13);
  return Number(user) + Number(system);
}

Deno.test(
  "the sleeper is small and idle, even with 50 lanes",
  { ignore: Deno.build.os !== "linux" },
  async () => {
    await using scene = await Scene.open({ env: { SSHS_LINGER: "600", SSHS_LOOK: "1" } });
    let lanes = 0;
    for (const wanted of [1, 50]) {
      // Not all at once: sshd refuses more than ten that have not logged in (MaxStartups).
      while (lanes < wanted) {
        const batch = Array.from({ length: Math.min(8, wanted - lanes) }, () => lanes++);
        await Promise.all(batch.map(async (i) => {
          const { code } = await scene.ssh([
            "-o",
            `ServerAliveInterval=${100 + i}`,
            "host",
            "true",
          ]);
          assert.equal(code, 0);
        }));
      }
      await scene.held();
      assert.equal(scene.lanes().length, wanted);
      const [{ pid }, ...others] = scene.sandbox.sleepers();
      assert.deepEqual(others, []);
      // Within a few looks it frees the memory that it needed to take them.
      await eventually(
        `it is small with ${wanted}`,
        () => kilobytes(pid, "Private_Dirty") <= 20 * 1024,
        PATIENCE,
      );
    }
    const [{ pid }] = scene.sandbox.sleepers();
    const before = ticks(pid);
    await pause(WATCHED);
    const share = 10 * (ticks(pid) - before) / WATCHED;
    // If a session began within the last 10 minutes, it asks all servers every 15 s.
    assert.ok(share < 0.02, `${(100 * share).toFixed(1)} % of a processor`);
  },
);
