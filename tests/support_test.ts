import assert from "node:assert/strict";
import { canMakeAccounts } from "./support/account.ts";
import { assertSameBytes } from "./support/bytes.ts";
import { eventually, pause } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { descendants, endAll, isAlive } from "./support/processes.ts";
import { Pty } from "./support/pty.ts";
import { Relay } from "./support/relay.ts";
import { needProgram } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Scene } from "./support/scene.ts";
import { SideBySide } from "./support/side_by_side.ts";
import { Sshd } from "./support/sshd.ts";

Deno.test("Sshd counts a login with the key", async () => {
  await using sshd = await Sshd.start({ banner: "Welcome\n" });
  await using sandbox = await Sandbox.create();
  const { code, stdout, stderr } = await sandbox.ssh(["-F", sshd.config, "host", "id -un; exit 3"]);
  assert.equal(stderr.includes("Welcome"), true, stderr);
  assert.equal(stdout, `${sshd.user.name}\n`);
  assert.equal(code, 3);
  assert.deepEqual([sshd.connections(), sshd.logins(), sshd.sessions()], [1, 1, 1]);
});

Deno.test("Sshd restarts on its port, and accepts no connection when stopped", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  const call = ["-F", sshd.config, "host", "true"];
  await sshd.restart();
  assert.equal((await sandbox.ssh(call)).code, 0);
  await sshd.stop();
  const { code, stderr } = await sandbox.ssh(call);
  assert.equal(code, 255);
  assert.match(stderr, /Connection refused/);
});

Deno.test("Sshd freezes and thaws with its sessions", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  await using child = sandbox.spawn(["ssh", "-F", sshd.config, "host", "cat"]);
  const input = child.stdin.getWriter();
  const output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  await input.write(new TextEncoder().encode("one\n"));
  assert.equal((await output.read()).value, "one\n");
  sshd.freeze();
  await input.write(new TextEncoder().encode("two\n"));
  const two = output.read();
  assert.equal(await Promise.race([two, late(300)]), "late");
  sshd.thaw();
  assert.equal((await two).value, "two\n");
  await Promise.all([input.close(), child.stderr.cancel(), child.status]);
  assert.equal((await output.read()).done, true);
});

Deno.test("Sshd ends what a command left in the background", async () => {
  await using sandbox = await Sandbox.create();
  let pid: number;
  {
    await using sshd = await Sshd.start();
    const command = "sleep 600 >/dev/null 2>&1 & echo $!";
    const { stdout } = await sandbox.ssh(["-F", sshd.config, "host", command]);
    pid = Number(stdout);
    assert.equal(isAlive(pid), true);
  }
  assert.equal(isAlive(pid), false);
});

Deno.test({
  name: "Sshd takes a password typed at a terminal",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using sandbox = await Sandbox.create();
    for (const options of [{ passwords: true }, { keyboardInteractive: true }]) {
      await using sshd = await Sshd.start({ ...options, client: { hostKeyChecking: "ask" } });
      const argv = ["ssh", "-F", sshd.config, "host", "echo logged in"];
      await using pty = await Pty.spawn(argv, { env: sandbox.env });
      await pty.waitFor("(yes/no");
      pty.write("yes\r");
      await pty.waitFor(/password: /i);
      pty.write(`${sshd.user.password}\r`);
      await pty.waitFor("logged in");
      assert.equal((await pty.status).code, 0);
      assert.equal(pty.output.includes(sshd.user.password!), false);
      assert.equal(sshd.logins(), 1);
    }
  },
});

Deno.test({
  name: "Sshd lets root in when asked",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using sshd = await Sshd.start({ asRoot: true });
    await using sandbox = await Sandbox.create();
    assert.equal((await sandbox.ssh(["-F", sshd.config, "host", "id -un"])).stdout, "root\n");
  },
});

Deno.test("Sandbox notices a process and files that are left", async () => {
  await using sandbox = await Sandbox.create();
  await sandbox.assertClean();
  await sandbox.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 &"]);
  await assert.rejects(sandbox.assertClean({ deadline: 100 }), /sleep 600/);
  await Deno.mkdir(`${sandbox.stateDir}/a`, { recursive: true });
  await Deno.writeTextFile(`${sandbox.stateDir}/a/b`, "");
  assert.deepEqual(sandbox.files(), ["a/", "a/b"]);
});

Deno.test("Sandbox.run says that the output is held open", async () => {
  await using sandbox = await Sandbox.create();
  const held = sandbox.run(["sh", "-c", "sleep 600 & exit 4"], { timeout: 200 });
  await assert.rejects(held, /exited 4, but its output is held open after 200 ms\n.*sleep 600/);
});

Deno.test("Sandbox recognizes a master by its socket", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  await Deno.mkdir(sandbox.stateDir);
  const master = ["-M", "-N", "-f", "-S", `${sandbox.stateDir}/x`, "-o", "ControlPersist=60"];
  // The master would hold a pipe.
  await sandbox.run([
    "sh",
    "-c",
    `ssh "$@" >/dev/null 2>&1`,
    "sh",
    "-F",
    sshd.config,
    ...master,
    "host",
  ]);
  assert.equal(sandbox.masters().length, 1);
});

Deno.test("Pty echoes, resizes and passes the exit status", async () => {
  await using pty = await Pty.spawn(["sh"], { rows: 30, columns: 90 });
  pty.write("stty size; tty\r");
  await pty.waitFor(/30 90\r\n\/dev\/pts\/\d+/);
  pty.write("trap 'stty size' WINCH; echo re''ady\r");
  await pty.waitFor("ready");
  pty.resize(10, 40);
  pty.write("\r");
  await pty.waitFor("10 40\r\n");
  pty.write("ex''it 5\r");
  assert.equal((await pty.status).code, 5);
  assert.equal(pty.output.includes("ex''it 5\r\n"), true);
});

Deno.test("Pty sends signals to the foreground by Ctrl-C", async () => {
  await using pty = await Pty.spawn(["sleep", "600"]);
  pty.write("\x03");
  assert.equal((await pty.status).signal, "SIGINT");
});

Deno.test("Pty controls jobs by Ctrl-Z", async () => {
  await using pty = await Pty.spawn(["sh", "-i"]);
  pty.write("sleep 600\r");
  await eventually("the job runs", () => descendants(pty.pid).length === 1);
  pty.write("\x1a");
  await pty.waitFor(/Stopped|\[1\] \+/);
  pty.write("kill %1; fg; exit 3\r");
  assert.equal((await pty.status).code, 3);
});

Deno.test("Pty hangs up on the program", async () => {
  await using pty = await Pty.spawn(["sleep", "600"]);
  pty.hangup();
  assert.equal((await pty.status).signal, "SIGHUP");
});

Deno.test("Pty ends with its program, though a child holds the terminal", async () => {
  await using pty = await Pty.spawn(["sh", "-c", "trap '' HUP; sleep 600 & echo $!"]);
  assert.equal((await pty.status).code, 0);
  const child = Number(pty.output);
  assert.equal(isAlive(child), true);
  await endAll([child]);
});

Deno.test("Relay delays, and keeps the order", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  await using relay = Relay.start(sshd.port, { delayMs: 20 });
  const config = await sshd.writeConfig({ port: relay.port });
  const input = crypto.getRandomValues(new Uint8Array(50_000));
  const start = performance.now();
  const { stdoutBytes } = await sandbox.ssh(["-F", config, "host", "cat"], { stdin: input });
  // A login is several round trips.
  assert.equal(performance.now() - start > 200, true);
  await assertSameBytes(stdoutBytes, input);
  assert.equal(relay.connections, 1);
});

Deno.test("Relay passes nothing while it is cut, and goes on afterwards", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  await using relay = Relay.start(sshd.port);
  const config = await sshd.writeConfig({ port: relay.port });
  const call = ["-F", config, "host", "read line; echo $line"];
  await using child = sandbox.spawn(["ssh", ...call]);
  await eventually("the session runs", () => sshd.sessions() === 1);
  relay.cut();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("late words\n"));
  const unanswered = await sandbox.ssh(["-o", "ConnectTimeout=1", ...call]);
  assert.match(unanswered.stderr, /timed out/);
  assert.equal(relay.openConnections, 2);
  relay.restore();
  assert.equal(await child.stdout.text(), "late words\n");
  await Promise.all([writer.close(), child.stderr.cancel(), child.status]);
});

Deno.test("Sandbox records the calls of a fake ssh", async () => {
  await using sandbox = await Sandbox.create();
  await sandbox.fakeSsh("exit 7");
  assert.equal((await sandbox.run(["ssh", "-v", "", "a b\nc"])).code, 7);
  await sandbox.run(["ssh"]);
  assert.deepEqual(sandbox.recorded(), [["-v", "", "a b\nc"], []]);
});

function late(ms: number): Promise<"late"> {
  return pause(ms).then(() => "late");
}

Deno.test("assertSameBytes reports a difference in megabytes in one line", async () => {
  const bytes = new Uint8Array(10_000_000);
  await assertSameBytes(bytes, bytes.slice());
  const other = bytes.slice();
  other[9_999_999] = 1;
  await assert.rejects(
    assertSameBytes(bytes, other),
    ({ message }: Error) => message.length < 1000,
  );
});

Deno.test("Scene has an ssh that shares, and reports its lanes, starts of Deno and logins", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  for (const word of ["one", "two", "three"]) {
    const { code, stdout, stderr } = await scene.ssh(["host", `echo ${word}`]);
    assert.deepEqual([code, stdout, stderr], [0, `${word}\n`, ""]);
  }
  const { stdout } = await scene.plainSsh(["host", "echo $0"]);
  assert.match(stdout, /^(-|.*\/)?sh\n$/);
  assert.equal(scene.logins(), 2);
  const [lane, ...more] = scene.lanes();
  assert.deepEqual([lane.open, lane.leases, more], [true, [], []]);
  assert.equal(isThere(lane.socket), true);
  assert.notEqual(scene.starts().length, 0);
  assert.deepEqual(scene.strays(), []);
  assert.notDeepEqual(scene.processes(), []);
});

Deno.test("Scene puts a relay and a proxy in front of its server", async () => {
  await using scene = await Scene.open({ relay: {}, proxy: true, plain: true });
  assert.equal((await scene.ssh(["host", "echo hello"])).stdout, "hello\n");
  assert.deepEqual([scene.relay.connections, scene.logins(), scene.starts()], [1, 1, []]);
});

Deno.test("Scene fails if a call left a process, and ends it", async () => {
  const scene = await Scene.open();
  await scene.ssh(["host", "true"]);
  const { stdout } = await scene.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]);
  assert.deepEqual(scene.strays().map(({ pid }) => pid), [Number(stdout)]);
  await assert.rejects(scene[Symbol.asyncDispose](), /neither masters nor sleepers:\n.*sleep 600/);
  assert.deepEqual([scene.processes(), isThere(scene.sandbox.dir)], [[], false]);
});

Deno.test("SideBySide detects an ssh that differs from plain ssh", async () => {
  await using sides = await SideBySide.open({ plain: true });
  const hello = ["host", "echo hello; exit 3"];
  const { transcript, code, left } = await sides.assertSame(hello, async () => {});
  assert.deepEqual([transcript, code, left], ["hello\r\n", 3, []]);
  await Deno.remove(`${sides.ours.bin}/ssh`);
  const real = needProgram("ssh");
  await sides.ours.sandbox.addProgram(
    "ssh",
    `(trap '' HUP; exec sleep 600) & ${real} "$@"; echo more; exit 3`,
  );
  const { ours } = await sides.onTerminal(hello, async () => {});
  assert.deepEqual([ours.transcript, ours.left], ["hello\r\nmore\r\n", ["sleep 600"]]);
  await assert.rejects(sides.assertSame(hello, async () => {}), assert.AssertionError);
});
