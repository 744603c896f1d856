import assert from "node:assert/strict";
import { decide, type Direct } from "../lib/call/decide.ts";
import { jumpCall, jumpCommand } from "../lib/ssh/jump.ts";
import { parseSshArgs, type SshCall } from "../lib/ssh/arguments.ts";
import { parseConfigDump } from "../lib/ssh/configuration.ts";
import { realSystem } from "../lib/os/system.ts";
import { account, canMakeAccounts } from "./support/account.ts";
import { eventually } from "./support/eventually.ts";
import { isAlive } from "./support/processes.ts";
import { needProgram } from "./support/programs.ts";
import { Pty } from "./support/pty.ts";
import { type RunResult, Sandbox } from "./support/sandbox.ts";
import { Sshd, type SshdOptions } from "./support/sshd.ts";

const DEADLINE = { deadline: 30_000 };

/** What stands after the program's name where -F and -v are not passed. */
const TAIL = ["-o", "ClearAllForwardings=yes", "-a", "-x", "-W", "[%h]:%p", "--"];

function callOf(...argv: string[]): SshCall {
  const args = parseSshArgs(argv);
  assert.ok(args.kind === "call", argv.join(" "));
  return args;
}

/** The words for the jump host of a call, when `ssh -G` prints these lines. */
function wordsFor(proxyjump: string, argv: string[] = ["target"], hostname = "target") {
  const dump = `hostname ${hostname}\nproxyjump ${proxyjump}\n`;
  return jumpCall(callOf(...argv), parseConfigDump(dump, ""));
}

Deno.test("jumpCall makes the words that ssh.c makes", () => {
  const rows: [proxyjump: string, argv: string[], expected: string[]][] = [
    ["b", ["t"], [...TAIL, "b"]],
    ["ann@b:2222", ["t"], ["-l", "ann", "-p", "2222", ...TAIL, "b"]],
    ["a@b@c", ["t"], ["-l", "a@b", ...TAIL, "c"]],
    ["[10.0.0.1]", ["t"], [...TAIL, "10.0.0.1"]],
    ["ann@[fe80::1]:22", ["t"], ["-l", "ann", "-p", "22", ...TAIL, "fe80::1"]],
    ["a,ssh://x@b:1,c", ["t"], ["-J", "a,ssh://x@b:1", ...TAIL, "c"]],
    ["b", ["-F", "x", "-F", "cfg", "t"], ["-F", "cfg", ...TAIL, "b"]],
    ["b", ["-vv", "t", "-v", "-v", "id"], ["-vvv", ...TAIL, "b"]],
    ["b", ["-i", "key", "-o", "User=x", "-4", "t"], [...TAIL, "b"]],
  ];
  for (const [proxyjump, argv, expected] of rows) {
    assert.deepEqual(wordsFor(proxyjump, argv), expected, proxyjump);
  }
  assert.equal(jumpCall(callOf("t"), parseConfigDump("hostname t\n", "")), undefined);
});

Deno.test("jumpCall leaves to ssh what ssh would refuse from its command line", () => {
  const hosts = [
    "-oProxyCommand=x",
    "a;b",
    "a'b",
    "a b",
    "a$b",
    "a|b",
    "a\x07",
    "a&b",
    "(a",
    "",
    "a:x",
  ];
  for (const host of hosts) assert.equal(wordsFor(host), undefined, host);
  for (const user of ["-l", "a;b", "a'b", "a -b", "a`b", "a\\", "a\x1b"]) {
    assert.equal(wordsFor(`${user}@b`), undefined, user);
  }
  for (const target of ["a'b", "-a", "a;b", ""]) {
    assert.equal(wordsFor("b", ["t"], target), undefined, target);
  }
  assert.ok(wordsFor("b", ["t"], "fe80::1%eth0"));
});

Deno.test("jumpCommand is undefined for what a shell could take for something else", () => {
  const command = (...argv: string[]) => jumpCommand("/usr/bin/ssh", "/run/sshs/a.sock", argv);
  assert.equal(
    command("-W", "[%h]:%p", "--", "b"),
    "/usr/bin/ssh -S /run/sshs/a.sock -o ControlMaster=no -W '[%h]:%p' -- b",
  );
  assert.equal(
    command("-J", "x@[::1]:22", "b"),
    "/usr/bin/ssh -S /run/sshs/a.sock -o ControlMaster=no -J 'x@[::1]:22' b",
  );
  for (
    const word of ["", "a b", "~/x", "%h", "a%b", "=ls", "a*", "a?", "a!", "a^", "#", "a\\b", "é"]
  ) {
    assert.equal(command(word), undefined, word);
  }
  assert.equal(jumpCommand("/usr/bin/ssh", "/run/my dir/a.sock", ["b"]), undefined);
  assert.equal(jumpCommand("/opt/it's/ssh", "/run/a.sock", ["b"]), undefined);
});

/** A Host of the fleet's ssh_config, and what its own lines say before the common ones. */
interface Alias {
  server: Sshd;
  lines?: readonly string[];
}

/**
 * A bastion, a target, and a sandbox whose ssh_config knows them by the names that `hosts` gives. All
 * servers take the same key, and no configuration is shared by all hosts, as in a real one.
 */
class Fleet implements AsyncDisposable {
  readonly bastion: Sshd;
  readonly target: Sshd;
  readonly sandbox: Sandbox;
  readonly config: string;

  private constructor(bastion: Sshd, target: Sshd, sandbox: Sandbox) {
    this.bastion = bastion;
    this.target = target;
    this.sandbox = sandbox;
    this.config = `${sandbox.dir}/cfg`;
  }

  static async create(bastion: SshdOptions = {}, target: SshdOptions = {}): Promise<Fleet> {
    const sandbox = await Sandbox.create();
    return new Fleet(await Sshd.start(bastion), await Sshd.start(target), sandbox);
  }

  /** Writes the ssh_config: `b` is the bastion, `t` the target behind it, and more as told. */
  async write(
    more: Record<string, Alias> = {},
    { bastion = [] }: { bastion?: readonly string[] } = {},
  ): Promise<void> {
    const hosts: Record<string, Alias> = {
      b: { server: this.bastion, lines: bastion },
      t: { server: this.target, lines: ["ProxyJump b"] },
      ...more,
    };
    const texts = Object.entries(hosts).map(([name, { server, lines = [] }]) =>
      [
        `Host ${name}`,
        ...lines,
        "HostName 127.0.0.1",
        `Port ${server.port}`,
        `User ${server.user.name}`,
        `IdentityFile ${server.dir}/user_key`,
        "IdentitiesOnly yes",
        `UserKnownHostsFile ${this.sandbox.dir}/known_hosts`,
        "GlobalKnownHostsFile none",
        "StrictHostKeyChecking accept-new",
        "",
      ].join("\n")
    );
    await Deno.writeTextFile(this.config, texts.join(""));
  }

  ssh(...argv: string[]): Promise<RunResult> {
    return this.sandbox.ssh(["-F", this.config, ...argv]);
  }

  sshs(...argv: string[]): Promise<RunResult> {
    return this.sandbox.sshs(["-F", this.config, ...argv], { timeout: 60_000 });
  }

  /** The command line of each master, but for the bastion's own. */
  targetMasters(): string[] {
    return this.sandbox.masters().map(({ args }) => args.join(" "))
      .filter((line) => !line.endsWith(" b"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sandbox[Symbol.asyncDispose]();
    await this.target[Symbol.asyncDispose]();
    await this.bastion[Symbol.asyncDispose]();
  }
}

function assertOk(result: RunResult, stdout: string): void {
  assert.equal(result.code, 0, result.stderr);
  assert.equal(result.stdout, stdout, result.stderr);
}

Deno.test("ten hosts behind one bastion make one login at the bastion, all at the same moment", async () => {
  await using fleet = await Fleet.create({}, { config: ["MaxStartups 100"] });
  const names = Array.from({ length: 10 }, (_, i) => `t${i}`);
  await fleet.write(Object.fromEntries(names.map((name) => [name, {
    server: fleet.target,
    lines: ["ProxyJump b", `HostKeyAlias ${name}`],
  }])));
  const results = await Promise.all(names.map((name) => fleet.sshs(name, `echo ${name}`)));
  results.forEach((result, i) => assertOk(result, `t${i}\n`));
  assert.equal(fleet.bastion.logins(), 1);
  assert.equal(fleet.target.logins(), 10);
  // What the bastion carries are channels: it runs nothing, so MaxSessions is no limit.
  assert.equal(fleet.bastion.sessions(), 0);
  assertOk(await fleet.sshs("b", "echo itself"), "itself\n");
  assert.equal(fleet.bastion.logins(), 1);
});

Deno.test("a jump host is found in each form that ssh knows", async (t) => {
  const options = { config: ["ListenAddress ::1"] };
  await using fleet = await Fleet.create(options);
  // Addresses have no Host of their own here.
  const wild = { server: fleet.bastion, lines: ["HostName %h"] };
  const { name } = await account();
  const port = fleet.bastion.port;
  await fleet.write({ plain: { server: fleet.target }, "127.0.0.1 ::1": wild });
  const forms: [jump: string[], logins: number][] = [
    [["-J", "b"], 1],
    [["-o", "ProxyJump=b"], 0],
    // The Host says the same user and port, so this is the same connection.
    [["-J", `${name}@b:${port}`], 0],
    [["-J", `ssh://${name}@127.0.0.1:${port}`], 0],
    [["-J", `${name}@[::1]:${port}`], 1],
  ];
  for (const [jump, logins] of forms) {
    await t.step(jump.join(" "), async () => {
      const before = fleet.bastion.logins();
      assertOk(await fleet.sshs(...jump, "plain", "echo hello"), "hello\n");
      assert.equal(fleet.bastion.logins() - before, logins);
    });
  }
});

Deno.test("a chain of jump hosts shares each of its parts", async () => {
  await using fleet = await Fleet.create();
  await using middle = await Sshd.start();
  const { name } = await account();
  await fleet.write({
    m: { server: middle },
    plain: { server: fleet.target },
    other: { server: fleet.target, lines: ["HostKeyAlias other"] },
  });
  const chain = `${name}@b:${fleet.bastion.port},m`;
  assertOk(await fleet.sshs("-J", chain, "plain", "echo 1"), "1\n");
  assertOk(await fleet.sshs("-J", chain, "other", "echo 2"), "2\n");
  assert.deepEqual([fleet.bastion.logins(), middle.logins(), fleet.target.logins()], [1, 1, 2]);
  // The same middle, reached without the bastion, is another connection.
  assertOk(await fleet.sshs("-J", "m", "plain", "echo 3"), "3\n");
  assert.deepEqual([fleet.bastion.logins(), middle.logins(), fleet.target.logins()], [1, 2, 3]);
});

Deno.test("the master behind it holds the jump host's lane, which goes after it", async () => {
  await using fleet = await Fleet.create();
  await fleet.write();
  Object.assign(fleet.sandbox.env, { SSHS_LINGER: "1", SSHS_LOOK: "0.5" });
  const session = fleet.sandbox.spawnSshs(["-F", fleet.config, "t", "echo up; cat"]);
  const master = await eventually("the target's master has a lease on the bastion's lane", () => {
    const masters = fleet.sandbox.masters().map(({ pid }) => pid);
    return masters.find((pid) =>
      fleet.sandbox.files().some((file) => file.endsWith(`.leases/${pid}.via`))
    );
  }, DEADLINE);
  // Several times its linger, as the sleeper counts it.
  const log = `${fleet.sandbox.stateDir}/sleeper.log`;
  await eventually(
    "the sleeper is awake",
    () => fleet.sandbox.files().includes("sleeper.log"),
    DEADLINE,
  );
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  assert.ok(!/let go/.test(Deno.readTextFileSync(log)));
  assert.equal(fleet.sandbox.masters().length, 2);
  await session.stdin.close();
  assert.equal((await session.output()).code, 0);
  await eventually("the target's master is gone", () => !isAlive(master!), DEADLINE);
  await fleet.sandbox.assertClean({ deadline: 30_000 });
  assert.equal(fleet.bastion.logins(), 1);
});

Deno.test({
  name: "a bastion asks for its password once, on the terminal of the call",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using fleet = await Fleet.create({ passwords: true });
    const { password } = await account();
    await fleet.write({ t2: { server: fleet.target, lines: ["ProxyJump b", "HostKeyAlias t2"] } });
    const argv = (...words: string[]) => fleet.sandbox.argv(["-F", fleet.config, ...words]);
    await using pty = await Pty.spawn(argv("t", "echo in"), { env: fleet.sandbox.env });
    await pty.waitFor("password: ", DEADLINE);
    // Who waits for either host is told that it may take as long as the answer.
    const locks = fleet.sandbox.files().filter((file) => file.endsWith("/lock"));
    const asked = locks.map((file) => Deno.statSync(`${fleet.sandbox.stateDir}/${file}`).size > 0);
    assert.deepEqual(asked, [true, true]);
    pty.write(`${password}\r`);
    await pty.waitFor("in\r\n", DEADLINE);
    assert.equal((await pty.status).code, 0);
    assert.ok(!pty.output.includes(password!));
    assertOk(await fleet.sshs("-oBatchMode=yes", "t2", "echo 2"), "2\n");
    assert.equal(fleet.bastion.logins(), 1);
  },
});

Deno.test("a bastion that refuses says so itself, once, and the call ends as ssh's", async () => {
  await using fleet = await Fleet.create();
  await fleet.write({}, { bastion: ["PubkeyAuthentication no"] });
  const stock = await fleet.ssh("t", "true");
  const before = fleet.bastion.connections();
  const ours = await fleet.sshs("t", "true");
  const [said] = /.*Permission denied.*/.exec(stock.stderr)!;
  assert.deepEqual([stock.code, ours.code], [255, 255]);
  assert.ok(ours.stderr.includes(said), ours.stderr);
  assert.equal(ours.stderr.match(/Permission denied/g)?.length, 1, ours.stderr);
  assert.equal(fleet.bastion.connections() - before, 1);
  await fleet.sandbox.assertClean({ deadline: 30_000, ignore: /^plans\/$|^[0-9a-f]{16}\// });
});

Deno.test("what a bastion has against a target is seen, as under plain ssh", async (t) => {
  const rows: [name: string, bastion: string[], port: number | undefined, expected: RegExp][] = [
    ["a forbidden channel", ["AllowTcpForwarding no"], undefined, /administratively prohibited/],
    ["a target that is down", [], 1, /Connection refused/],
  ];
  for (const [name, config, port, expected] of rows) {
    await t.step(name, async () => {
      await using fleet = await Fleet.create({ config });
      await fleet.write();
      const argv = [...(port ? ["-p", `${port}`] : []), "t", "true"];
      const stock = await fleet.ssh(...argv);
      assert.match(stock.stderr, expected);
      const before = fleet.bastion.logins();
      for (let i = 0; i < 2; i++) {
        const ours = await fleet.sshs(...argv);
        assert.equal(ours.code, stock.code);
        assert.match(ours.stderr, expected);
      }
      assert.equal(fleet.bastion.logins() - before, 1);
      assert.deepEqual(fleet.sandbox.files().filter((file) => file.endsWith(".via")), []);
    });
  }
});

Deno.test("what a bastion's own configuration asks for does not get in the way", async (t) => {
  const rows: string[][] = [
    ["ForwardAgent yes", "ForwardX11 yes", "RemoteCommand echo never", "RequestTTY yes"],
    ["LocalForward 127.0.0.1:1 127.0.0.1:1", "DynamicForward 127.0.0.1:1"],
    ["SessionType none", "ProxyUseFdpass yes"],
    ["ControlMaster auto", "ControlPath /nowhere/%C", "ControlPersist 1"],
  ];
  await using fleet = await Fleet.create();
  for (const lines of rows) {
    await t.step(lines[0], async () => {
      const names = [1, 2].map((i) => `${lines[0].replace(/\W/g, "")}-${i}`);
      await fleet.write(
        Object.fromEntries(names.map((name) => [name, {
          server: fleet.target,
          lines: ["ProxyJump b", "ProxyUseFdpass yes", `HostKeyAlias ${name}`],
        }])),
        // Something to tell the rows' bastions apart by: each is to log in anew.
        { bastion: [...lines, `HostKeyAlias ${names[0]}-b`] },
      );
      const before = fleet.bastion.logins();
      for (const name of names) assertOk(await fleet.sshs(name, "echo hello"), "hello\n");
      assert.equal(fleet.bastion.logins() - before, 1);
      assert.equal(fleet.bastion.sessions(), 0);
      // While it waits for the next target, neither the agent nor the display is open to it.
      const records = fleet.sandbox.files().filter((file) => file.endsWith(".lane"));
      for (const file of records) {
        const text = await Deno.readTextFile(`${fleet.sandbox.stateDir}/${file}`);
        assert.equal(JSON.parse(text).forwards, false);
      }
    });
  }
});

Deno.test("another way to the same target is another connection", async () => {
  await using fleet = await Fleet.create();
  await using second = await Sshd.start();
  await fleet.write();
  assertOk(await fleet.sshs("t", "echo 1"), "1\n");
  // The target's own lines stay as they are; its bastion is now another machine.
  await fleet.write({ b: { server: second } });
  assertOk(await fleet.sshs("t", "echo 2"), "2\n");
  assert.deepEqual([fleet.bastion.logins(), second.logins(), fleet.target.logins()], [1, 1, 2]);
});

Deno.test("ssh jumps by itself where a word would need quotes", async () => {
  await using fleet = await Fleet.create();
  await fleet.write();
  fleet.sandbox.env.SSHS_DIR = `${fleet.sandbox.dir}/s p`;
  for (const word of ["1", "2"]) assertOk(await fleet.sshs("t", `echo ${word}`), `${word}\n`);
  assert.deepEqual([fleet.bastion.logins(), fleet.target.logins()], [1, 1]);
  // Only the target has a master: nothing was prepared for a jump that cannot be made.
  const identities = Array.from(Deno.readDirSync(fleet.sandbox.env.SSHS_DIR), ({ name }) => name)
    .filter((name) => /^[0-9a-f]{16}$/.test(name));
  assert.equal(identities.length, 1);
});

Deno.test("a ProxyCommand that the user wrote stays as it is", async () => {
  await using fleet = await Fleet.create();
  const command = `ssh -F ${fleet.config} -W %h:%p b`;
  await fleet.write({
    own: { server: fleet.target, lines: [`ProxyCommand ${command}`] },
    own2: { server: fleet.target, lines: [`ProxyCommand ${command}`, "HostKeyAlias own2"] },
  });
  assertOk(await fleet.sshs("own", "echo 1"), "1\n");
  assertOk(await fleet.sshs("own2", "echo 2"), "2\n");
  assertOk(await fleet.sshs("own2", "echo 3"), "3\n");
  assert.deepEqual([fleet.bastion.logins(), fleet.target.logins()], [2, 2]);
  for (const line of fleet.targetMasters()) assert.ok(!line.includes("ProxyCommand"), line);
});

Deno.test("-v tells of the jump host's connection too", async () => {
  await using fleet = await Fleet.create();
  await fleet.write();
  const { stderr } = await fleet.sshs("-v", "t", "true");
  assert.match(
    stderr,
    new RegExp(`Authenticated to 127.0.0.1 \\(\\[127.0.0.1\\]:${fleet.bastion.port}`),
  );
  assert.match(stderr, /Authenticated to 127.0.0.1 \(via proxy\)/);
});

Deno.test("decide sees that jump hosts lead in a circle, where ssh would run itself for ever", async () => {
  await using sandbox = await Sandbox.create();
  const config = `${sandbox.dir}/cfg`;
  await Deno.writeTextFile(
    config,
    "Host a\nProxyJump b\nHost b\nProxyJump c\nHost c\nProxyJump b\n",
  );
  const decision = await decide(["-F", config, "a"], needProgram("ssh"), {
    ...realSystem,
    env: (name) => sandbox.env[name],
  });
  assert.equal(decision.kind, "direct");
  assert.match((decision as Direct).reason, /circle/);
});

Deno.test("a bastion's connection that died is replaced", async () => {
  await using fleet = await Fleet.create();
  await fleet.write({ t2: { server: fleet.target, lines: ["ProxyJump b", "HostKeyAlias t2"] } });
  assertOk(await fleet.sshs("t", "echo 1"), "1\n");
  await fleet.bastion.restart();
  assertOk(await fleet.sshs("t", "echo 2"), "2\n");
  assertOk(await fleet.sshs("t2", "echo 3"), "3\n");
  assert.equal(fleet.bastion.logins(), 2);
});
