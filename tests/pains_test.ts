/**
 * What users suffer from with `ControlMaster auto` + `ControlPersist`, ranked by how often it turns up
 * in public trackers. Each test first shows the stock pair at it; other files prove in depth what is
 * here in short.
 */
import assert from "node:assert/strict";
import { versionOf } from "../lib/call/decision.ts";
import { account, canMakeAccounts } from "./support/account.ts";
import { eventually } from "./support/eventually.ts";
import { exists } from "./support/exists.ts";
import { endAll, isAlive, signal } from "./support/processes.ts";
import { needProgram, run, SSHS } from "./support/programs.ts";
import { Pty } from "./support/pty.ts";
import { Relay } from "./support/relay.ts";
import { type RunOptions, type RunResult, Sandbox } from "./support/sandbox.ts";
import { Sshd, type SshdOptions } from "./support/sshd.ts";

const DEADLINE = { deadline: 30_000 };

/** A server, and a sandbox that calls it by the stock pair and by sshs. */
class Pair implements AsyncDisposable {
  readonly sshd: Sshd;
  readonly sandbox: Sandbox;
  /** The stock pair's control socket. */
  readonly socket: string;
  config: string;

  private constructor(sshd: Sshd, sandbox: Sandbox) {
    this.sshd = sshd;
    this.sandbox = sandbox;
    this.config = sshd.config;
    this.socket = `${sandbox.dir}/stock`;
  }

  static async create(options: SshdOptions = {}): Promise<Pair> {
    return new Pair(await Sshd.start(options), await Sandbox.create());
  }

  /** The words after `ssh` that make it the stock pair. */
  stockArgs(...argv: string[]): string[] {
    const path = argv.includes("-S") ? [] : ["-S", this.socket];
    const auto = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60"];
    return ["-F", this.config, ...path, ...auto, ...argv];
  }

  stock(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.sandbox.ssh(this.stockArgs(...argv), options);
  }

  sshs(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.sandbox.sshs(["-F", this.config, ...argv], options);
  }

  /** Starts a session that lasts until its input ends, and waits until it is up. */
  async hold(argv: readonly string[]): Promise<Deno.ChildProcess> {
    const child = this.sandbox.spawn(argv);
    let said = "";
    child.stdout.pipeThrough(new TextDecoderStream()).pipeTo(
      new WritableStream({
        write(text) {
          said += text;
        },
      }),
    );
    await eventually("the session is up", () => said.includes("up"), DEADLINE);
    return child;
  }

  /** Ends the stock pair's master. */
  async endStock(): Promise<void> {
    await this.sandbox.ssh(["-F", this.config, "-S", this.socket, "-O", "exit", "host"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sandbox[Symbol.asyncDispose]();
    await this.sshd[Symbol.asyncDispose]();
  }
}

function assertQuiet(result: RunResult, stdout: string): void {
  assert.deepEqual([result.code, result.stdout, result.stderr], [0, stdout, ""]);
}

/** Whether a promise is settled in so many ms. */
async function settles(promise: Promise<unknown>, patience = 1000): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), patience);
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What holds the output of a program after its end. */
async function holdsOutput(child: Deno.ChildProcess): Promise<boolean> {
  const output = Promise.all([child.stdout.bytes(), child.stderr.bytes(), child.stdin.close()]);
  await child.status;
  return !await settles(output);
}

Deno.test("1: nothing of the caller is held, with -v or a ProxyCommand neither", async (t) => {
  await using jump = await Sshd.start();
  const rows: [name: string, options: string[]][] = [
    ["-v", ["-v"]],
    ["-v and a ProxyCommand", ["-v", "-o", `ProxyCommand=ssh -F ${jump.config} -W %h:%p host`]],
  ];
  for (const [name, options] of rows) {
    await t.step(name, async () => {
      await using pair = await Pair.create();
      const stock = pair.sandbox.spawn(["ssh", ...pair.stockArgs(...options, "host", "true")]);
      assert.ok(await holdsOutput(stock));
      await pair.endStock();
      const ours = pair.sandbox.spawnSshs(["-F", pair.config, ...options, "host", "true"]);
      assert.ok(!await holdsOutput(ours));
      assert.equal(pair.sandbox.masters().length, 1);
    });
  }
});

Deno.test("2: calls at the same moment make one login, and no noise", async () => {
  await using pair = await Pair.create();
  await using relay = Relay.start(pair.sshd.port, { delayMs: 10 });
  pair.config = await pair.sshd.writeConfig({ port: relay.port });
  const count = 8;
  const calls = Array.from({ length: count }, (_, i) => ["host", `echo ${i}`]);
  await pair.sandbox.ssh(["-F", pair.config, "host", "true"]); // The host key is known from now on.

  const before = pair.sshd.logins();
  const stock = await Promise.all(calls.map((argv) => pair.stock(argv)));
  assert.ok(pair.sshd.logins() - before > 1);
  assert.ok(stock.some(({ stderr }) => stderr.includes("already exists, disabling multiplexing")));

  const between = pair.sshd.logins();
  const ours = await Promise.all(calls.map((argv) => pair.sshs(argv)));
  ours.forEach((result, i) => assertQuiet(result, `${i}\n`));
  assert.equal(pair.sshd.logins() - between, 1);
});

Deno.test("3: the eleventh session on an ordinary server finds a place, and no noise", async () => {
  await using pair = await Pair.create();
  const holding = ["host", "echo up; cat"];
  const last = ["host", "echo last"];

  await pair.stock(["host", "true"]);
  for (let i = 0; i < 10; i++) await pair.hold(["ssh", ...pair.stockArgs(...holding)]);
  const refused = await pair.stock(last);
  assert.match(refused.stderr, /Session open refused by peer/);
  const stockLogins = pair.sshd.logins();
  // A login of its own, which nobody after it can use.
  await pair.stock(last);
  assert.equal(pair.sshd.logins() - stockLogins, 1);
  await pair.endStock();

  const before = pair.sshd.logins();
  for (let i = 0; i < 10; i++) {
    await pair.hold(pair.sandbox.argv(["-F", pair.config, ...holding]));
  }
  for (let i = 0; i < 2; i++) assertQuiet(await pair.sshs(last), "last\n");
  assert.equal(pair.sshd.logins() - before, 2);
});

Deno.test({
  name: "4: --fresh logs in anew, and knows a new group",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using pair = await Pair.create();
    const { name } = await account();
    const group = "games";
    const hasGroup = (result: RunResult) => result.stdout.split(/\s+/).includes(group);
    const groups = ["host", "id -Gn"];

    assert.ok(!hasGroup(await pair.stock(groups)));
    assert.ok(!hasGroup(await pair.sshs(groups)));
    await run("usermod", ["-aG", group, name]);
    assert.ok(!hasGroup(await pair.stock(groups)));
    const fresh = await pair.sandbox.sshs(["--fresh", "-F", pair.config, ...groups], {
      as: "sshs",
    });
    assert.ok(hasGroup(fresh), fresh.stderr);
    // Whoever comes now has the new login too.
    assert.ok(hasGroup(await pair.sshs(groups)));
  },
});

Deno.test("5: two accounts by two keys on one host stay apart", async () => {
  await using pair = await Pair.create();
  const { sshd, sandbox } = pair;
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", `${sandbox.dir}/key`]);
  const [mine] = [await Deno.readTextFile(`${sshd.dir}/authorized_keys`)];
  const other = await Deno.readTextFile(`${sandbox.dir}/key.pub`);
  // As a git host does it: the key tells who it is.
  await Deno.writeTextFile(
    `${sshd.dir}/authorized_keys`,
    `command="echo ann" ${mine.trim()}\ncommand="echo bob" ${other}`,
  );
  const asAnn = ["-i", `${sshd.dir}/user_key`, "host"];
  const asBob = ["-i", `${sandbox.dir}/key`, "host"];

  assert.equal((await pair.stock(asAnn)).stdout, "ann\n");
  assert.equal((await pair.stock(asBob)).stdout, "ann\n", "wrongly, and in silence");

  assert.equal((await pair.sshs(asAnn)).stdout, "ann\n");
  assert.equal((await pair.sshs(asBob)).stdout, "bob\n");
  assert.equal((await pair.sshs(asAnn)).stdout, "ann\n");
  assert.equal(pair.sshd.logins(), 3);
});

Deno.test("6: a forwarded port goes with the call that asked for it", async () => {
  await using pair = await Pair.create();
  const isBound = async (port: number) => {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return false;
      throw error;
    }
  };
  const forward = (port: number) => ["-L", `${port}:127.0.0.1:${pair.sshd.port}`, "host", "true"];
  const [first, second] = [freePort(), freePort()];

  assert.equal((await pair.stock(forward(first))).code, 0);
  assert.ok(await isBound(first));

  assertQuiet(await pair.sshs(["host", "echo a lane is open"]), "a lane is open\n");
  assert.equal((await pair.sshs(forward(second))).code, 0);
  assert.ok(!await isBound(second));
});

Deno.test("6: -f comes back at once, and its session goes on", async () => {
  await using pair = await Pair.create();
  // Where both sides may write; the sandbox is the caller's alone.
  await using shared = await temporaryDirectory();
  const [go, done] = [`${shared.path}/go`, `${shared.path}/done`];
  const session = `until [ -e ${go} ]; do sleep 0.1; done; touch ${done}`;
  const hasCome = async (argv: readonly string[], patience: number) => {
    const script = 'exec "$@" >/dev/null 2>&1'; // What goes to the background would hold them.
    const child = pair.sandbox.spawn(["sh", "-c", script, "sh", ...argv]);
    const ended = Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
    const came = await settles(ended, patience);
    await Deno.writeTextFile(go, "");
    await eventually("the session has ended", () => exists(done), DEADLINE);
    await ended;
    await child.stdin.close();
    await Promise.all([go, done].map((path) => Deno.remove(path)));
    return came;
  };
  await pair.stock(["host", "true"]);
  const [major, minor] = versionOf((await pair.sandbox.ssh(["-V"])).stderr);
  // Over a master -f blocks before OpenSSH 9.4 (its release notes).
  const blocks = major < 9 || (major === 9 && minor < 4);
  const stock = pair.stockArgs("-f", "host", session);
  assert.equal(await hasCome([needProgram("ssh"), ...stock], blocks ? 2_000 : 20_000), !blocks);

  assertQuiet(await pair.sshs(["host", "echo a lane is open"]), "a lane is open\n");
  const ours = pair.sandbox.argv(["-F", pair.config, "-f", "host", session]);
  assert.ok(await hasCome(ours, 20_000));
});

Deno.test("7: a directory that is too long or missing does not keep the command from running", async () => {
  await using pair = await Pair.create();
  const long = `${pair.sandbox.dir}/${"long".repeat(30)}`;
  await Deno.mkdir(long);
  const missing = `${pair.sandbox.dir}/missing/socket`;
  const hello = ["host", "echo hello"];
  await pair.sandbox.ssh(["-F", pair.config, "host", "true"]); // The host key is known from now on.

  const tooLong = await pair.stock(["-S", `${long}/socket`, ...hello]);
  assert.deepEqual([tooLong.code, tooLong.stdout], [255, ""]);
  assert.match((await pair.stock(["-S", missing, ...hello])).stderr, /No such file or directory/);

  // Missing directories are made, where that is ours to do; too long a path is said.
  assertQuiet(await pair.sshs(hello), "hello\n");
  const ours = await pair.sshs(hello, { env: { SSHS_DIR: `${long}/s` } });
  assert.deepEqual([ours.code, ours.stdout], [0, "hello\n"]);
  assert.match(ours.stderr, /^sshs: Not shared: .*; set SSHS_DIR to a short path of your own\n$/);
  assertQuiet(await pair.sshs(["-q", ...hello], { env: { SSHS_DIR: `${long}/s` } }), "hello\n");
});

Deno.test("8: a connection that died in its sleep is found, and replaced", async () => {
  await using pair = await Pair.create();
  const hello = ["host", "echo hello"];
  /** The far end of what is connected falls silent; who connects anew is answered. */
  const sleep = () => signal(pair.sshd.children(), "SIGSTOP");

  await pair.stock(hello);
  sleep();
  const hanging = pair.sandbox.spawn(["ssh", ...pair.stockArgs(...hello)]);
  assert.ok(!await settles(hanging.status));
  const check = await pair.stock(["-O", "check", "host"]);
  assert.match(check.stderr, /Master running/);
  await endAll([hanging.pid]);
  // The master still holds what its client has handed it.
  await Promise.all([hanging.stdin.close(), hanging.stdout.cancel(), hanging.stderr.cancel()]);

  pair.sandbox.env.SSHS_LOOK = "0.5";
  await pair.sshs(hello);
  const [sleeper] = await eventually("the sleeper holds the lane", () => {
    const holds = /holding master/.test(read(`${pair.sandbox.stateDir}/sleeper.log`));
    return holds ? pair.sandbox.sleepers() : undefined;
  }, DEADLINE) ?? [];
  sleep();
  // The machine sleeps: so does everything on it.
  signal([sleeper.pid], "SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  signal([sleeper.pid], "SIGCONT");
  await eventually(
    "the lane is in doubt",
    () => !pair.sandbox.files().some((file) => file.endsWith(".verified")),
    DEADLINE,
  );
  assertQuiet(await pair.sshs(hello), "hello\n");
  // So that the processes of the server can end.
  pair.sshd.thaw();
});

Deno.test("9: a home without sockets is no hindrance", async () => {
  await using pair = await Pair.create();
  const hello = ["host", "echo hello"];
  await pair.sandbox.ssh(["-F", pair.config, "host", "true"]); // The host key is known from now on.

  const stock = await pair.stock(["-S", "/proc/self/socket", ...hello]);
  assert.match(stock.stderr, /cannot bind to path/, "a file system that takes no socket");

  const home = `${pair.sandbox.dir}/nowhere`;
  const env = { HOME: home, XDG_CONFIG_HOME: undefined, SSHS_DIR: undefined };
  for (const runtime of [{ XDG_RUNTIME_DIR: pair.sandbox.dir }, { TMPDIR: pair.sandbox.dir }]) {
    const before = pair.sshd.logins();
    for (let i = 0; i < 2; i++) {
      assertQuiet(await pair.sshs(hello, { env: { ...env, ...runtime } }), "hello\n");
    }
    assert.equal(pair.sshd.logins() - before, 1);
  }
});

Deno.test("10: no call falls into the gap as the linger ends", async () => {
  await using pair = await Pair.create();
  await pair.sandbox.ssh(["-F", pair.config, "host", "true"]); // The host key is known from now on.

  // The stock pair's master has left while its client was at the door. Played by a listener that hangs
  // up: the gap is some microseconds wide, and no hammering finds it each time.
  using leaving = Deno.listen({ transport: "unix", path: pair.socket });
  const closing = (async () => {
    for await (const connection of leaving) connection.close();
  })();
  const stock = await pair.stock(["host", "echo hello"]);
  assert.ok(stock.code !== 0 || stock.stderr !== "", stock.stderr);
  leaving.close();
  await closing;

  Object.assign(pair.sandbox.env, { SSHS_LINGER: "1", SSHS_LOOK: "0.1" });
  const start = performance.now();
  for (let i = 0; performance.now() - start < 6_000; i++) {
    assertQuiet(await pair.sshs(["host", `echo ${i}`]), `${i}\n`);
    // All over the moment at which the sleeper lets go, and the grace after it.
    await new Promise((resolve) => setTimeout(resolve, 900 + 37 * (i % 8)));
  }
});

Deno.test("11: a stale socket leaks no master", async () => {
  await using pair = await Pair.create();
  const start = ["-M", "-N", "-f", "host"];
  const running = () => pair.sandbox.processes().filter(({ args }) => args.includes("-M"));

  assert.equal((await pair.stock(start)).code, 0);
  await endAll(running().map(({ pid }) => pid));
  Deno.listen({ transport: "unix", path: pair.socket }).close();
  for (let i = 0; i < 3; i++) await pair.stock(start);
  assert.equal(running().length, 3, "each without a socket, for ever");
  await endAll(running().map(({ pid }) => pid));

  for (let i = 0; i < 3; i++) {
    const result = await pair.sshs(["host", "echo hello"]);
    assert.deepEqual([result.code, result.stdout], [0, "hello\n"]);
    const masters = pair.sandbox.masters();
    assert.equal(masters.length, 1);
    signal([masters[0].pid], "SIGKILL");
    await eventually("the master is gone", () => !isAlive(masters[0].pid), DEADLINE);
  }
});

Deno.test("12: Ctrl-C leaves a master behind a jump host alive", async () => {
  await using pair = await Pair.create();
  pair.config = await pair.sshd.writeConfig({ aliases: ["jump"] });
  // Two connections to one server: the key's alias makes them differ.
  const behind = ["-J", "jump", "-o", "HostKeyAlias=x", "host", "echo up; cat"];
  const interrupt = async (argv: readonly string[]) => {
    await using pty = await Pty.spawn(argv, { env: pair.sandbox.env });
    await pty.waitFor("up", DEADLINE);
    pty.write("\x03");
    await pty.status;
  };

  await interrupt(["ssh", ...pair.stockArgs(...behind)]);
  await eventually("the stock master is gone", () => !exists(pair.socket), DEADLINE);

  await interrupt(pair.sandbox.argv(["-F", pair.config, ...behind]));
  const before = pair.sshd.logins();
  const after = await pair.sshs([...behind.slice(0, -1), "echo again"]);
  assert.equal(after.stdout, "again\n", after.stderr);
  assert.equal(pair.sshd.logins(), before);
});

Deno.test("13: what a jump host says is shown", async () => {
  await using jump = await Sshd.start({ banner: "Ask the bastion's keeper\n" });
  await using pair = await Pair.create();
  const { port, user } = jump;
  pair.config = await pair.sshd.writeConfig({
    config: [`ProxyCommand ssh -F ${jump.config} -W %h:%p host`],
  });
  const jumping = await pair.sshd.writeConfig();
  await Deno.writeTextFile(
    jumping,
    `Host host\nProxyJump ${user.name}@127.0.0.1:${port}\n` +
      `Host 127.0.0.1\n` + (await Deno.readTextFile(jump.config)).split("\n").slice(1).join("\n") +
      await Deno.readTextFile(pair.sshd.config),
  );
  for (const config of [pair.config, jumping]) {
    pair.config = config;
    const stock = await pair.stock(["host", "true"]);
    assert.equal(stock.code, 0, stock.stderr);
    assert.doesNotMatch(stock.stderr, /keeper/);
    await pair.endStock();
    const ours = await pair.sshs(["host", "true"]);
    assert.equal(ours.code, 0, ours.stderr);
    assert.match(ours.stderr, /keeper/);
  }
});

Deno.test("14: scp and sftp start a connection that is shared", async () => {
  await using pair = await Pair.create();
  // What scp and sftp pass since OpenSSH 10.0.
  const fromScp = ["-o", "ControlMaster=no"];
  const list = [...fromScp, "host", "true"];
  for (let i = 0; i < 2; i++) {
    await pair.sandbox.ssh(["-F", pair.config, "-S", pair.socket, ...list]);
  }
  assert.equal(pair.sshd.logins(), 2);

  const words = SSHS.map((word) => `'${word}'`).join(" ");
  const ssh = await pair.sandbox.addProgram("ours", `exec ${words} --as=ssh "$@"`);
  await Deno.writeTextFile(`${pair.sandbox.home}/file`, "hello\n");
  const before = pair.sshd.logins();
  const copy = ["-S", ssh, "-F", pair.config, ...fromScp];
  const scp = await pair.sandbox.run(["scp", ...copy, "file", "host:copied"]);
  assert.equal(scp.code, 0, scp.stderr);
  const sftp = await pair.sandbox.run(["sftp", ...copy, "-b", "-", "host"], {
    stdin: "rm copied\n",
  });
  assert.equal(sftp.code, 0, sftp.stderr);
  assertQuiet(await pair.sshs(["host", "echo hello"]), "hello\n");
  assert.equal(pair.sshd.logins() - before, 1);
});

Deno.test("15: a call says whether it is shared, over what, and why not", async () => {
  await using pair = await Pair.create();
  const ask = async (...argv: string[]) => {
    const result = await pair.sandbox.sshs(argv, { as: "sshs" });
    assert.equal(result.code, 0, result.stderr);
    return JSON.parse(result.stdout);
  };
  const call = ["-F", pair.config, "host"];
  await pair.sshs(["host", "true"]);
  const [lane] = await ask("--list", "--json");
  assert.ok(lane);
  const shared = await ask("--why", "--json", ...call);
  assert.equal(shared.decision, "share");
  assert.ok(shared.lane);
  const direct = await ask("--why", "--json", "-L", "1:127.0.0.1:1", ...call);
  assert.deepEqual([direct.decision, direct.lane], ["direct", null]);
  assert.match(direct.reason, /-L forwards ports/);
});

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

async function temporaryDirectory() {
  const path = await Deno.makeTempDir();
  await Deno.chmod(path, 0o777);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
