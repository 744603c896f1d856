import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { install } from "./support/installed.ts";
import { needProgram } from "./support/programs.ts";
import { Pty } from "./support/pty.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const DEADLINE = { deadline: 20_000 };

/** A server, a sandbox whose lane stays, and the argv of a call in one of the two ways to end as ssh. */
interface Bench extends AsyncDisposable {
  sshd: Sshd;
  sandbox: Sandbox;
  argv(...args: string[]): string[];
}

async function makeBench(way: string): Promise<Bench> {
  const sshd = await Sshd.start({ config: ["MaxSessions 10"] });
  const sandbox = await Sandbox.create();
  const lacksFfi = way === "as a child";
  return {
    sshd,
    sandbox,
    argv: (...args) =>
      sandbox.argv(["-F", sshd.config, ...args])
        .filter((word) => !lacksFfi || word !== "--allow-ffi"),
    async [Symbol.asyncDispose]() {
      await sandbox[Symbol.asyncDispose]();
      await sshd[Symbol.asyncDispose]();
    },
  };
}

for (const way of ["by exec", "as a child"]) {
  Deno.test(`ssh ${way} hands on every exit status, and its output unmixed`, async () => {
    await using bench = await makeBench(way);
    for (const status of [0, 1, 7, 126, 127, 128, 254, 255]) {
      const command = `echo out; echo err >&2; exit ${status}`;
      const { code, signal, stdout, stderr } = await bench.sandbox.run(
        bench.argv("host", command),
      );
      assert.deepEqual([code, signal, stdout], [status, null, "out\n"]);
      assert.equal(stderr.replace(/^Warning: Permanently added.*\r\n/, ""), "err\n");
    }
    assert.equal(bench.sshd.logins(), 1);
  });

  Deno.test(`ssh ${way} ends as plain ssh when the command dies by a signal`, async () => {
    await using bench = await makeBench(way);
    for (const name of ["TERM", "KILL", "INT"]) {
      const ours = await bench.sandbox.run(bench.argv("host", `kill -${name} $$`));
      const theirs = await bench.sandbox.ssh(["-F", bench.sshd.config, "host", `kill -${name} $$`]);
      assert.deepEqual([ours.code, ours.signal], [theirs.code, theirs.signal], name);
    }
  });

  Deno.test(`ssh ${way} ends as plain ssh when it is sent a signal itself`, async () => {
    await using bench = await makeBench(way);
    const command = ["host", "echo on; cat"];
    const end = async (argv: string[], name: Deno.Signal) => {
      const sessions = bench.sshd.sessions();
      const child = bench.sandbox.spawn(argv);
      await eventually("a session", () => bench.sshd.sessions() > sessions, DEADLINE);
      await child.stdout.getReader().read();
      // ssh may lose a signal that comes just before it waits (client_loop() in clientloop.c).
      await new Promise((resolve) => setTimeout(resolve, 200));
      child.kill(name);
      let status: Deno.CommandStatus | undefined;
      child.status.then((value) => status = value);
      const { code, signal } = (await eventually(`the end by ${name}`, () => status, DEADLINE))!;
      await child.stdin.close();
      await child.stderr.cancel();
      return [code, signal];
    };
    for (const name of ["SIGTERM", "SIGHUP", "SIGINT"] as const) {
      const plain = [needProgram("ssh"), "-F", bench.sshd.config, ...command];
      assert.deepEqual(await end(bench.argv(...command), name), await end(plain, name), name);
    }
  });

  Deno.test(`ssh ${way} reads its input to the end, and ends with who reads its output`, async () => {
    await using bench = await makeBench(way);
    const { sandbox } = bench;
    const counted = await sandbox.run(bench.argv("host", "wc -c"), { stdin: "four" });
    assert.equal(counted.stdout.trim(), "4");
    assert.equal((await sandbox.run(bench.argv("host", "wc -c"))).stdout.trim(), "0");
    const piped = ["sh", "-c", '"$@" | head -n 1', "sh", ...bench.argv("host", "yes")];
    assert.equal((await sandbox.run(piped)).stdout, "y\n");
  });

  Deno.test(`ssh ${way} carries 100 MB of any bytes both ways unharmed`, async () => {
    await using bench = await makeBench(way);
    const sent = new Uint8Array(100_000_000);
    for (let at = 0; at < sent.length; at += 50_000) {
      crypto.getRandomValues(sent.subarray(at, at + 50_000));
    }
    const { code, stdoutBytes } = await bench.sandbox.run(bench.argv("host", "cat"), {
      stdin: sent,
      timeout: 60_000,
    });
    assert.deepEqual([code, stdoutBytes.length], [0, sent.length]);
    assert.equal(await digest(new Uint8Array(stdoutBytes)), await digest(sent));
  });

  Deno.test(`ssh ${way} knows ~. and the size of its terminal`, async () => {
    await using bench = await makeBench(way);
    const { sandbox } = bench;
    const command = "trap 'stty size' WINCH; stty size; while sleep 0.1; do :; done";
    await using pty = await Pty.spawn(bench.argv("-t", "host", command), {
      env: sandbox.env,
      rows: 33,
      columns: 111,
    });
    await pty.waitFor("33 111\r\n", DEADLINE);
    pty.resize(44, 122);
    await pty.waitFor("44 122\r\n", DEADLINE);
    pty.write("\r~.");
    assert.equal((await statusOf(pty)).code, 255);
    await pty.waitFor(/onnection to .* closed/, DEADLINE);
  });

  Deno.test(`ssh ${way} stops by Ctrl-Z in a local shell, goes on by fg, and dies by Ctrl-C`, async () => {
    await using bench = await makeBench(way);
    await using pty = await Pty.spawn(["bash", "--norc", "--noprofile", "-i"], {
      env: { ...bench.sandbox.env, PS1: "$ " },
      columns: 500,
    });
    await pty.waitFor("$ ", DEADLINE);
    // Without the terminal as its input: that is read by the master, which Ctrl-Z does not stop.
    const script = "</dev/null 'echo st''art; until [ -e ~/go ]; do sleep 0.1; done; exit 5'";
    const call = bench.argv("host", script).join(" ").replaceAll("~", bench.sshd.user.home);
    pty.write(`${call}; echo =$?=\r`);
    await pty.waitFor("start\r\n", DEADLINE);
    pty.write("\x1a");
    await pty.waitFor("Stopped", DEADLINE);
    await pty.waitFor("$ ", DEADLINE);
    pty.write("fg; echo =$?=\r");
    await pty.waitFor("fg; ", DEADLINE);
    await Deno.writeTextFile(`${bench.sshd.user.home}/go`, "");
    await pty.waitFor("=5=\r\n", DEADLINE);
    await Deno.remove(`${bench.sshd.user.home}/go`);
    pty.write(`${call}; echo =$?=\r`);
    await pty.waitFor("start\r\n", DEADLINE);
    pty.write("\x03");
    await pty.waitFor("$ ", DEADLINE);
  });

  Deno.test(`ssh ${way} leaves Ctrl-C and Ctrl-Z to a shell on the other side`, async () => {
    await using bench = await makeBench(way);
    await using pty = await Pty.spawn(bench.argv("-t", "host", "PS1='> ' sh -i"), {
      env: bench.sandbox.env,
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

  Deno.test(`a real ssh that cannot be run ends ${way} with 127 or 126, and says so`, async () => {
    await using bench = await makeBench(way);
    const { sandbox } = bench;
    const missing = await sandbox.addProgram("missing", "#!/no/such/interpreter");
    const forbidden = await sandbox.addProgram("forbidden", "#!/etc/passwd");
    for (const [ssh, status] of [[missing, 127], [forbidden, 126]] as const) {
      const { code, stdout, stderr } = await sandbox.run(bench.argv("host"), {
        env: { SSHS_SSH: ssh },
      });
      assert.deepEqual([code, stdout], [status, ""]);
      assert.match(stderr, /^sshs: Cannot run .*$/m);
    }
  });
}

Deno.test("ssh as a child gets what kill(1) sends to its parent, and what the terminal sends once", async () => {
  await using sandbox = await Sandbox.create();
  // By sigwait(3), since signals that come close together are one to a shell's trap.
  const ssh = await sandbox.addProgram(
    "counting",
    `#!${needProgram("python3")} -IS
import signal
names = {signal.SIGINT, signal.SIGQUIT}
signal.pthread_sigmask(signal.SIG_BLOCK, names)
print("ready", flush=True)
while True:
    print("got", signal.sigwait(names).name, flush=True)
`,
  );
  await using pty = await Pty.spawn(["bash", "--norc", "--noprofile", "-i"], {
    env: { ...sandbox.env, PS1: "$ ", SSHS: "off", SSHS_SSH: ssh },
    columns: 500,
  });
  await pty.waitFor("$ ", DEADLINE);
  const call = sandbox.argv(["host"]).filter((word) => word !== "--allow-ffi").join(" ");
  pty.write(`${call} &\r`);
  await pty.waitFor("ready\r\n", DEADLINE);
  // To the one process: %1 would be the group.
  for (const name of ["INT", "QUIT"]) {
    pty.write(`kill -${name} $!\r`);
    await pty.waitFor(`got SIG${name}\r\n`, DEADLINE);
  }
  const before = pty.output.length;
  pty.write("fg\r");
  await pty.waitFor("host\r\n", DEADLINE);
  for (const [key, name] of [["\x03", "INT"], ["\x1c", "QUIT"]]) {
    pty.write(key);
    await pty.waitFor(`got SIG${name}\r\n`, DEADLINE);
  }
  // A second one would come when the parent has looked where it stands.
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.deepEqual(pty.output.slice(before).match(/got \w+/g), ["got SIGINT", "got SIGQUIT"]);
});

Deno.test("all exit statuses from 0 to 255 come through the installed ssh", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  await install(sandbox);
  const call = ["ssh", "-F", sshd.config, "host"];
  assert.equal((await sandbox.run([...call, "true"])).code, 0);
  assert.ok(sandbox.files().some((file) => file.startsWith("plans/")), "the next need no program");
  const script = 'for n; do "$SSH" -F "$CONFIG" host "exit $n" </dev/null; echo "$n $?"; done';
  const { stdout, stderr } = await sandbox.run(
    ["sh", "-c", `seq 0 255 | xargs -P 8 -n 32 sh -c '${script}' sh`],
    { env: { CONFIG: sshd.config, SSH: `${sandbox.dir}/prefix/bin/ssh` }, timeout: 120_000 },
  );
  assert.equal(stderr, "");
  const ended = Object.fromEntries(stdout.trimEnd().split("\n").map((line) => line.split(" ")));
  const expected = Array.from({ length: 256 }, (_, n) => [n, `${n}`]);
  assert.deepEqual(ended, Object.fromEntries(expected));
  assert.equal(sshd.logins(), 1);
});

async function statusOf(pty: Pty): Promise<Deno.CommandStatus> {
  let status: Deno.CommandStatus | undefined;
  pty.status.then((value) => status = value);
  return (await eventually("the end of the program", () => status, DEADLINE))!;
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

Deno.test("without ssh in PATH a call ends with 127, and says so in one line", async () => {
  await using sandbox = await Sandbox.create();
  const { code, stderr } = await sandbox.sshs(["host"], { env: { PATH: sandbox.bin } });
  assert.equal(code, 127);
  assert.match(stderr, /^sshs: Cannot find the real ssh: .*SSHS_SSH.*\n$/);
});

Deno.test("the ssh that a call has become has its pid, and no children", async () => {
  await using bench = await makeBench("by exec");
  const child = bench.sandbox.spawn(bench.argv("host", "cat"));
  await eventually("a session", () => bench.sshd.sessions() === 1, DEADLINE);
  const all = bench.sandbox.processes();
  const own = all.find(({ pid }) => pid === child.pid)!;
  assert.equal(own.args[0], needProgram("ssh"));
  assert.deepEqual(all.filter(({ ppid }) => ppid === child.pid), []);
  await child.stdin.close();
  assert.equal((await child.output()).code, 0);
});
