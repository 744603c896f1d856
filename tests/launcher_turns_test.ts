/**
 * One at a time: who asks the program, who logs in, and how long the others wait for it. The functions are
 * in launcher_places_test.ts.
 */
import assert from "node:assert/strict";
import { canMakeAccounts } from "./support/account.ts";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { needProgram } from "./support/programs.ts";
import type { Pty } from "./support/pty.ts";
import { Scene } from "./support/scene.ts";

/** Makes many calls at the same moment; each must work, and say nothing. */
async function callAtOnce(scene: Scene, count: number): Promise<void> {
  const calls = Array.from(
    { length: count },
    (_, i) => scene.ssh(["host", `echo ${i}; exit ${i}`], { timeout: 120_000 }),
  );
  for (const [i, { code, stdout, stderr }] of (await Promise.all(calls)).entries()) {
    assert.deepEqual({ code, stdout, stderr }, { code: i, stdout: `${i}\n`, stderr: "" });
  }
}

function decisions(scene: Scene): number {
  return scene.starts().filter((words) => words.includes(" --decide ")).length;
}

Deno.test("30 first calls at once start few Denos and log in once for ten of them", async () => {
  await using scene = await Scene.open();
  await callAtOnce(scene, 30);
  assert.ok(scene.logins() <= 3, `${scene.logins()} logins`);
  // One, and one for each round of those that came too late for its answer.
  assert.ok(decisions(scene) <= 4, `${decisions(scene)} decisions`);
  await callAtOnce(scene, 5);
  assert.ok(decisions(scene) <= 4, "the plan is kept");
  await scene.assertClean();
});

Deno.test("calls that wait for an answer share it, though it is good for the moment only", async () => {
  await using scene = await Scene.open();
  Deno.utimeSync(scene.config, new Date(), new Date());
  const goOn = await scene.holdDeno();
  const calls = callAtOnce(scene, 20);
  await eventually("all but one wait for it", () => scene.waiting("plan").length === 19);
  await goOn();
  await calls;
  assert.equal(decisions(scene), 1);
  Deno.utimeSync(scene.config, new Date(), new Date());
  await callAtOnce(scene, 1);
  assert.equal(decisions(scene), 2, "who comes later decides anew");
});

/** Waits until a call on a terminal says that it waits. */
async function saysThatItWaits(pty: Pty): Promise<string> {
  return await pty.waitFor(/sshs: waiting for the login to host of another call \(pid \d+\)\r\n/);
}

function onTerminal(scene: Scene, command: string): Promise<Pty> {
  return scene.pty(["ssh", ...scene.args(command)]);
}

Deno.test({
  name: "Ctrl-C in the call that asks makes one of those who wait ask, and not all",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using scene = await Scene.open({ passwords: true });
    await using asks = await onTerminal(scene, "true");
    await asks.waitFor("password: ");
    await using stack = new AsyncDisposableStack();
    const waiting: Pty[] = [];
    for (let i = 0; i < 4; i++) waiting.push(stack.use(await onTerminal(scene, `echo in ${i}`)));
    await Promise.all(waiting.map(saysThatItWaits));
    asks.write("\x03");
    assert.equal((await asks.status).signal, "SIGINT");
    const asksNow = await eventually(
      "another one asks",
      () => waiting.find(({ output }) => output.includes("password: ")),
    );
    asksNow.write(`${scene.user.password}\r`);
    for (const [i, pty] of waiting.entries()) {
      await pty.waitFor(`in ${i}\r\n`);
      assert.equal((await pty.status).code, 0);
    }
    assert.equal(waiting.filter(({ output }) => output.includes("password: ")).length, 1);
    assert.equal(scene.logins(), 1);
  },
});

Deno.test({
  name: "a call on a terminal says after a while whom it waits for, and then asks by itself",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using scene = await Scene.open({ passwords: true });
    await using asks = await onTerminal(scene, "true");
    await asks.waitFor("password: ");
    await using waits = await onTerminal(scene, "echo in");
    assert.match(await saysThatItWaits(waits), new RegExp(`pid ${asks.pid}\\)`));
    await waits.waitFor("password: ");
    waits.write(`${scene.user.password}\r`);
    await waits.waitFor("in\r\n");
    assert.equal((await waits.status).code, 0);
    assert.equal(scene.sandbox.masters().filter(({ pid, sid }) => pid === sid).length, 0, "plain");
    asks.hangup();
    await asks.status;
  },
});

Deno.test("who waited for a login that failed becomes plain ssh, and does not repeat it", async () => {
  await using scene = await Scene.open();
  const { dir } = scene.sandbox;
  const tries = `${dir}/tries`;
  scene.sandbox.env.SSHS_SSH = await scene.sandbox.addProgram(
    "refused",
    `case $1 in
     -G) exec ${needProgram("ssh")} "$@" ;;
     -S) echo >>${tries}; until [ -e ${dir}/go ]; do sleep 0.05; done ;;
     esac
     echo refused >&2; exit 255`,
  );
  const calls = Array.from({ length: 12 }, () => scene.ssh(["host", "true"]));
  await eventually("one tries, the others wait", () => {
    return isThere(tries) && scene.waiting("lane").length === 11;
  });
  await Deno.writeTextFile(`${dir}/go`, "");
  for (const { code, stdout, stderr } of await Promise.all(calls)) {
    assert.deepEqual([code, stdout, stderr], [255, "", "refused\n"]);
  }
  const attempts = Deno.readTextFileSync(tries).length;
  // One, and one more of those who waited: the server may only have been busy.
  assert.ok(attempts <= 3, `${attempts} attempts`);
});

Deno.test("20 calls to a host that says nothing end about as fast as plain ones", async () => {
  await using scene = await Scene.open({ relay: {} });
  scene.relay.cut();
  const words = ["-oConnectTimeout=2", "host", "true"];
  const started = performance.now();
  const ends = await Promise.all(Array.from({ length: 20 }, () => scene.ssh(words)));
  const took = performance.now() - started;
  for (const { code, stderr } of ends) {
    assert.equal(code, 255);
    assert.match(
      stderr,
      /^Connection timed out during banner exchange\r\nConnection to \S+ port \d+ timed out\r\n$/,
    );
  }
  // In a row they would take 40 s.
  assert.ok(took < 25_000, `${took} ms`);
});
