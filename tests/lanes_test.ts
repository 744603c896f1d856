/** More sessions than one connection takes. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { endAll } from "./support/processes.ts";
import { Scene } from "./support/scene.ts";

async function many(scene: Scene, count: number, command: string): Promise<void> {
  const calls = Array.from(
    { length: count },
    (_, i) => scene.ssh(["host", `${command}; echo ${i}`], { timeout: 90_000 }),
  );
  for (const [i, { code, stdout, stderr }] of (await Promise.all(calls)).entries()) {
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: `${i}\n`, stderr: "" });
  }
}

Deno.test("the eleventh simultaneous session opens a second lane, silently", async () => {
  await using scene = await Scene.open();
  await many(scene, 11, "sleep 6");
  assert.equal(scene.logins(), 2);
});

Deno.test("leases whose pid now belongs to another process hold no place", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "600" } });
  assert.equal((await scene.ssh(["host", "true"])).code, 0);
  const [lane] = scene.lanes();
  const leases = `${scene.sandbox.stateDir}/${lane.identity}/${lane.name}.leases`;
  const others = Array.from({ length: 10 }, () => scene.sandbox.spawn(["sleep", "60"]));
  for (const { pid } of others) Deno.writeTextFileSync(`${leases}/${pid}`, "another birth");
  await eventually("they are told", () => scene.lanes()[0].leases.length === 0, {
    deadline: 90_000,
  });
  assert.equal((await scene.ssh(["host", "true"])).code, 0);
  assert.equal(scene.logins(), 1);
  await endAll(others.map(({ pid }) => pid));
  for (const { stdin, stdout, stderr } of others) {
    await Promise.all([stdin.close(), stdout.cancel(), stderr.cancel()]);
  }
});
