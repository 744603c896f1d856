/** More sessions than one connection takes. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { endAll } from "./support/processes.ts";
import { Scene } from "./support/scene.ts";

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

Deno.test("a lane whose places are taken by the commands of killed sessions is replaced", async () => {
  const env = { SSHS_MAX_SESSIONS: "2", SSHS_LINGER: "60" };
  await using scene = await Scene.open({ config: ["MaxSessions 2"], env });
  for (let i = 0; i < 2; i++) {
    const call = scene.spawnSsh(["host", "echo in; exec sleep 30"]);
    const output = call.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assert.equal((await output.read()).value, "in\n");
    call.kill("SIGINT");
    await Promise.all([
      ...[call.status, output.cancel(), call.stderr.cancel()],
      call.stdin.close().catch(() => {}),
    ]);
  }
  await eventually("the leases are gone", () => scene.lanes()[0].leases.length === 0);
  // ssh itself says that the server refuses, and logs in.
  const refused = await scene.ssh(["host", "sleep 3; echo hello"]);
  assert.deepEqual([refused.code, refused.stdout], [0, "hello\n"]);
  assert.match(refused.stderr, /Session open refused by peer/);
  const { stdout, stderr } = await scene.ssh(["host", "echo hello"]);
  assert.deepEqual([stdout, stderr], ["hello\n", ""]);
});
