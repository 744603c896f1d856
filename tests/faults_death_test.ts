/** Masters, servers, sleepers and callers are killed or stopped, and the next call works. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { isAlive, signal } from "./support/processes.ts";
import { needProgram } from "./support/programs.ts";
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
  const args = [
    "-o",
    "ConnectTimeout=2",
    "-F",
    "none",
    "-p",
    `${listener.addr.port}`,
    "127.0.0.1",
    "true",
  ];
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
  await eventually("its master starts", () => {
    return scene.sandbox.processes().some(({ args }) => args.includes("-M"));
  }, DEADLINE);
  await kill(child);
  await Deno.writeTextFile(go, "");
  // It comes up, nobody holds it, and it goes; its files go with the next lane.
  await eventually("the master is gone", () => scene.sandbox.processes().length === 0, DEADLINE);
  await scene.assertWorks("the next call");
  await scene.assertClean();
});

/** Kills a call whose master waits for a silent server; resolves to what it has left: that and its proxy. */
async function killWaiting(scene: Scene): Promise<number[]> {
  // Only the first master finds it silent.
  const silent = `-o ProxyCommand="sh -c 'cat >/dev/null; :'"`;
  await scene.breakSsh(
    "-M",
    `if mkdir "\${0%/*}/first" 2>/dev/null; then exec "$ssh" ${silent} "$@"; fi`,
  );
  const child = scene.sandbox.spawnSshs(scene.args("true"));
  const waits = await eventually("its master waits", () => {
    const [master] = scene.sandbox.masters().filter(({ args }) => args[0].endsWith("/ssh"));
    const proxy = scene.sandbox.processes().find(({ args }) => args[0] === "cat");
    return master && proxy && [master.pid, proxy.pid];
  }, DEADLINE);
  await kill(child);
  return waits!;
}

Deno.test("the next call ends what a killed one has left waiting for a silent server", async () => {
  await using scene = await Scene.create();
  // By procps' lines the master could not be told, were they as short as this.
  scene.sandbox.env.COLUMNS = "80";
  const waits = await killWaiting(scene);
  await scene.assertWorks("the next call");
  await eventually("both are gone", () => !waits.some(isAlive), DEADLINE);
  await scene.assertClean();
});

Deno.test("the sleeper ends what a killed call has left waiting, where no call comes", async () => {
  await using scene = await Scene.create();
  const waits = await killWaiting(scene);
  await eventually("both are gone", () => !waits.some(isAlive), DEADLINE);
  await scene.assertClean();
});

/** Kills a caller by a signal that it cannot take. */
async function kill(child: Deno.ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
  await child.stdin.abort().catch(() => {});
}

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

Deno.test("where nobody takes note of the dead they do not count as living", async () => {
  await using scene = await Scene.create();
  const { sandbox } = scene;
  // Like the init of many a container: PR_SET_CHILD_SUBREAPER of prctl(2), and no wait(2).
  const init = `import ctypes, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1)
subprocess.call(sys.argv[1:])
time.sleep(600)`;
  const child = sandbox.spawn([
    ...[needProgram("python3"), "-c", init],
    ...sandbox.argv(scene.args("true")),
  ]);
  const { stateDir } = sandbox;
  await eventually(
    "a lane",
    () => sandbox.files().some((file) => file.endsWith(".lane")),
    DEADLINE,
  );
  await eventually(`nothing is in ${stateDir}`, () => sandbox.files().length === 0, DEADLINE);
  await kill(child);
  await scene.assertClean();
});
