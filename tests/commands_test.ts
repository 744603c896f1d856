/** Our own commands against a real sshd. */
import assert from "node:assert/strict";
import { canMakeAccounts } from "./support/account.ts";
import { eventually } from "./support/eventually.ts";
import { isAlive } from "./support/processes.ts";
import { needProgram } from "./support/programs.ts";
import { Pty } from "./support/pty.ts";
import { type RunResult, Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const DEADLINE = { deadline: 30_000 };

/** A server, and a sandbox whose sleeper looks often; a master waits three looks for it. */
async function begin(options: Parameters<typeof Sshd.start>[0] = {}) {
  const stack = new AsyncDisposableStack();
  const sshd = stack.use(await Sshd.start(options));
  const sandbox = stack.use(await Sandbox.create());
  sandbox.env.SSHS_LOOK = "2";
  return {
    sshd,
    sandbox,
    sshs: (...args: string[]) => sandbox.sshs(args, { as: "sshs" }),
    call: (...args: string[]) => sandbox.sshs(["-F", sshd.config, ...args]),
    /** A session that runs until its end is asked for. */
    session: async (host = "host") => {
      const child = sandbox.spawnSshs(["-F", sshd.config, host, "echo up; cat"]);
      const reader = child.stdout.getReader();
      await reader.read();
      return {
        child,
        async end() {
          await child.stdin.close();
          while (!(await reader.read()).done);
          await child.stderr.cancel();
          return await child.status;
        },
      };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function expect({ code, stdout, stderr }: RunResult, want: Partial<RunResult>): void {
  for (const [key, value] of Object.entries(want)) {
    assert.deepEqual({ code, stdout, stderr }[key as "code"], value, `${key}: ${stdout}${stderr}`);
  }
}

Deno.test("--list tells of each lane, in columns and as JSON", async () => {
  await using test = await begin();
  expect(await test.sshs("--list"), { code: 0, stdout: "Nothing is shared\n", stderr: "" });
  expect(await test.sshs("--list", "--json"), { code: 0, stdout: "[]\n", stderr: "" });
  assert.deepEqual(test.sandbox.files(), [], "looking makes nothing");
  const session = await test.session();
  const [lane] = JSON.parse((await test.sshs("--list", "--json")).stdout);
  assert.deepEqual(
    Object.keys(lane).join(" "),
    [
      "destination resolved identity lane socket pid state sessions maxSessions",
      "age idle linger goesIn held roundTrip",
    ].join(" "),
  );
  assert.equal(lane.destination, "host");
  assert.equal(lane.resolved, `${test.sshd.user.name}@127.0.0.1:${test.sshd.port}`);
  assert.equal(lane.pid, test.sandbox.masters()[0].pid);
  assert.deepEqual([lane.sessions, lane.idle, lane.goesIn], [1, null, null]);
  assert.equal(Deno.lstatSync(lane.socket).isSocket, true);
  await session.end();
  const [idle] = JSON.parse((await test.sshs("--list", "--json")).stdout);
  assert.deepEqual([idle.sessions, idle.linger], [0, 600]);
  assert.ok(idle.goesIn > 500 && idle.goesIn <= 600, `${idle.goesIn}`);
  const { stdout } = await test.sshs("--list");
  assert.match(
    stdout,
    /^HOST +STATE +PID +IN USE +AGE +IDLE +GOES IN +PING\nhost +\w+ +\d+ +0\/10 /,
  );
  assert.ok(!stdout.includes("\x1b"), "no colour without a terminal");
});

Deno.test("--list has colours on a terminal, but not under NO_COLOR", async () => {
  await using test = await begin();
  await test.call("host", "true");
  for (const [env, coloured] of [[{}, true], [{ NO_COLOR: "1" }, false]] as const) {
    await using pty = await Pty.spawn(test.sandbox.argv(["--list"], "sshs"), {
      env: { ...test.sandbox.env, ...env },
    });
    assert.equal((await pty.status).code, 0);
    assert.match(pty.output, /0\/10/);
    assert.equal(pty.output.includes("\x1b["), coloured, pty.output);
  }
});

Deno.test("--stop lets live sessions finish, and --now does not", async () => {
  await using test = await begin();
  const session = await test.session();
  const gentle = await test.sshs("--stop", "host");
  expect(gentle, { code: 0, stderr: "" });
  assert.match(gentle.stdout, /^host: takes no new sessions; .*1 session\)/);
  const [lane] = JSON.parse((await test.sshs("--list", "--json")).stdout);
  assert.deepEqual([lane.state, lane.sessions], ["retired", 1]);
  expect(await test.call("host", "echo new"), { code: 0, stdout: "new\n" });
  assert.equal(test.sshd.logins(), 2);
  assert.equal((await session.end()).code, 0, "the session went on");
  await eventually("the retired master goes", () => test.sandbox.masters().length === 1, DEADLINE);

  const other = await test.session();
  const hard = await test.sshs("--stop", "host", "--now");
  expect(hard, { code: 0, stderr: "", stdout: "host: stopped, with 1 session\n" });
  assert.equal((await other.end()).code, 255);
  assert.deepEqual(test.sandbox.masters(), []);
});

Deno.test("--stop knows a lane by other names, and says what there is", async () => {
  await using test = await begin({ client: { aliases: ["other"] } });
  const names = [
    ["127.0.0.1"],
    [`${test.sshd.user.name}@127.0.0.1`],
    ["-F", test.sshd.config, "other"],
    ["-F", test.sshd.config, "-p", `${test.sshd.port}`, "host"],
  ];
  for (const name of names) {
    await test.call("host", "true");
    expect(await test.sshs("--stop", ...name), { code: 0, stdout: "host: stopped\n" });
  }
  await test.call("host", "true");
  const { code, stderr } = await test.sshs("--stop", "nobody");
  assert.equal(code, 1);
  assert.match(stderr, /No nobody is shared; there is host/);
  assert.equal(test.sandbox.masters().length, 1);
});

Deno.test("--stop --all --now leaves nothing running, sleeper or not", async () => {
  await using test = await begin({ client: { aliases: ["a", "b"], config: ["Compression yes"] } });
  for (const how of ["awake", "killed"]) {
    const session = await test.session();
    await test.call("-C", "-4", "a", "true");
    const [sleeper] = await eventually("a sleeper", () => {
      const found = test.sandbox.sleepers();
      return found.length > 0 && found;
    }, DEADLINE) || [];
    if (how === "killed") Deno.kill(sleeper.pid, "SIGKILL");
    expect(await test.sshs("--stop", "--all", "--now"), { code: 0, stderr: "" });
    await session.end();
    await test.sandbox.assertClean(DEADLINE);
  }
  expect(await test.sshs("--stop", "--all"), { code: 0, stdout: "Nothing is shared\n" });
});

Deno.test("--stop --now ends a master that is stopped", async () => {
  await using test = await begin();
  await test.call("host", "true");
  const [{ pid }] = test.sandbox.masters();
  await eventually("the sleeper has it", async () => {
    const record = test.sandbox.files().find((file) => file.endsWith(".lane"));
    return (await Deno.readTextFile(`${test.sandbox.stateDir}/${record}`)).includes("birth");
  }, DEADLINE);
  Deno.kill(pid, "SIGSTOP");
  expect(await test.sshs("--stop", "host", "--now"), { code: 0, stdout: "host: stopped\n" });
  assert.equal(isAlive(pid), false);
});

Deno.test("--warm opens many, and has a line for each failure", async () => {
  await using test = await begin({ client: { aliases: ["a", "b"] } });
  const config = `${test.sandbox.dir}/config`;
  await Deno.writeTextFile(
    config,
    `Host closed\nHostName 127.0.0.1\nPort 1\nHost b\nCompression yes\nHost *\nInclude ${test.sshd.config}\n`,
  );
  const { code, stdout, stderr } = await test.sshs("--warm", "-F", config, "a", "closed", "b");
  assert.equal(code, 1, stderr);
  assert.equal(stdout, "");
  assert.match(stderr, /^sshs: closed: .*Connection refused\n$/);
  assert.equal(test.sshd.logins(), 2);
  assert.equal(test.sshd.sessions(), 0);
  for (const host of ["a", "b"]) {
    expect(await test.sandbox.sshs(["-F", config, host, "echo hi"]), { code: 0, stdout: "hi\n" });
  }
  assert.equal(test.sshd.logins(), 2, "the calls ride what was opened");
  expect(await test.sshs("--warm", "-F", config, "a", "b"), { code: 0, stderr: "" });
  const lanes = JSON.parse((await test.sshs("--list", "--json")).stdout);
  assert.deepEqual(lanes.map((lane: { sessions: number }) => lane.sessions), [0, 0]);
});

Deno.test("--warm logs in to 8 hosts at a time", async () => {
  await using sandbox = await Sandbox.create();
  sandbox.env.SSHS_LOOK = "0.5";
  const [log, go] = [`${sandbox.dir}/log`, `${sandbox.dir}/go`];
  await sandbox.fakeSsh(
    `case $1 in -M)
      echo in >>${log}; until [ -e ${go} ]; do sleep 0.05; done; echo out >>${log}
      echo refused >&2; exit 255
    esac
    exec ${needProgram("ssh")} "$@"`,
  );
  await Deno.writeTextFile(log, "");
  /** How many were inside at once at most. */
  const most = () => {
    let [now, most] = [0, 0];
    for (const line of Deno.readTextFileSync(log).split("\n")) {
      now += line === "in" ? 1 : line === "out" ? -1 : 0;
      most = Math.max(most, now);
    }
    return most;
  };
  const hosts = Array.from({ length: 12 }, (_, i) => `host${i}.invalid`);
  const warm = sandbox.sshs(["--warm", "-F", "none", ...hosts], { as: "sshs" });
  await eventually("8 log in", () => most() >= 8, DEADLINE);
  // Were there no limit, the others would be on their heels.
  await new Promise((resolve) => setTimeout(resolve, 500));
  await Deno.writeTextFile(go, "");
  const { code, stderr } = await warm;
  assert.equal(most(), 8);
  assert.equal(code, 1);
  assert.deepEqual(
    stderr.trimEnd().split("\n").sort(),
    hosts.map((host) => `sshs: ${host}: refused`).sort(),
  );
  await sandbox.assertClean(DEADLINE);
});

Deno.test("--warm says that a lane without linger does not stay", async () => {
  await using test = await begin();
  test.sandbox.env.SSHS_LINGER = "0";
  const { code, stderr } = await test.sshs("--warm", "-F", test.sshd.config, "host");
  assert.equal(code, 1);
  assert.match(stderr, /its linger is 0; try: sshs --hold 10m host/);
  await test.sandbox.assertClean(DEADLINE);
});

Deno.test({
  name: "--warm counts on a terminal, and asks one question at a time",
  ignore: !canMakeAccounts,
  async fn() {
    await using test = await begin({
      passwords: true,
      client: { aliases: ["a"], config: ["NumberOfPasswordPrompts 1"] },
    });
    const other = await test.sshd.writeConfig({ aliases: ["b"], config: ["Compression yes"] });
    const config = `${test.sandbox.dir}/config`;
    await Deno.writeTextFile(
      config,
      `Host b\nInclude ${other}\nHost *\nInclude ${test.sshd.config}\n`,
    );
    const argv = test.sandbox.argv(["--warm", "-F", config, "a", "b"], "sshs");
    await using pty = await Pty.spawn(argv, { env: test.sandbox.env });
    for (let i = 0; i < 2; i++) {
      await pty.waitFor("password: ", DEADLINE);
      assert.equal(pty.output.match(/password: /g)?.length, i + 1, pty.output);
      pty.write(`${test.sshd.user.password}\r`);
    }
    await pty.waitFor("2 of 2 up", DEADLINE);
    assert.equal((await pty.status).code, 0);
    assert.equal(test.sshd.logins(), 2);
  },
});

Deno.test("--hold keeps a lane whatever its linger, until it is taken back", async () => {
  await using test = await begin();
  test.sandbox.env.SSHS_LINGER = "0";
  const held = await test.sshs("--hold", "1h", "-F", test.sshd.config, "host");
  expect(held, { code: 0, stderr: "" });
  assert.match(held.stdout, /^host: held for 1h, until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n$/);
  for (let i = 0; i < 2; i++) {
    expect(await test.call("host", "echo hi"), { code: 0, stdout: "hi\n" });
  }
  assert.equal(test.sshd.logins(), 1);
  const [lane] = JSON.parse((await test.sshs("--list", "--json")).stdout);
  assert.equal(lane.held, true);
  assert.ok(lane.goesIn > 3500, `${lane.goesIn}`);
  expect(await test.sshs("--hold", "0", "host"), { code: 0, stdout: "host: no longer held\n" });
  await test.sandbox.assertClean(DEADLINE);
  expect(await test.sshs("--hold", "0", "host"), {
    code: 1,
    stderr: "sshs: host: nothing is held\n",
  });
});

Deno.test("--fresh logs in anew, and lets the old sessions live", async () => {
  await using test = await begin();
  const session = await test.session();
  const fresh = await test.sshs("--fresh", "-F", test.sshd.config, "host", "echo new; exit 3");
  expect(fresh, { code: 3, stdout: "new\n", stderr: "" });
  assert.equal(test.sshd.logins(), 2);
  expect(await test.call("host", "echo again"), { code: 0, stdout: "again\n" });
  assert.equal(test.sshd.logins(), 2, "the new lane is the one that is shared");
  assert.equal((await session.end()).code, 0);
  await eventually("the old master goes", () => test.sandbox.masters().length === 1, DEADLINE);
});

Deno.test("--why tells the decision, and touches no network", async () => {
  await using test = await begin();
  const call = ["-F", test.sshd.config, "host", "ls", "a b"];
  const before = JSON.parse((await test.sshs("--why", "--json", ...call)).stdout);
  assert.deepEqual([before.decision, before.lane, before.launcher], ["share", null, false]);
  assert.match(before.identity, /^[0-9a-f]{16}$/);
  assert.match(before.command[2], /\/XXXX\.sock$/);
  assert.equal(test.sshd.connections(), 0);
  assert.deepEqual(test.sandbox.processes(), []);

  await test.call("host", "true");
  const after = await eventually("the far end is known to live", async () => {
    const now = JSON.parse((await test.sshs("--why", "--json", ...call)).stdout);
    return now.lane?.state === "open" && now;
  }, DEADLINE);
  const [lane] = JSON.parse((await test.sshs("--list", "--json")).stdout);
  assert.deepEqual([after.decision, after.reason, after.launcher], [
    "share",
    "a lane is open",
    true,
  ]);
  assert.deepEqual([after.identity, after.lane.lane], [before.identity, lane.lane]);
  assert.deepEqual(after.command.slice(1), ["-S", lane.socket, "-o", "ControlMaster=no", ...call]);
  const { code, stdout } = await test.sshs("--why", ...call);
  assert.equal(code, 0);
  assert.match(stdout, /^shares +a lane is open/m);
  assert.match(stdout, /^command +\/\S+ -S \S+ -o ControlMaster=no -F \S+ host ls 'a b'$/m);
});

Deno.test("--why tells what would make a call share", async () => {
  await using test = await begin({ client: { config: ["LocalForward 1234 localhost:5"] } });
  const { code, stdout } = await test.sshs("--why", "-F", test.sshd.config, "host");
  assert.equal(code, 0);
  assert.match(stdout, /^direct +the configuration forwards ports/m);
  assert.match(stdout, /^to share +pass -o ClearAllForwardings=yes/m);
  const { stdout: json } = await test.sshs("--why", "--json", "-V");
  const { decision, command, lane, identity } = JSON.parse(json);
  assert.deepEqual([decision, lane, identity], ["direct", null, null]);
  assert.deepEqual(command.slice(1), ["-V"]);
});

Deno.test("--doctor is content with a good setup, and has a next step for each trouble", async () => {
  await using test = await begin();
  const { sandbox } = test;
  const launcher = "#!/bin/sh\n# sshs launcher\nexit 1\n";
  for (const name of ["ssh", "scp", "sftp"]) await sandbox.addProgram(name, launcher);
  const good = await test.sshs("--doctor", "-F", test.sshd.config, "host");
  expect(good, { code: 0, stderr: "" });
  assert.ok(!/^warn/m.test(good.stdout), good.stdout);
  assert.match(good.stdout, /^ok +OpenSSH_\S+/m);
  assert.match(good.stdout, new RegExp(`^ok +ssh in PATH is sshs: ${sandbox.bin}/ssh$`, "m"));

  await Deno.mkdir(`${sandbox.home}/.config/sshs`, { recursive: true });
  await Deno.writeTextFile(`${sandbox.home}/.config/sshs/config.json`, '{ "lingr": 1 }');
  sandbox.env.PATH = `${sandbox.env.PATH}:${sandbox.bin}`.replace(`${sandbox.bin}:`, "");
  sandbox.env.SSHS_LINGER = "soon";
  await Deno.chmod(sandbox.stateDir, 0o755);
  const bad = await test.sshs("--doctor");
  assert.equal(bad.code, 1);
  assert.match(bad.stdout, /^warn +\S+\/ssh stands in PATH before sshs' own\n +export PATH="/m);
  assert.match(
    bad.stdout,
    /^warn +the state directory .* can be used by others .*\n +set SSHS_DIR/m,
  );
  assert.match(bad.stdout, /^warn +not read: .*lingr is unknown.*\n +edit /m);
  assert.match(bad.stdout, /^warn +SSHS_LINGER=soon is no duration\n +export /m);
});

Deno.test("--list says why a state directory is not looked at", async () => {
  await using test = await begin();
  await Deno.mkdir(test.sandbox.stateDir, { mode: 0o755 });
  const { code, stdout, stderr } = await test.sshs("--list");
  assert.deepEqual([code, stdout], [1, ""]);
  assert.match(stderr, /^sshs: .* can be used by others \(chmod 700 it\)/);
});

Deno.test("wrong use exits 2 with the next thing to type", async () => {
  await using sandbox = await Sandbox.create();
  const { code, stdout, stderr } = await sandbox.sshs(["--lst", "--json"], { as: "sshs" });
  assert.deepEqual([code, stdout], [2, ""]);
  assert.equal(stderr, "sshs: There is no --lst; try: sshs --list --json\n");
});

Deno.test("--help and --version are on stdout", async () => {
  await using sandbox = await Sandbox.create();
  const help = await sandbox.sshs(["--help"], { as: "sshs" });
  assert.deepEqual([help.code, help.stderr], [0, ""]);
  assert.match(help.stdout, /^sshs - ssh with/);
  const version = await sandbox.sshs(["--version"], { as: "sshs" });
  assert.match(version.stdout, /^sshs \d+\.\d+\.\d+, Deno \d+\.\d+\.\d+\S*, OpenSSH_\S+/);
});

Deno.test("a destination is no command, and `ssh --list` is for ssh to refuse", async () => {
  await using sandbox = await Sandbox.create();
  await sandbox.fakeSsh("exit 7");
  assert.equal((await sandbox.sshs(["list"], { as: "sshs" })).code, 7);
  assert.deepEqual(sandbox.recorded().at(-1), ["list"]);
  assert.equal((await sandbox.sshs(["host", "--stop", "--all"], { as: "sshs" })).code, 7);
  assert.deepEqual(sandbox.recorded().at(-1), ["host", "--stop", "--all"]);
  assert.equal((await sandbox.sshs(["--list"])).code, 7);
  assert.deepEqual(sandbox.recorded().at(-1), ["--list"]);
});

Deno.test("--doctor names what ssh's configuration holds against sharing, and what to do about it", async () => {
  await using test = await begin();
  const config = `${test.sandbox.dir}/config`;
  const rows = [
    {
      lines: "LocalForward 1234 localhost:5",
      says: /^warn +host would go direct: the configuration forwards ports.*\n +pass -o ClearAll/m,
    },
    {
      lines: "PermitLocalCommand yes\nLocalCommand true",
      says: /^warn +host would go direct: .*LocalCommand.*\n +\S/m,
    },
    { lines: "ControlMaster ask", says: /^warn +host would go direct: .*ControlMaster.*\n +\S/m },
    // Of the user's own pair sshs takes the place.
    {
      lines: "ControlMaster auto\nControlPath ~/.ssh/%C\nControlPersist 60",
      says: /^ok +host would be shared$/m,
    },
  ];
  for (const { lines, says } of rows) {
    await Deno.writeTextFile(config, `Host *\n${lines}\n`);
    assert.match(
      (await test.sshs("--doctor", "-F", config, "host")).stdout.replaceAll(`-F ${config} `, ""),
      says,
    );
  }
  assert.equal(test.sshd.connections(), 0);
});

Deno.test("--doctor knows OpenSSH 10.1's trouble with shared terminals", async () => {
  await using test = await begin();
  for (const [version, warns] of [["10.1p1", true], ["10.2p1", false]] as const) {
    await test.sandbox.fakeSsh(
      `[ "$*" = -V ] && { echo 'OpenSSH_${version}, OpenSSL 3.5.4' >&2; exit; }
      exec ${needProgram("ssh")} "$@"`,
    );
    const { stdout } = await test.sshs("--doctor", "-F", test.sshd.config, "host");
    const trouble = /^warn +OpenSSH_10\.1p1 at \S+\/ssh: .*IPQoS.*\n +install OpenSSH 10\.2/m;
    assert.equal(trouble.test(stdout), warns, stdout);
    assert.match(stdout, new RegExp(`^${warns ? "warn" : "ok"} +OpenSSH_${version} at`, "m"));
  }
});
