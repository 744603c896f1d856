/** Masters, servers, sleepers and callers are killed or stopped, and the next call works. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { isAlive, signal } from "./support/processes.ts";
import { needPython } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";
import { Session } from "./support/session.ts";

Deno.test("a server that restarts ends its sessions with 255, and the next call works", async () => {
  await using scene = await Scene.open();
  await using first = await Session.open(scene);
  await using second = await Session.open(scene);
  await scene.sshd.restart();
  for (const session of [first, second]) assert.equal(await session.end(), 255);
  await scene.assertWorks("after");
  await scene.assertClean();
});

Deno.test("calls to a server that accepts and says nothing end as with plain ssh", async () => {
  await using scene = await Scene.open();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const options = ["-oConnectTimeout=2", "-F", "none", "-p", `${listener.addr.port}`];
  const words = [...options, "127.0.0.1", "true"];
  const plain = await scene.sandbox.ssh(words);
  assert.equal(plain.code, 255);
  const calls = Array.from({ length: 5 }, () => scene.run(["ssh", ...words]));
  for (const call of await Promise.all(calls)) assert.deepEqual(call, plain);
  await scene.assertClean();
});

Deno.test("a stopped master is replaced and ended", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "20" } });
  await scene.assertWorks("before");
  await scene.held();
  const [{ pid }] = scene.sandbox.masters();
  signal([pid], "SIGSTOP");
  // From ssh, whose session was being opened when the master was ended.
  await scene.assertWorks("stopped", { noise: /^(mux[^\n]*\n)?$/ });
  await eventually("the stopped one is gone", () => !isAlive(pid));
  assert.equal(scene.logins(), 2);
});

Deno.test("a stopped master with an open session blocks no call, and the session ends normally", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "20" } });
  await scene.assertWorks("before");
  await scene.held();
  await using session = await Session.open(scene);
  const mark = scene.fileOf(".verified");
  const [{ pid }] = scene.sandbox.masters();
  signal([pid], "SIGSTOP");
  await eventually("the mark is withdrawn", () => !isThere(mark));
  await scene.assertWorks("stopped");
  signal([pid], "SIGCONT");
  await session.finish();
});

Deno.test("a caller that is killed while its master starts leaves nothing behind", async () => {
  await using scene = await Scene.open();
  const go = `${scene.sandbox.dir}/go`;
  await scene.breakSsh("-M", `until [ -e ${go} ]; do sleep 0.1; done`);
  const child = scene.spawnSsh(["host", "true"]);
  await eventually("its master starts", () => {
    return scene.sandbox.processes().some(({ args }) => args.includes("-M"));
  });
  await kill(child);
  await Deno.writeTextFile(go, "");
  // It comes up, nobody holds it, and it exits; its files are removed with the next lane.
  await eventually("the master is gone", () => scene.sandbox.processes().length === 0);
  await scene.assertWorks("the next call");
  await scene.assertClean();
});

/** Kills a call whose master waits for a silent server. Resolves to the pids of that master and its proxy. */
async function killWaiting(scene: Scene): Promise<number[]> {
  // The server is silent only to the first master.
  const silent = `-o ProxyCommand="sh -c 'cat >/dev/null; :'"`;
  await scene.breakSsh(
    "-M",
    `if mkdir "\${0%/*}/first" 2>/dev/null; then
       socket=$2; shift 2; exec "$ssh" -S "$socket" ${silent} "$@"
     fi`,
  );
  const child = scene.spawnSsh(["host", "true"]);
  const waits = await eventually("its master waits", () => {
    const [master] = scene.sandbox.masters().filter(({ args }) => args[0].endsWith("/ssh"));
    const proxy = scene.sandbox.processes().find(({ args }) => args[0] === "cat");
    return master && proxy && [master.pid, proxy.pid];
  });
  await kill(child);
  return waits!;
}

Deno.test("the next call ends the login that a killed call left waiting for a silent server", async () => {
  await using scene = await Scene.open();
  // If procps cut its lines to this width, the master could not be recognized.
  scene.sandbox.env.COLUMNS = "80";
  const waits = await killWaiting(scene);
  await scene.assertWorks("the next call");
  await eventually("both are gone", () => !waits.some(isAlive));
  await scene.assertClean();
});

Deno.test("the sleeper ends the login that a killed call left waiting, once a call elsewhere has woken it", async () => {
  await using scene = await Scene.open();
  const waits = await killWaiting(scene);
  await scene.assertWorks("another connection", { args: ["-oServerAliveInterval=99"] });
  await eventually("both are gone", () => !waits.some(isAlive));
  await scene.assertClean();
});

/** Kills a caller with a signal that it cannot catch. */
async function kill(child: Deno.ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
  await child.stdin.abort().catch(() => {});
}

Deno.test("processes that have ended but are not reaped do not count as alive", async () => {
  await using scene = await Scene.open();
  // Like the init of many containers: PR_SET_CHILD_SUBREAPER of prctl(2), and no wait(2).
  const init = `import ctypes, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1)
subprocess.Popen(sys.argv[1:])
time.sleep(600)`;
  const child = scene.sandbox.spawn([needPython(), "-c", init, "ssh", ...scene.args("true")]);
  await eventually("a lane", () => scene.lanes().length > 0);
  await eventually("it is over", () => scene.lanes().length === 0);
  await kill(child);
  await scene.assertClean();
});

Deno.test("a call says nothing of a master that was killed together with the sleeper", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  await scene.assertWorks("before");
  await scene.held();
  await scene.assertWorks("over a verified lane");
  signal(scene.processes().map(({ pid }) => pid), "SIGKILL");
  const { code, stderr } = await scene.ssh(["host", "true"]);
  assert.deepEqual([code, stderr], [0, ""]);
});

Deno.test("a killed sleeper whose pid another process has is replaced", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  await scene.assertWorks("before");
  await scene.held();
  const file = `${scene.sandbox.stateDir}/sleeper`;
  const [pid, ...rest] = Deno.readTextFileSync(file).split("\n");
  signal([Number(pid)], "SIGKILL");
  await eventually("it is gone", () => !isAlive(Number(pid)));
  await using session = await Session.open(scene); // Another process of ours.
  Deno.writeTextFileSync(file, [session.pid, ...rest].join("\n"));
  await scene.assertWorks("after");
  await eventually("there is another sleeper", () => {
    const [now] = Deno.readTextFileSync(file).split("\n");
    return Number(now) !== session.pid && isAlive(Number(now));
  });
  await session.finish();
});
