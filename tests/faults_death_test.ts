/** Masters, servers, sleepers and callers are killed or stopped, and the next call works. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { isAlive, signal } from "./support/processes.ts";
import { Scene } from "./support/scene.ts";

const DEADLINE = { deadline: 30_000 };

Deno.test("the first call after sshd was restarted works", async () => {
  await using scene = await Scene.create();
  await scene.assertWorks("before");
  await scene.sshd.restart();
  await scene.assertWorks("after");
  assert.equal(scene.sshd.logins(), 2);
  await scene.assertClean();
});

Deno.test("a server that drops the connection ends its sessions with 255, and the next call works", async () => {
  await using scene = await Scene.create();
  const sessions = [1, 2].map(() => scene.call("echo up; exec sleep 60"));
  await eventually("both are up", () => scene.sshd.sessions() === 2, DEADLINE);
  await scene.sshd.restart();
  for (const { code, stdout } of await Promise.all(sessions)) {
    assert.deepEqual([code, stdout], [255, "up\n"]);
  }
  await scene.assertWorks("after");
  await scene.assertClean();
});

Deno.test("a server that accepts and says nothing ends all calls as it ends ssh", async () => {
  await using scene = await Scene.create();
  const { sandbox } = scene;
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const args = ["-o", "ConnectTimeout=2", "-F", "none", "-p", `${listener.addr.port}`, "127.0.0.1"];
  const plain = await sandbox.ssh(args);
  assert.equal(plain.code, 255);
  const calls = Array.from({ length: 5 }, () => sandbox.sshs(args));
  for (const call of await Promise.all(calls)) assert.deepEqual(call, plain);
  await scene.assertClean();
});

Deno.test("a stopped master is replaced, and goes", async () => {
  await using scene = await Scene.create();
  scene.sandbox.env.SSHS_LINGER = "20";
  await scene.assertWorks("before");
  const [{ pid }] = scene.sandbox.masters();
  // Its birth is noted, by which it is known for what it is when it is ended.
  await eventually("the sleeper has the lane", () => {
    return Deno.readTextFileSync(scene.fileOf(".lane")).includes("birth");
  }, DEADLINE);
  signal([pid], "SIGSTOP");
  await scene.assertWorks("stopped");
  await eventually("the stopped one is gone", () => !isAlive(pid), DEADLINE);
  assert.equal(scene.sshd.logins(), 2);
});

Deno.test("a stopped master with a session on it is replaced, and both sessions end well", async () => {
  await using scene = await Scene.create();
  const session = scene.call("read -r line; echo end", { stdin: new Uint8Array(0) });
  await session;
  const child = scene.sandbox.spawnSshs(scene.args("read -r line; echo $line"));
  const before = scene.sshd.sessions();
  await eventually("it is up", () => scene.sshd.sessions() > before, DEADLINE);
  const [{ pid }] = scene.sandbox.masters();
  signal([pid], "SIGSTOP");
  await scene.assertWorks("stopped");
  signal([pid], "SIGCONT");
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("hello\n"));
  await writer.close();
  const [output, { code }] = await Promise.all([child.stdout.text(), child.status]);
  await child.stderr.cancel();
  assert.deepEqual([code, output], [0, "hello\n"]);
  await scene.assertClean();
});

Deno.test("a call passes over a lane whose turn somebody keeps", async () => {
  await using scene = await Scene.create();
  await scene.assertWorks("before");
  // Of one who was stopped while taking a lease.
  using turn = await Deno.open(scene.fileOf(".log"));
  await turn.lock(true);
  await scene.assertWorks("kept");
  assert.equal(scene.sshd.logins(), 2);
  turn.close();
  await scene.assertClean();
});

Deno.test("a caller that is killed while its master starts leaves nothing", async () => {
  await using scene = await Scene.create();
  const go = `${scene.sandbox.dir}/go`;
  await scene.breakSsh("-M", `until [ -e ${go} ]; do sleep 0.1; done`);
  const child = scene.sandbox.spawnSshs(scene.args("true"));
  await eventually("its master starts", () => scene.sandbox.masters().length > 0 || broken(scene), {
    ...DEADLINE,
  });
  child.kill("SIGKILL");
  await child.status;
  await Promise.all([
    child.stdin.abort().catch(() => {}),
    child.stdout.cancel(),
    child.stderr.cancel(),
  ]);
  await Deno.writeTextFile(go, "");
  // It comes up, nobody holds it, and it goes; its files go with the next lane.
  await eventually("the master is gone", () => scene.sandbox.processes().length === 0, DEADLINE);
  await scene.assertWorks("the next call");
  await scene.assertClean();
});

/** Whether the script in the place of ssh waits to start a master. */
function broken(scene: Scene): boolean {
  return scene.sandbox.processes().some(({ args }) =>
    args.some((word) => word.endsWith("broken-ssh")) && args.includes("-M")
  );
}

Deno.test("the next call ends what a killed one has left waiting for a silent server", async () => {
  await using scene = await Scene.create();
  await scene.breakSsh("-M", "if mkdir ${0%/*}/first; then exec sleep 300; fi 2>/dev/null");
  const child = scene.sandbox.spawnSshs(scene.args("true"));
  const waiting = await eventually("its master waits", () => {
    return scene.sandbox.processes().find(({ args }) =>
      args[0].endsWith("sleep") && args[1] === "300"
    );
  }, DEADLINE);
  child.kill("SIGKILL");
  await child.status;
  await Promise.all([
    child.stdin.abort().catch(() => {}),
    child.stdout.cancel(),
    child.stderr.cancel(),
  ]);
  await scene.assertWorks("the next call");
  assert.equal(isAlive(waiting!.pid), false);
  await scene.assertClean();
});

Deno.test("a killed sleeper is followed by another, and nothing is left", async () => {
  await using scene = await Scene.create();
  await scene.assertWorks("before");
  const [{ pid }] = await eventually("it is awake", () => {
    const sleepers = scene.sandbox.sleepers();
    return sleepers.length > 0 && Deno.readTextFileSync(scene.fileOf(".lane")).includes("birth") &&
      sleepers;
  }, DEADLINE) as { pid: number }[];
  signal([pid], "SIGKILL");
  await eventually("it is gone", () => !isAlive(pid), DEADLINE);
  await scene.assertWorks("after");
  await eventually("another is awake", () => scene.sandbox.sleepers().length > 0, DEADLINE);
  await scene.assertClean();
});

Deno.test("a process that has a dead sleeper's pid does not keep another from waking", async () => {
  await using scene = await Scene.create();
  await Deno.mkdir(scene.sandbox.stateDir, { mode: 0o700 });
  const file = `${scene.sandbox.stateDir}/sleeper`;
  await Deno.writeTextFile(file, `${Deno.pid}\n0.1.0\n`);
  const then = new Date(Date.now() - 60_000);
  await Deno.utime(file, then, then);
  await scene.assertWorks("a call");
  await eventually("one is awake", () => scene.sandbox.sleepers().length > 0, DEADLINE);
  await scene.assertClean();
});

Deno.test("of 200 calls at once each works, over few logins, and nothing is left", async () => {
  await using scene = await Scene.create();
  const { sandbox, sshd } = scene;
  const argv = sandbox.argv(scene.args("echo @"));
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
