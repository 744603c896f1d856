/** How long a lane has been idle: what the sleeper lets go by. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

Deno.test("a session that comes and goes between two looks of the sleeper counts as use", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  Object.assign(sandbox.env, { SSHS_LOOK: "8", SSHS_LINGER: "8" });
  const call = ["-F", sshd.config, "host", "true"];
  const log = `${sandbox.stateDir}/sleeper.log`;
  await sandbox.sshs(call);
  await eventually("the sleeper holds it", async () => {
    try {
      return (await Deno.readTextFile(log)).includes("holding");
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }, { deadline: 30_000 });
  // Past the next look, by which it would have been idle for its linger but for these.
  const end = performance.now() + 11_000;
  while (performance.now() < end) {
    const { code, stderr } = await sandbox.sshs(call);
    assert.deepEqual([code, stderr], [0, ""]);
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  assert.equal(sshd.logins(), 1, await Deno.readTextFile(log));
});
