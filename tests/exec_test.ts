/** The session's process is ssh, however it was called: its status, bytes, signals, terminal and pid. */
import assert from "node:assert/strict";
import { assertSameBytes } from "./support/bytes.ts";
import { eventually, inTime } from "./support/eventually.ts";
import { untilAsleep } from "./support/processes.ts";
import { needProgram } from "./support/programs.ts";
import { Pty } from "./support/pty.ts";
import { Scene } from "./support/scene.ts";

const DEADLINE = { deadline: 20_000 };

/** The ways in which a call gets to ssh, with its argv: by the launcher, or by the program that becomes it. */
const WAYS: Readonly<Record<string, (scene: Scene, args: readonly string[]) => string[]>> = {
  "the installed ssh": (scene, args) => ["ssh", "-F", scene.config, ...args],
  "the program alone": ({ sandbox, config }, args) => sandbox.argv(["-F", config, ...args]),
};

for (const [way, argvOf] of Object.entries(WAYS)) {
  Deno.test(`${way} passes on status, stdout and stderr, and ends like plain ssh by a signal to it or its command`, async () => {
    await using scene = await Scene.open();
    const plain = (args: string[]) => [needProgram("ssh"), "-F", scene.config, ...args];
    for (const end of ["exit 0", "exit 7", "exit 255", "kill $$", "kill -9 $$", "kill -INT $$"]) {
      const args = ["host", `echo out; echo err >&2; ${end}`];
      const { code, signal } = await scene.sandbox.run(plain(args));
      const ours = await scene.sandbox.run(argvOf(scene, args));
      assert.deepEqual([ours.code, ours.signal], [code, signal], end);
      assert.deepEqual([ours.stdout, ours.stderr], ["out\n", "err\n"]);
    }

    const end = async (argv: string[], name: Deno.Signal) => {
      const sessions = scene.sshd.sessions();
      const child = scene.sandbox.spawn(argv);
      await eventually("a session", () => scene.sshd.sessions() > sessions, DEADLINE);
      await child.stdout.getReader().read();
      // ssh may lose a signal that comes just before it waits (client_loop() in clientloop.c).
      await untilAsleep(child.pid);
      child.kill(name);
      const { code, signal } = await inTime(`the end by ${name}`, child.status, DEADLINE);
      await child.stdin.close();
      await child.stderr.cancel();
      return [code, signal];
    };
    for (const name of ["SIGTERM", "SIGHUP", "SIGINT"] as const) {
      const args = ["host", "echo on; cat"];
      assert.deepEqual(await end(argvOf(scene, args), name), await end(plain(args), name), name);
    }
  });
}

const argvOf = WAYS["the installed ssh"];

Deno.test("the installed ssh reads its input to the end, and ends when the reader of its output does", async () => {
  await using scene = await Scene.open();
  const { sandbox } = scene;
  const counted = await sandbox.run(argvOf(scene, ["host", "wc -c"]), { stdin: "four" });
  assert.equal(counted.stdout.trim(), "4");
  assert.equal((await sandbox.run(argvOf(scene, ["host", "wc -c"]))).stdout.trim(), "0");
  const piped = ["sh", "-c", '"$@" | head -n 1', "sh", ...argvOf(scene, ["host", "yes"])];
  assert.equal((await sandbox.run(piped)).stdout, "y\n");
});

Deno.test("the installed ssh carries 100 MB of random bytes both ways unchanged", async () => {
  await using scene = await Scene.open();
  const sent = new Uint8Array(100_000_000);
  for (let at = 0; at < sent.length; at += 50_000) {
    crypto.getRandomValues(sent.subarray(at, at + 50_000));
  }
  const { code, stdoutBytes } = await scene.sandbox.run(argvOf(scene, ["host", "cat"]), {
    stdin: sent,
    timeout: 60_000,
  });
  assert.equal(code, 0);
  await assertSameBytes(stdoutBytes, sent);
});

Deno.test("the installed ssh handles ~. and the size of its terminal", async () => {
  await using scene = await Scene.open();
  const { sandbox } = scene;
  const command = "trap 'stty size' WINCH; stty size; while sleep 0.1; do :; done";
  await using pty = await Pty.spawn(argvOf(scene, ["-t", "host", command]), {
    env: sandbox.env,
    rows: 33,
    columns: 111,
  });
  // A master may write before its client has made the terminal raw: then the terminal adds a return.
  await pty.waitFor(/33 111\r+\n/, DEADLINE);
  pty.resize(44, 122);
  await pty.waitFor("44 122\r\n", DEADLINE);
  pty.write("\r~.");
  assert.equal((await statusOf(pty)).code, 255);
  await pty.waitFor(/onnection to .* closed/, DEADLINE);
});

Deno.test("the installed ssh stops on Ctrl-Z in a local shell, and continues on fg", async () => {
  await using scene = await Scene.open();
  await using pty = await Pty.spawn(["bash", "--norc", "--noprofile", "-i"], {
    env: { ...scene.sandbox.env, PS1: "$ " },
    columns: 500,
  });
  await pty.waitFor("$ ", DEADLINE);
  // Its input is not the terminal: the master would read that, and Ctrl-Z does not stop the master.
  const script = "</dev/null 'echo st''art; until [ -e ~/go ]; do sleep 0.1; done; exit 5'";
  const call = argvOf(scene, ["host", script]).join(" ").replaceAll("~", scene.sshd.user.home);
  pty.write(`${call}; echo =$?=\r`);
  await pty.waitFor("start\r\n", DEADLINE);
  pty.write("\x1a");
  await pty.waitFor("Stopped", DEADLINE);
  await pty.waitFor("$ ", DEADLINE);
  pty.write("fg; echo =$?=\r");
  await pty.waitFor("fg; ", DEADLINE);
  await Deno.writeTextFile(`${scene.sshd.user.home}/go`, "");
  await pty.waitFor("=5=\r\n", DEADLINE);
});

Deno.test("the installed ssh leaves Ctrl-C and Ctrl-Z to a remote shell", async () => {
  await using scene = await Scene.open();
  await using pty = await Pty.spawn(argvOf(scene, ["-t", "host", "PS1='> ' sh -i"]), {
    env: scene.sandbox.env,
  });
  await pty.waitFor("> ", DEADLINE);
  pty.write("cat\r");
  await pty.waitFor("cat\r\n", DEADLINE);
  pty.write("\x1a");
  await pty.waitFor(/(Stopped|Suspended)[^]*> /, DEADLINE);
  pty.write("fg\r");
  await pty.waitFor("cat\r\n", DEADLINE);
  pty.write("back\r");
  await pty.waitFor(/back[^]*back\r\n/, DEADLINE);
  pty.write("\x03");
  await pty.waitFor("> ", DEADLINE);
  pty.write("exit 6\r");
  assert.equal((await statusOf(pty)).code, 6);
});

Deno.test("the installed ssh exits with 127 or 126 if the real ssh cannot be run, and says so", async () => {
  await using scene = await Scene.open();
  const { sandbox } = scene;
  const missing = await sandbox.addProgram("missing", "#!/no/such/interpreter");
  const forbidden = await sandbox.addProgram("forbidden", "#!/etc/passwd");
  for (const [ssh, status] of [[missing, 127], [forbidden, 126]] as const) {
    const { code, stdout, stderr } = await sandbox.run(argvOf(scene, ["host"]), {
      env: { SSHS_SSH: ssh },
    });
    assert.deepEqual([code, stdout], [status, ""]);
    assert.ok(stderr.includes(ssh), stderr);
  }
});

Deno.test("the installed ssh passes on all exit statuses from 0 to 255", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  assert.equal((await scene.ssh(["host", "true"])).code, 0);
  const starts = scene.starts().length;
  const script = 'for n; do ssh -F "$CONFIG" host "exit $n" </dev/null; echo "$n $?"; done';
  const { stdout, stderr } = await scene.run(
    ["sh", "-c", `seq 0 255 | xargs -P 8 -n 32 sh -c '${script}' sh`],
    { env: { CONFIG: scene.config }, timeout: 120_000 },
  );
  assert.equal(stderr, "");
  const ended = Object.fromEntries(stdout.trimEnd().split("\n").map((line) => line.split(" ")));
  const expected = Array.from({ length: 256 }, (_, n) => [n, `${n}`]);
  assert.deepEqual(ended, Object.fromEntries(expected));
  assert.equal(scene.logins(), 1);
  const asked = scene.starts().slice(starts).filter((words) => words.includes("--decide"));
  assert.deepEqual(asked, [], "the program is not asked again");
});

function statusOf(pty: Pty): Promise<Deno.CommandStatus> {
  return inTime("the end of the program", pty.status, DEADLINE);
}

Deno.test("the ssh that a call becomes keeps its pid, and has no children", async () => {
  for (const way in WAYS) {
    await using scene = await Scene.open();
    const child = scene.sandbox.spawn(WAYS[way](scene, ["host", "cat"]));
    await eventually("a session", () => scene.sshd.sessions() === 1, DEADLINE);
    const all = scene.processes();
    const own = all.find(({ pid }) => pid === child.pid)!;
    assert.equal(own.args[0], needProgram("ssh"));
    assert.deepEqual(all.filter(({ ppid }) => ppid === child.pid), []);
    await child.stdin.close();
    assert.equal((await child.output()).code, 0);
  }
});

Deno.test("a master has a session of its own and holds nothing of the caller", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  assert.equal((await scene.ssh(["host", "cat"], { stdin: "in" })).stdout, "in");
  const [master] = scene.sandbox.masters();
  assert.equal(master.sid, master.pid);
  assert.equal(await Deno.readLink(`/proc/${master.pid}/cwd`), "/");
  const fds = [...Deno.readDirSync(`/proc/${master.pid}/fd`)].map(({ name }) => name);
  const targets = await Promise.all(fds.map((fd) => Deno.readLink(`/proc/${master.pid}/fd/${fd}`)));
  for (const target of targets) assert.match(target, /^(\/dev\/null|socket:.*)$/);
});
