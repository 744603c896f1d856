/** Masters, servers, sleepers and callers are killed or stopped, and the next call works. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { isAlive, signal } from "./support/processes.ts";
import { needPython } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";
import { Session } from "./support/session.ts";

const LINGERING = { env: { SSHS_LINGER: "60" } };

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

for (const open of [false, true]) {
  Deno.test(`a stopped master ${open ? "with an open session blocks no call, and the session goes on" : "is replaced and ended"}`, async () => {
    await using scene = await Scene.open(LINGERING);
    await scene.assertWorks("before");
    await scene.held();
    await using session = open ? await Session.open(scene) : undefined;
    const mark = scene.fileOf(".verified");
    const [{ pid }] = scene.sandbox.masters();
    signal([pid], "SIGSTOP");
    if (session) await eventually("the mark is withdrawn", () => !isThere(mark));
    // From ssh, whose session was being opened when the master was ended.
    const noise = session ? /^$/ : /^(mux[^\n]*\n)?$/;
    await scene.assertWorks("stopped", { noise });
    if (session) signal([pid], "SIGCONT");
    else await eventually("the stopped one is gone", () => !isAlive(pid));
    await session?.finish();
    assert.equal(scene.logins(), 2);
  });
}

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
  await using scene = await Scene.open(LINGERING);
  await scene.assertWorks("before");
  await scene.held();
  await scene.assertWorks("over a verified lane");
  signal(scene.processes().map(({ pid }) => pid), "SIGKILL");
  await scene.assertWorks("after");
});

Deno.test("a killed sleeper whose pid another process has is replaced", async () => {
  await using scene = await Scene.open(LINGERING);
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
