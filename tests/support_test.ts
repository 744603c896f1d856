/** What the other tests rest on: servers that count, and fixtures that notice what is wrong or left. */
import assert from "node:assert/strict";
import { assertSameBytes } from "./support/bytes.ts";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { isAlive } from "./support/processes.ts";
import { needProgram } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Scene } from "./support/scene.ts";
import { SideBySide } from "./support/side_by_side.ts";
import { Sshd } from "./support/sshd.ts";

Deno.test("Sshd counts connections, logins and sessions, and ends what commands leave", async () => {
  await using sandbox = await Sandbox.create();
  let pid: number;
  {
    await using sshd = await Sshd.start({ banner: "Welcome\n" });
    const call = (command: string) => sandbox.ssh(["-F", sshd.config, "host", command]);
    const { code, stdout, stderr } = await call("id -un; exit 3");
    assert.deepEqual([code, stdout], [3, `${sshd.user.name}\n`]);
    assert.match(stderr, /Welcome/);
    assert.deepEqual([sshd.connections(), sshd.logins(), sshd.sessions()], [1, 1, 1]);
    pid = Number((await call("sleep 600 >/dev/null 2>&1 & echo $!")).stdout);
    assert.equal(isAlive(pid), true);
  }
  assert.equal(isAlive(pid), false);
});

Deno.test("Sandbox notices a process and files that are left, and an output that is held open", async () => {
  await using sandbox = await Sandbox.create();
  await sandbox.assertClean();
  await sandbox.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 &"]);
  await assert.rejects(sandbox.assertClean({ deadline: 100 }), /sleep 600/);
  await Deno.mkdir(`${sandbox.stateDir}/a`, { recursive: true });
  await Deno.writeTextFile(`${sandbox.stateDir}/a/b`, "");
  assert.deepEqual(sandbox.files(), ["a/", "a/b"]);
  const held = sandbox.run(["sh", "-c", "sleep 600 & exit 4"], { timeout: 200 });
  await assert.rejects(held, /exited 4, but its output is held open after 200 ms\n.*sleep 600/);
});

Deno.test("Scene has an ssh that shares, and reports its lanes, masters, starts of Deno and logins", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  for (const word of ["one", "two", "three"]) {
    const { code, stdout, stderr } = await scene.ssh(["host", `echo ${word}`]);
    assert.deepEqual([code, stdout, stderr], [0, `${word}\n`, ""]);
  }
  assert.match((await scene.plainSsh(["host", "echo $0"])).stdout, /^(-|.*\/)?sh\n$/);
  assert.equal(scene.logins(), 2);
  const [lane, ...more] = scene.lanes();
  assert.deepEqual([lane.open, lane.leases, more], [true, [], []]);
  assert.equal(isThere(lane.socket), true);
  assert.equal(scene.sandbox.masters().length, 1);
  assert.notEqual(scene.starts().length, 0);
  assert.deepEqual(scene.strays(), []);
});

Deno.test("Scene has the system's ssh if asked, and a relay that passes nothing while it is cut", async () => {
  await using scene = await Scene.open({ relay: {}, proxy: true, plain: true });
  await using child = scene.spawnSsh(["host", "read line; echo $line"]);
  await eventually("the session runs", () => scene.sshd.sessions() === 1);
  scene.relay.cut();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("late words\n"));
  const unanswered = await scene.ssh(["-oConnectTimeout=1", "-oProxyCommand=none", "host", "true"]);
  assert.match(unanswered.stderr, /timed out/);
  scene.relay.restore();
  assert.equal(await child.stdout.text(), "late words\n");
  await Promise.all([writer.close(), child.stderr.cancel(), child.status]);
  assert.deepEqual([scene.relay.connections, scene.logins(), scene.starts()], [2, 1, []]);
});

Deno.test("Scene fails if a call left a process, and ends it", async () => {
  const scene = await Scene.open({ grace: 500 });
  await scene.ssh(["host", "true"]);
  const { stdout } = await scene.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]);
  assert.deepEqual(scene.strays().map(({ pid }) => pid), [Number(stdout)]);
  await assert.rejects(scene[Symbol.asyncDispose](), /neither masters nor sleepers:\n.*sleep 600/);
  assert.deepEqual([scene.processes(), isThere(scene.sandbox.dir)], [[], false]);
});

Deno.test("SideBySide detects an ssh that differs from plain ssh, and what it leaves", async () => {
  await using sides = await SideBySide.open({ plain: true, grace: 500 });
  const hello = ["host", "echo hello; exit 3"];
  const { transcript, code, left } = await sides.assertSame(hello, async () => {});
  assert.deepEqual([transcript, code, left], ["hello\r\n", 3, []]);
  await Deno.remove(`${sides.ours.bin}/ssh`);
  const script = `(trap '' HUP; exec sleep 600) & ${needProgram("ssh")} "$@"; echo more; exit 3`;
  await sides.ours.sandbox.addProgram("ssh", script);
  const { ours } = await sides.onTerminal(hello, async () => {});
  assert.deepEqual([ours.transcript, ours.left], ["hello\r\nmore\r\n", ["sleep 600"]]);
  await assert.rejects(sides.assertSame(hello, async () => {}), assert.AssertionError);
});

Deno.test("assertSameBytes reports a difference in megabytes in one line", async () => {
  const bytes = new Uint8Array(10_000_000);
  await assertSameBytes(bytes, bytes.slice());
  const other = bytes.slice();
  other[9_999_999] = 1;
  const isShort = ({ message }: Error) => message.length < 1000;
  await assert.rejects(assertSameBytes(bytes, other), isShort);
});
