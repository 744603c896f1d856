/** So many calls at once that no other test can run beside them: `deno task test` runs it alone. */
import assert from "node:assert/strict";
import { Scene } from "./support/scene.ts";

Deno.test("200 calls at once all work, over few logins, and nothing is left", async () => {
  await using scene = await Scene.open();
  const { sandbox, sshd } = scene;
  // A master exits if its caller does not reach it within its grace, three looks.
  sandbox.env.SSHS_LOOK = "5";
  const argv = ["ssh", ...scene.args("echo @")];
  const { code, stdout, stderr } = await sandbox.run(
    ["sh", "-c", 'seq 200 | xargs -P 200 -I@ "$@"', "sh", ...argv],
    { timeout: 300_000 },
  );
  const numbers = stdout.trimEnd().split("\n").map(Number).sort((a, b) => a - b);
  assert.deepEqual([code, stderr], [0, ""]);
  assert.deepEqual(numbers, Array.from({ length: 200 }, (_, i) => i + 1));
  // Ten sessions a lane.
  assert.ok(sshd.logins() <= 20, `${sshd.logins()} logins`);
  await scene.assertClean();
});
