/**
 * The clock is set back an hour, or forward a day, between two calls. No test sets the machine's clock:
 * the times of all files are moved the other way instead.
 */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { isAlive } from "./support/processes.ts";
import { Relay } from "./support/relay.ts";
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
      if (!(error instanceof Deno.errors.NotFound)) throw error; // The sleeper was at it.
    }
  }
}

for (const [what, ms] of [["back an hour", -HOUR], ["forward a day", 24 * HOUR]] as const) {
  Deno.test(`calls share on, with the clock set ${what}`, async () => {
    await using scene = await Scene.create();
    scene.sandbox.env.SSHS_LINGER = "20"; // That a slow machine does not let go in between.
    await scene.assertWorks("before");
    setClock(scene, ms);
    await scene.assertWorks("after");
    await scene.assertWorks("and again");
    assert.equal(scene.sshd.logins(), 1);
    // One that was not yet awake may have been taken for dead: then of two one goes.
    await eventually("one sleeper", () => scene.sandbox.sleepers().length === 1, {
      deadline: 30_000,
    });
  });

  Deno.test(`a dead connection is found, with the clock set ${what}`, async () => {
    await using scene = await Scene.create();
    await using relay = Relay.start(scene.sshd.port);
    const { sandbox, sshd } = scene;
    sandbox.env.SSHS_LINGER = "600"; // That the dead lane is there when the second call comes.
    const config = await sshd.writeConfig({ port: relay.port, config: ["LogLevel ERROR"] });
    const call = async () => {
      const { code, stdout, stderr } = await sandbox.sshs(["-F", config, "host", "echo hello"]);
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "hello\n", stderr: "" });
    };
    await call();
    const lane = scene.fileOf(".leases");
    const [master] = sandbox.masters();
    // As after a night's sleep: a new connection passes, and what was open is dead without a word.
    relay.cutOpen();
    setClock(scene, ms);
    await call();
    assert.equal(sshd.logins(), 2);
    assert.notEqual(scene.fileOf(".leases"), lane, "the one that takes calls is the new one");
    await eventually("the dead one's master is gone", () => !isAlive(master.pid));
    const stopped = await sandbox.sshs(["--stop", "--all", "--now"], { as: "sshs" });
    assert.equal(stopped.code, 0, stopped.stderr);
    await scene.assertClean();
  });
}

Deno.test("a failure noted before the clock was set back keeps no call from sharing", async () => {
  await using scene = await Scene.create();
  await scene.breakSsh("-M", "exit 1");
  await scene.assertWorks("the failure", { noise: /Not shared/ });
  setClock(scene, -HOUR);
  await scene.breakSsh("-M", "");
  await scene.assertWorks("after");
  assert.equal(scene.sandbox.masters().length, 1);
  await scene.assertClean();
});
