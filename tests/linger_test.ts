/** How long lanes stay open. sleeper_test.ts tests the sleeper itself, with a clock of its own. */
import assert from "node:assert/strict";
import { assertQuiet } from "./support/assert_quiet.ts";
import { eventually, pause } from "./support/eventually.ts";
import { isAlive } from "./support/processes.ts";
import { Scene } from "./support/scene.ts";
import { Session } from "./support/session.ts";

/** The machine that runs the tests may be slow. */
const PATIENCE = { deadline: 30_000 };

/** Makes a call that echoes a word, and asserts that nothing is on stderr. */
async function echo(scene: Scene, word: string, ...options: string[]): Promise<void> {
  assertQuiet(await scene.ssh([...options, "host", `echo ${word}`]), `${word}\n`);
}

function hasOpen(scene: Scene): boolean {
  return scene.lanes().some(({ open }) => open);
}

Deno.test("a lane stays open for its linger and during a session, and leaves nothing", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "3" } });
  await using session = await Session.open(scene);
  const [{ socket }] = scene.lanes();
  await echo(scene, "idle", "-oServerAliveInterval=99");
  await eventually("an idle lane goes", () => scene.lanes().length === 1, PATIENCE);
  assert.deepEqual(scene.lanes().map(({ open, socket }) => [open, socket]), [[true, socket]]);
  const before = performance.now();
  await session.finish();
  await eventually("the lane goes", () => !hasOpen(scene), PATIENCE);
  // Not before its linger less one look, as the last look saw the session.
  assert.ok(performance.now() - before > 2000, scene.sleeperLog());
  await scene.assertClean();
  assert.equal(scene.logins(), 2);
});

Deno.test("200 calls around the moment of expiry get an answer, and nothing on stderr", async () => {
  await using scene = await Scene.open({
    config: ["MaxStartups 100"],
    env: { SSHS_LINGER: "1" },
  });
  // Twenty identities, so that each has its own expiry to hit.
  const workers = Array.from({ length: 20 }, async (_, worker) => {
    for (let i = 0; i < 10; i++) {
      await echo(scene, `${worker}-${i}`, "-o", `ServerAliveInterval=${100 + worker}`);
      await pause(700 + Math.random() * 700);
    }
  });
  await Promise.all(workers);
  assert.ok(scene.logins() > 21, "some came too late, and logged in anew");
  assert.ok(scene.logins() < 200, "and some did not");
  await scene.assertClean();
});

Deno.test("the next call replaces a killed sleeper; without a sleeper, masters exit after their grace", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "600" } });
  await echo(scene, "one");
  await scene.held();
  const [first] = scene.sandbox.sleepers();
  Deno.kill(first.pid, "SIGKILL");
  await eventually("it is gone", () => !isAlive(first.pid), PATIENCE);
  await echo(scene, "two");
  const holds = () => scene.sleeperLog().split("holding").length === 3;
  await eventually("another holds the lane", holds, PATIENCE);
  assert.equal(scene.logins(), 1);
  for (const { pid } of scene.sandbox.sleepers()) Deno.kill(pid, "SIGKILL");
  // A master exits ten seconds after its last client, here the sleeper. The rest is for a slow machine.
  const areGone = () => scene.sandbox.masters().length === 0;
  await eventually("the masters are gone", areGone, { deadline: 20_000 });
  await echo(scene, "three");
});

Deno.test("the mark of a killed master is removed at once, not at the sleeper's next look", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "600", SSHS_LOOK: "20" } });
  await echo(scene, "one");
  await scene.held();
  const mark = scene.fileOf(".verified");
  Deno.kill(scene.sandbox.masters()[0].pid, "SIGKILL");
  const isGone = () => !scene.sandbox.files().some((file) => mark.endsWith(file));
  await eventually("the mark goes", isGone, { deadline: 15_000 });
  await echo(scene, "two");
});

Deno.test("the sleeper and idle masters exit when the state directory is removed", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "600" } });
  await echo(scene, "one");
  await scene.held();
  await Deno.remove(scene.sandbox.stateDir, { recursive: true });
  await eventually("nothing is left", () => scene.processes().length === 0, PATIENCE);
  await echo(scene, "two");
});

Deno.test("linger 0 shares only while a session is open", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "0" } });
  await echo(scene, "one");
  await echo(scene, "two");
  assert.equal(scene.logins(), 2, "however quick the next call");
  await using session = await Session.open(scene);
  const before = scene.logins();
  await echo(scene, "three");
  assert.equal(scene.logins(), before, "it rides with the session");
  await session.finish();
  await scene.assertClean();
});

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
