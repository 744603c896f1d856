/** How long a lane has been idle, by which the sleeper closes it. */
import assert from "node:assert/strict";
import { pause } from "./support/eventually.ts";
import { Scene } from "./support/scene.ts";

Deno.test("a session that comes and goes between two looks of the sleeper counts as use", async () => {
  await using scene = await Scene.open({ env: { SSHS_LOOK: "8", SSHS_LINGER: "8" } });
  const call = async () => {
    const { code, stderr } = await scene.ssh(["host", "true"]);
    assert.deepEqual([code, stderr], [0, ""]);
  };
  await call();
  await scene.held();
  // Past the next look, when it would have been idle for its linger without these calls.
  const end = performance.now() + 11_000;
  while (performance.now() < end) {
    await call();
    await pause(300);
  }
  assert.equal(scene.logins(), 1, scene.sleeperLog());
});
