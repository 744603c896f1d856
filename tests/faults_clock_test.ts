/**
 * The clock is set back an hour, or forward a day, between two calls. No test sets the machine's clock:
 * the times of all files are moved the other way instead.
 */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { Scene } from "./support/scene.ts";

const HOUR = 3600_000;

/** Makes all files of the state directory look as if the clock had been set by `ms`. */
function setClock(scene: Scene, ms: number): void {
  for (const file of scene.sandbox.files()) {
    const path = `${scene.sandbox.stateDir}/${file}`;
    try {
      const time = new Date(Deno.lstatSync(path).mtime!.getTime() - ms);
      Deno.utimeSync(path, time, time);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error; // The sleeper has removed it.
    }
  }
}

for (const [what, ms] of [["back an hour", -HOUR], ["forward a day", 24 * HOUR]] as const) {
  Deno.test(`calls still share after the clock is set ${what}`, async () => {
    // Long enough that the connection stays open on a slow machine.
    await using scene = await Scene.open({ env: { SSHS_LINGER: "20" } });
    await scene.assertWorks("before");
    setClock(scene, ms);
    await scene.assertWorks("after");
    await scene.assertWorks("and again");
    assert.equal(scene.logins(), 1);
    // A sleeper that was not awake yet may have been taken for dead: then one of two exits.
    await eventually("one sleeper", () => scene.sandbox.sleepers().length === 1);
  });
}

Deno.test("a failure noted before the clock was set back does not prevent sharing", async () => {
  await using scene = await Scene.open();
  await scene.breakSsh("-M", "exit 1");
  await scene.assertWorks("the failure");
  setClock(scene, -HOUR);
  await scene.breakSsh("-M", "");
  await scene.assertWorks("after");
  assert.equal(scene.sandbox.masters().length, 1);
  await scene.assertClean();
});
