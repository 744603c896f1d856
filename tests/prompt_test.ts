import assert from "node:assert/strict";
import { type Account, canMakeAccounts } from "./support/account.ts";
import { eventually } from "./support/eventually.ts";
import { canMount } from "./support/mounts.ts";
import { isAlive } from "./support/processes.ts";
import { needProgram, run } from "./support/programs.ts";
import { Pty } from "./support/pty.ts";
import { Relay } from "./support/relay.ts";
import { Sandbox } from "./support/sandbox.ts";
import { canAskForCodes, Sshd } from "./support/sshd.ts";

const DEADLINE = { deadline: 20_000 };

/** A sandbox whose lanes go soon after their last session. */
async function makeSandbox(): Promise<Sandbox> {
  const sandbox = await Sandbox.create();
  Object.assign(sandbox.env, { SSHS_LOOK: "0.2", SSHS_LINGER: "1" });
  return sandbox;
}

/** sshs between two looks at the modes of its terminal. */
function atTerminal(sandbox: Sandbox, args: readonly string[], env = {}): Promise<Pty> {
  const script = 'trap : INT; stty -a; echo ready; "$@"; echo "status $?"; stty -a; echo over';
  const argv = ["sh", "-c", script, "sh", ...sandbox.argv(args)];
  return Pty.spawn(argv, { env: { ...sandbox.env, ...env } });
}

async function assertEnds(pty: Pty, status: number): Promise<void> {
  await pty.waitFor(`status ${status}`, DEADLINE);
  await pty.waitFor("over", DEADLINE);
  const [before, after] = pty.output.match(/^speed [^]*?(?=\r\n(ready|over))/gm)!;
  assert.equal(after, before, "the terminal's modes are as they were");
}

async function statusOf(pty: Pty): Promise<Deno.CommandStatus> {
  let status: Deno.CommandStatus | undefined;
  pty.status.then((value) => status = value);
  return (await eventually("the end of the program", () => status, DEADLINE))!;
}

/** No process is left and no file of a lane: the empty identity waits for the next sleeper. */
function assertNothingLeft(sandbox: Sandbox): Promise<void> {
  return sandbox.assertClean({ ...DEADLINE, ignore: /^[0-9a-f]{16}\/(identity|lock|failed)?$/ });
}

/** Ends what is shared, as its user would; then nothing at all is left. */
async function assertStopsClean(sandbox: Sandbox): Promise<void> {
  const { code, stderr } = await sandbox.sshs(["--stop", "--all", "--now"], { as: "sshs" });
  assert.deepEqual([code, stderr], [0, ""]);
  await sandbox.assertClean(DEADLINE);
}

/** What a login asks for, and the answer to it. */
interface Asked {
  readonly question: string | RegExp;
  right(user: Account): string;
  server(): Promise<Sshd>;
  config(sshd: Sshd): Promise<string>;
}

const PASSPHRASE = "a passphrase";

/** A client that knows the server already and has the key under a passphrase. */
async function withPassphrase(sshd: Sshd): Promise<string> {
  const key = `${sshd.dir}/locked_key`;
  await Deno.copyFile(`${sshd.dir}/user_key`, key);
  await run("ssh-keygen", ["-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", key]);
  const config = await sshd.writeConfig();
  const text = await Deno.readTextFile(config);
  await Deno.writeTextFile(config, text.replace("/user_key", "/locked_key"));
  return config;
}

const ASKED: Record<string, Asked> = {
  "a password": {
    question: "password: ",
    right: (user) => user.password!,
    server: () => Sshd.start({ passwords: true }),
    config: (sshd) => Promise.resolve(sshd.config),
  },
  "a password by keyboard-interactive": {
    question: /password: /i,
    right: (user) => user.password!,
    server: () => Sshd.start({ keyboardInteractive: true }),
    config: (sshd) => Promise.resolve(sshd.config),
  },
  "a key's passphrase": {
    question: /Enter passphrase for key .*: /,
    right: () => PASSPHRASE,
    server: () => Sshd.start(),
    config: withPassphrase,
  },
};

for (const [what, asked] of Object.entries(ASKED)) {
  const ignore = what.includes("password") && !canMakeAccounts;

  Deno.test({
    name: `${what} is asked for on the terminal, once more when wrong, and never shown`,
    ignore,
    fn: async () => {
      await using sshd = await asked.server();
      await using sandbox = await makeSandbox();
      // The second call may be long in coming, and the sleeper too.
      Object.assign(sandbox.env, { SSHS_LOOK: "2", SSHS_LINGER: "60" });
      const call = ["-F", await asked.config(sshd), "host"];
      const right = asked.right(sshd.user);
      await using pty = await atTerminal(sandbox, [...call, "echo logged in"]);
      await pty.waitFor(asked.question, DEADLINE);
      pty.write("wrong answer\r");
      await pty.waitFor(asked.question, DEADLINE);
      pty.write(`${right}\r`);
      await pty.waitFor("logged in", DEADLINE);
      await assertEnds(pty, 0);
      assert.doesNotMatch(pty.output, /wrong answer/);
      assert.equal(pty.output.includes(right), false);
      const second = await sandbox.sshs([...call, "echo again"]);
      assert.deepEqual([second.stdout, second.stderr], ["again\n", ""]);
      assert.equal(sshd.logins(), 1);
      // --stop would remove these too.
      assert.deepEqual(sandbox.files().filter((file) => /\.(ask|askpass|shell)$/.test(file)), []);
      await assertStopsClean(sandbox);
    },
  });

  Deno.test({
    name: `Ctrl-C at the question for ${what} ends the call by SIGINT, and nothing is left`,
    ignore,
    fn: async () => {
      await using sshd = await asked.server();
      await using sandbox = await makeSandbox();
      const call = ["-F", await asked.config(sshd), "host", "true"];
      await using pty = await atTerminal(sandbox, call);
      await pty.waitFor(asked.question, DEADLINE);
      pty.write("half an ans\x03");
      await assertEnds(pty, 130);
      await using direct = await Pty.spawn(sandbox.argv(call), { env: sandbox.env });
      await direct.waitFor(asked.question, DEADLINE);
      direct.write("\x03");
      assert.equal((await statusOf(direct)).signal, "SIGINT");
      await assertNothingLeft(sandbox);
      await assertStopsClean(sandbox);
      assert.equal(sshd.logins(), 0);
    },
  });
}

Deno.test({
  name: "a code that ssh would show as it is typed is asked for too, once more when wrong",
  ignore: !canAskForCodes,
  fn: async () => {
    const [first, second] = ["12345678", "23456789"];
    await using sshd = await Sshd.start({ codes: [first, second] });
    await using sandbox = await makeSandbox();
    const call = ["-F", sshd.config, "host", "echo logged in"];
    await using plain = await Pty.spawn([needProgram("ssh"), ...call], { env: sandbox.env });
    await plain.waitFor("Verification code: ", DEADLINE);
    plain.write(`${first}\r`);
    await plain.waitFor(first, DEADLINE);
    await plain.waitFor("logged in", DEADLINE);
    await using pty = await atTerminal(sandbox, call);
    await pty.waitFor("Verification code: ", DEADLINE);
    pty.write("00000000\r");
    await pty.waitFor("Verification code: ", DEADLINE);
    pty.write(`${second}\r`);
    await pty.waitFor("logged in", DEADLINE);
    await assertEnds(pty, 0);
    // ssh tells an askpass nothing of echo: to show a password would be worse than to hide a code.
    assert.doesNotMatch(pty.output, /00000000|23456789/);
    assert.equal(sshd.logins(), 2);
    await sandbox.assertClean(DEADLINE);
  },
});

Deno.test("the host key question is asked with echo, and yes lets the call go on", async () => {
  await using sshd = await Sshd.start({ client: { hostKeyChecking: "ask" } });
  await using sandbox = await makeSandbox();
  await using pty = await atTerminal(sandbox, ["-F", sshd.config, "host", "echo logged in"]);
  await pty.waitFor(
    /authenticity of host [^]*fingerprint is SHA256:[^]*\(yes\/no.*\)\? /,
    DEADLINE,
  );
  pty.write("what\r");
  await pty.waitFor(/what\s+Please type 'yes', 'no' or the fingerprint: /, DEADLINE);
  pty.write("yes\r");
  await pty.waitFor(/yes\s+Warning: Permanently added .*\s+logged in/, DEADLINE);
  await assertEnds(pty, 0);
  await sandbox.assertClean(DEADLINE);
});

Deno.test("a question reaches the terminal though no stream of the call is one", async () => {
  await using sshd = await Sshd.start({ client: { hostKeyChecking: "ask" } });
  await using sandbox = await makeSandbox();
  const argv = sandbox.argv(["-F", sshd.config, "host", "cat"]);
  const script = `echo input | "$@" 2>${sandbox.dir}/err | cat >${sandbox.dir}/out; echo done`;
  await using pty = await Pty.spawn(["sh", "-c", script, "sh", ...argv], { env: sandbox.env });
  await pty.waitFor("(yes/no", DEADLINE);
  pty.write("yes\r");
  await pty.waitFor("done", DEADLINE);
  assert.equal(await Deno.readTextFile(`${sandbox.dir}/out`), "input\n");
  assert.match(
    await Deno.readTextFile(`${sandbox.dir}/err`),
    /^Warning: Permanently added [^\n]*\n$/,
  );
});

Deno.test("no to the host key question ends the call as it ends ssh", async () => {
  await using sshd = await Sshd.start({ client: { hostKeyChecking: "ask" } });
  await using sandbox = await makeSandbox();
  await using pty = await atTerminal(sandbox, ["-F", sshd.config, "host", "true"]);
  await pty.waitFor("(yes/no", DEADLINE);
  pty.write("no\r");
  await pty.waitFor("Host key verification failed.", DEADLINE);
  await assertEnds(pty, 255);
  assert.equal(pty.output.match(/authenticity/g)!.length, 1);
  assert.doesNotMatch(pty.output, /sshs:/);
  await assertNothingLeft(sandbox);
});

Deno.test("Ctrl-C at the host key question ends the call by SIGINT, and nothing is left", async () => {
  await using sshd = await Sshd.start({ client: { hostKeyChecking: "ask" } });
  await using sandbox = await makeSandbox();
  const call = ["-F", sshd.config, "host", "true"];
  await using pty = await Pty.spawn(sandbox.argv(call), { env: sandbox.env });
  await pty.waitFor("(yes/no", DEADLINE);
  pty.write("y\x03");
  assert.equal((await statusOf(pty)).signal, "SIGINT");
  await assertNothingLeft(sandbox);
});

/** A server that takes connections and never says a word. */
function blackHole(): Deno.TcpListener {
  return Deno.listen({ hostname: "127.0.0.1", port: 0 });
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.test(`${signal} while the master connects ends the call by ${signal}, and nothing is left`, async () => {
    using hole = blackHole();
    await using sandbox = await makeSandbox();
    const call = ["-F", "none", "-p", `${hole.addr.port}`, "127.0.0.1", "true"];
    await using pty = await Pty.spawn(sandbox.argv(call), { env: sandbox.env });
    await eventually("the master connects", () => sandbox.masters().length === 1, DEADLINE);
    using _connected = await hole.accept();
    if (signal === "SIGINT") pty.write("\x03");
    else if (signal === "SIGHUP") pty.hangup();
    else Deno.kill(pty.pid, signal);
    assert.equal((await statusOf(pty)).signal, signal);
    await assertNothingLeft(sandbox);
  });
}

Deno.test("a signal that ends the caller at a question ends the question and the attempt", async () => {
  await using sshd = await Sshd.start({ client: { hostKeyChecking: "ask" } });
  await using sandbox = await makeSandbox();
  await using pty = await atTerminal(sandbox, ["-F", sshd.config, "host", "true"]);
  await pty.waitFor("(yes/no", DEADLINE);
  const caller = sandbox.processes().find(({ args }) =>
    args[0] === Deno.execPath() && args.includes("--as=ssh")
  )!;
  Deno.kill(caller.pid, "SIGTERM");
  await assertEnds(pty, 143);
  await assertNothingLeft(sandbox);
});

Deno.test("a closed terminal at a question ends the call, and nothing is left", async () => {
  await using sshd = await Sshd.start({ client: { hostKeyChecking: "ask" } });
  await using sandbox = await makeSandbox();
  const argv = sandbox.argv(["-F", sshd.config, "host", "true"]);
  await using pty = await Pty.spawn(argv, { env: sandbox.env });
  await pty.waitFor("(yes/no", DEADLINE);
  pty.hangup();
  assert.equal((await statusOf(pty)).signal, "SIGHUP");
  await assertNothingLeft(sandbox);
});

for (const shell of ["bash --norc --noprofile -i", "zsh -f -i", "busybox ash -i"]) {
  const [program] = shell.split(" ");
  Deno.test({
    name: `Ctrl-Z at a question stops the call, and fg in ${program} asks again`,
    ignore: !canMakeAccounts || !await hasProgram(program),
    fn: async () => {
      await using sshd = await Sshd.start({ passwords: true });
      await using sandbox = await makeSandbox();
      const env = { ...sandbox.env, PS1: "$ ", PROMPT: "$ " };
      await using pty = await Pty.spawn(shell.split(" "), { env, columns: 500 });
      await pty.waitFor("$ ", DEADLINE);
      const call = sandbox.argv(["-F", sshd.config, "host", "echo logged in"]);
      pty.write(`${call.join(" ").replace("echo logged in", "'echo logged in'")}; echo =$?=\r`);
      await pty.waitFor("password: ", DEADLINE);
      pty.write("half\x1a");
      await pty.waitFor(/stopped|suspended/i, DEADLINE);
      await pty.waitFor("$ ", DEADLINE);
      pty.write("echo ma''rk; fg\r");
      await pty.waitFor("mark\r\n", DEADLINE);
      await pty.waitFor("password: ", DEADLINE);
      pty.write(`${sshd.user.password}\r`);
      await pty.waitFor("\nlogged in\r\n", DEADLINE);
      await pty.waitFor("$ ", DEADLINE);
      // The shell has its echo back.
      pty.write("echo o''ver; stty -a\r");
      await pty.waitFor("over\r\n", DEADLINE);
      await pty.waitFor(/[^-]echo /, DEADLINE);
      assert.equal(pty.output.includes(sshd.user.password!), false);
      assert.equal(sshd.logins(), 1);
      pty.write("exit\r");
      await statusOf(pty);
      await assertStopsClean(sandbox);
    },
  });
}

Deno.test("Ctrl-Z while the master connects stops the call, and fg goes on with it", async () => {
  await using sshd = await Sshd.start();
  await using relay = Relay.start(sshd.port);
  await using sandbox = await makeSandbox();
  relay.cut();
  const config = await sshd.writeConfig({ port: relay.port });
  await using pty = await Pty.spawn(["bash", "--norc", "--noprofile", "-i"], {
    env: { ...sandbox.env, PS1: "$ " },
    columns: 500,
  });
  await pty.waitFor("$ ", DEADLINE);
  pty.write(`${sandbox.argv(["-F", config, "host", "echo", "logged", "in"]).join(" ")}\r`);
  await eventually("the master connects", () => relay.openConnections === 1, DEADLINE);
  pty.write("\x1a");
  await pty.waitFor("Stopped", DEADLINE);
  await pty.waitFor("$ ", DEADLINE);
  relay.restore();
  pty.write("fg\r");
  await pty.waitFor("\nlogged in\r\n", DEADLINE);
  await pty.waitFor("$ ", DEADLINE);
  assert.equal(sshd.logins(), 1);
  pty.write("exit\r");
  await statusOf(pty);
  await assertStopsClean(sandbox);
});

Deno.test({
  name:
    "where no program can be run from the state directory ssh asks by itself, and shares unasked",
  ignore: !canMount,
  fn: async () => {
    await using sshd = await Sshd.start({ client: { hostKeyChecking: "ask" } });
    await using sandbox = await makeSandbox();
    await Deno.mkdir(sandbox.stateDir, { mode: 0o700 });
    await run("mount", ["-t", "tmpfs", "-o", "noexec,mode=700", "sshs-test", sandbox.stateDir]);
    try {
      const proxy = ["-o", "ProxyCommand=ssh -F none -oBatchMode=yes -W %h:%p nowhere.invalid"];
      const call = ["-F", sshd.config, "host", "echo in"];
      await using asked = await atTerminal(sandbox, call);
      await asked.waitFor(/sshs: Not shared: it cannot ask.*\r\n[^]*\(yes\/no/, DEADLINE);
      asked.write("yes\r");
      await asked.waitFor("\nin\r\n", DEADLINE);
      await assertEnds(asked, 0);
      await using unasked = await atTerminal(sandbox, call);
      await unasked.waitFor("\nin\r\n", DEADLINE);
      await assertEnds(unasked, 0);
      assert.doesNotMatch(unasked.output, /sshs:/);
      assert.equal(sandbox.masters().length, 1);
      assert.equal((await sandbox.sshs([...proxy, ...call])).code, 255);
    } finally {
      await run("umount", ["--lazy", sandbox.stateDir]);
    }
  },
});

async function hasProgram(name: string): Promise<boolean> {
  return await run("sh", ["-c", `command -v ${name} || true`]) !== "";
}

Deno.test({
  name: "without a terminal a call that would have to ask fails as ssh does",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using sshd = await Sshd.start({ passwords: true });
    await using sandbox = await makeSandbox();
    const call = ["-F", sshd.config, "host", "true"];
    await sandbox.ssh(call); // Which adds the host key.
    const [ours, theirs] = [await sandbox.sshs(call), await sandbox.ssh(call)];
    assert.deepEqual(ours, theirs);
    assert.match(ours.stderr, /Permission denied/);
    await assertNothingLeft(sandbox);
  },
});

/** An askpass of the user's that answers with the password and notes each question. */
async function addAskpass(sandbox: Sandbox, user: Account): Promise<Record<string, string>> {
  const path = await sandbox.addProgram(
    "own-askpass",
    `echo "$1" >>${sandbox.dir}/asked; echo '${user.password}'`,
  );
  return { SSH_ASKPASS: path, DISPLAY: ":99" };
}

Deno.test({
  name: "the user's own SSH_ASKPASS is asked without a terminal",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using sshd = await Sshd.start({ passwords: true });
    await using sandbox = await makeSandbox();
    const env = await addAskpass(sandbox, sshd.user);
    const call = ["-F", sshd.config, "host", "echo logged in"];
    assert.equal((await sandbox.sshs(call, { env })).stdout, "logged in\n");
    assert.match(await Deno.readTextFile(`${sandbox.dir}/asked`), /password: $/m);
    assert.equal(sandbox.masters().length, 1);
    await sandbox.assertClean(DEADLINE);
  },
});

Deno.test({
  name: "the user's own SSH_ASKPASS is asked on a terminal only where ssh would ask it",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using sshd = await Sshd.start({ passwords: true });
    const call = ["-F", sshd.config, "host", "echo logged in"];
    const cases = [
      { env: { SSH_ASKPASS_REQUIRE: "force", DISPLAY: "" }, terminal: false },
      { env: { SSH_ASKPASS_REQUIRE: "prefer" }, terminal: false },
      { env: { SSH_ASKPASS_REQUIRE: "prefer", DISPLAY: "" }, terminal: true },
      { env: { SSH_ASKPASS_REQUIRE: "never" }, terminal: true },
      { env: {}, terminal: true },
    ];
    for (const { env, terminal } of cases) {
      await using sandbox = await makeSandbox();
      const all = { ...await addAskpass(sandbox, sshd.user), ...env };
      await using pty = await atTerminal(sandbox, call, all);
      if (terminal) {
        await pty.waitFor("password: ", DEADLINE);
        pty.write(`${sshd.user.password}\r`);
      }
      await pty.waitFor("logged in", DEADLINE);
      await assertEnds(pty, 0);
      assert.equal(pty.output.includes("password: "), terminal, JSON.stringify(env));
    }
  },
});

/** A call that asks what the script (sh) asks, in place of a master that logs in. */
async function askedBy(sandbox: Sandbox, script: string): Promise<Pty> {
  const ssh = (await run("sh", ["-c", "command -v ssh"])).trim();
  await sandbox.fakeSsh(
    `case " $* " in *" -G "*) exec ${ssh} "$@" ;; esac\n${script}\nexit 255`,
  );
  return await atTerminal(sandbox, ["-F", "none", "host", "true"]);
}

Deno.test("a question for consent is asked with echo", async () => {
  await using sandbox = await makeSandbox();
  await using pty = await askedBy(
    sandbox,
    'answer=$(SSH_ASKPASS_PROMPT=confirm "$SSH_ASKPASS" "Allow use of key? "); echo "<$answer>" >&2',
  );
  await pty.waitFor("Allow use of key? ", DEADLINE);
  pty.write("yes\r");
  await pty.waitFor(/yes\s+<yes>/, DEADLINE);
  await assertEnds(pty, 255);
});

Deno.test("a notice is only shown, and goes when its askpass is ended", async () => {
  await using sandbox = await makeSandbox();
  await using pty = await askedBy(
    sandbox,
    `SSH_ASKPASS_PROMPT=none "$SSH_ASKPASS" "Confirm user presence" &
    until [ -e ${sandbox.dir}/touched ]; do sleep 0.1; done; kill $!; wait
    "$SSH_ASKPASS" "And a secret: " >/dev/null; echo "no answer: $?" >&2`,
  );
  await pty.waitFor("Confirm user presence\r\n", DEADLINE);
  await Deno.writeTextFile(`${sandbox.dir}/touched`, "");
  await pty.waitFor("And a secret: ", DEADLINE);
  pty.write("\x04");
  await pty.waitFor("no answer: 1", DEADLINE);
  await assertEnds(pty, 255);
  await assertNothingLeft(sandbox);
});

Deno.test("a question is withdrawn when the master that asked is gone", async () => {
  await using sandbox = await makeSandbox();
  await using pty = await askedBy(
    sandbox,
    '"$SSH_ASKPASS" "secret: " & sleep 1; kill $!; wait; echo went >&2',
  );
  await pty.waitFor("secret: ", DEADLINE);
  await pty.waitFor("went", DEADLINE);
  await assertEnds(pty, 255);
  await assertNothingLeft(sandbox);
});

Deno.test("what a question holds cannot steer the terminal, and comes after what was said before", async () => {
  await using sandbox = await makeSandbox();
  await using pty = await askedBy(
    sandbox,
    `echo said before >&2; "$SSH_ASKPASS" "$(printf 'title: \\033]0;x\\007 \\302\\233')"`,
  );
  await pty.waitFor(/said before\s+title: \^\[\]0;x\^G \\u9b/, DEADLINE);
  pty.write("\r");
  await assertEnds(pty, 255);
});

Deno.test("an answer reaches ssh byte for byte", async () => {
  await using sandbox = await makeSandbox();
  await using pty = await askedBy(
    sandbox,
    '"$SSH_ASKPASS" "secret: " | od -An -tx1 >&2',
  );
  await pty.waitFor("secret: ", DEADLINE);
  pty.write(" \u00e9\\ '\"\t \r");
  await pty.waitFor("20 c3 a9 5c 20 27 22 09 20 0a", DEADLINE);
  await assertEnds(pty, 255);
});

/** A server behind a jump host that greets, and a client's config for both ways to it. */
async function behindJumpHost(): Promise<AsyncDisposable & { target: Sshd; config: string }> {
  const jump = await Sshd.start({ banner: "The jump host's words\n" });
  const target = await Sshd.start();
  const knowsJump = (await Deno.readTextFile(jump.config)).replace("Host host", "Host jump");
  const config = `${target.dir}/both`;
  const text = await Deno.readTextFile(target.config) + knowsJump;
  await Deno.writeTextFile(config, text);
  return {
    target,
    config,
    async [Symbol.asyncDispose]() {
      await target[Symbol.asyncDispose]();
      await jump[Symbol.asyncDispose]();
    },
  };
}

for (const way of ["a jump host", "a ProxyCommand"]) {
  Deno.test(`behind ${way} neither Ctrl-C nor a closed terminal reaches the master and the other sessions`, async () => {
    await using net = await behindJumpHost();
    await using sandbox = await makeSandbox();
    sandbox.env.SSHS_LINGER = "4";
    const through = way === "a jump host"
      ? ["-J", "jump"]
      : ["-o", `ProxyCommand=ssh -F ${net.config} -W %h:%p jump`];
    const call = ["-F", net.config, ...through, "host"];
    await using first = await Pty.spawn(sandbox.argv([...call, "echo one; cat"]), {
      env: sandbox.env,
    });
    await first.waitFor("one", DEADLINE);
    assert.match(first.output, /The jump host's words/);
    await using second = await Pty.spawn(sandbox.argv([...call, "echo two; cat"]), {
      env: sandbox.env,
    });
    await second.waitFor("two", DEADLINE);
    const third = sandbox.spawnSshs([...call, "cat"]);
    await eventually("the third session runs", () => net.target.sessions() === 3, DEADLINE);
    const masters = sandbox.masters().map(({ pid }) => pid);
    first.write("\x03");
    await statusOf(first);
    second.hangup();
    await statusOf(second);
    const writer = third.stdin.getWriter();
    await writer.write(new TextEncoder().encode("still here\n"));
    await writer.close();
    const { code, stdout } = await third.output();
    assert.deepEqual([code, new TextDecoder().decode(stdout)], [0, "still here\n"]);
    assert.deepEqual(masters.filter(isAlive), masters);
    const after = await sandbox.sshs([...call, "echo after"]);
    assert.deepEqual([after.stdout, after.stderr], ["after\n", ""]);
    assert.equal(net.target.logins(), 1);
    await sandbox.assertClean(DEADLINE);
  });
}

for (const through of [[], ["-J", "jump"], ["-o", "ProxyCommand=ssh -F CONFIG -W %h:%p jump"]]) {
  Deno.test(`a first call with -v ${through.join(" ")} leaves no pipe held`, async () => {
    await using net = await behindJumpHost();
    await using sandbox = await makeSandbox();
    sandbox.env.SSHS_LINGER = "600";
    const words = through.map((word) => word.replace("CONFIG", net.config));
    const argv = sandbox.argv(["-v", "-F", net.config, ...words, "host", "true"]);
    // Ends only when everybody who holds the pipe has let go.
    const shown = await sandbox.run(["sh", "-c", '"$@" 2>&1 | cat', "sh", ...argv]);
    assert.match(shown.stdout, /debug1: Authentication succeeded|debug1: .*mux/);
    assert.equal(net.target.logins(), 1);
    assert.notEqual(sandbox.masters().length, 0);
  });
}
