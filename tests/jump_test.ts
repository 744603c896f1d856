/** Jump hosts are shared too: one login at the bastion serves all hosts behind it. */
import assert from "node:assert/strict";
import { decide } from "../lib/call/decide.ts";
import { realSystem } from "../lib/os/system.ts";
import { account, canMakeAccounts } from "./support/account.ts";
import { assertQuiet } from "./support/assert_quiet.ts";
import { eventually } from "./support/eventually.ts";
import { Fleet } from "./support/fleet.ts";
import { writeLaunchers } from "./support/launchers.ts";
import { isAlive } from "./support/processes.ts";
import { needProgram } from "./support/programs.ts";
import { Session } from "./support/session.ts";
import { canAskForCodes, Sshd } from "./support/sshd.ts";

Deno.test("simultaneous calls to ten hosts behind one bastion log in to the bastion once", async () => {
  await using fleet = await Fleet.open({}, { config: ["MaxStartups 100"] });
  const names = Array.from({ length: 10 }, (_, i) => `t${i}`);
  await fleet.write(Object.fromEntries(names.map((name) => [name, {
    server: fleet.target,
    lines: ["ProxyJump b", `HostKeyAlias ${name}`],
  }])));
  const results = await Promise.all(names.map((name) => fleet.scene.ssh([name, `echo ${name}`])));
  results.forEach((result, i) => assertQuiet(result, `t${i}\n`));
  assert.equal(fleet.bastion.logins(), 1);
  assert.equal(fleet.target.logins(), 10);
  // The bastion only carries channels and runs nothing, so MaxSessions is no limit.
  assert.equal(fleet.bastion.sessions(), 0);
  assertQuiet(await fleet.scene.ssh(["b", "echo itself"]), "itself\n");
  assert.equal(fleet.bastion.logins(), 1);
});

Deno.test("a jump host is recognized in each form that ssh accepts", async (t) => {
  const options = { config: ["ListenAddress ::1"] };
  await using fleet = await Fleet.open(options);
  // Without this, no Host line matches the addresses.
  const wild = { server: fleet.bastion, lines: ["HostName %h"] };
  const { name } = await account();
  const port = fleet.bastion.port;
  await fleet.write({ plain: { server: fleet.target }, "127.0.0.1 ::1": wild });
  const forms: [jump: string[], logins: number][] = [
    [["-J", "b"], 1],
    [["-o", "ProxyJump=b"], 0],
    // Host b has the same user and port, so this is the same connection.
    [["-J", `${name}@b:${port}`], 0],
    [["-J", `ssh://${name}@127.0.0.1:${port}`], 0],
    [["-J", `${name}@[::1]:${port}`], 1],
  ];
  for (const [jump, logins] of forms) {
    await t.step(jump.join(" "), async () => {
      const before = fleet.bastion.logins();
      assertQuiet(await fleet.scene.ssh([...jump, "plain", "echo hello"]), "hello\n");
      assert.equal(fleet.bastion.logins() - before, logins);
    });
  }
});

Deno.test("each connection in a chain of jump hosts is shared", async () => {
  await using fleet = await Fleet.open();
  await using middle = await Sshd.start();
  const { name } = await account();
  await fleet.write({
    m: { server: middle },
    plain: { server: fleet.target },
    other: { server: fleet.target, lines: ["HostKeyAlias other"] },
  });
  const chain = `${name}@b:${fleet.bastion.port},m`;
  assertQuiet(await fleet.scene.ssh(["-J", chain, "plain", "echo 1"]), "1\n");
  assertQuiet(await fleet.scene.ssh(["-J", chain, "other", "echo 2"]), "2\n");
  assert.deepEqual([fleet.bastion.logins(), middle.logins(), fleet.target.logins()], [1, 1, 2]);
  // The same middle host, reached without the bastion, is another connection.
  assertQuiet(await fleet.scene.ssh(["-J", "m", "plain", "echo 3"]), "3\n");
  assert.deepEqual([fleet.bastion.logins(), middle.logins(), fleet.target.logins()], [1, 2, 3]);
});

Deno.test("a master behind a jump host holds the jump host's lane, which closes after it", async () => {
  await using fleet = await Fleet.open({}, { env: { SSHS_LINGER: "1" } });
  const { scene } = fleet;
  await using session = await Session.open(scene, ["ssh", "-F", scene.config, "t"]);
  const leases = scene.lanes().flatMap(({ leases }) => leases);
  const [via, ...others] = leases.filter((lease) => lease.endsWith(".via"));
  assert.deepEqual(others, []);
  assert.ok(isAlive(parseInt(via)), "the master's own jump");
  const kept = scene.sandbox.masters().map(({ pid }) => pid);
  // An idle lane to the same bastion goes meanwhile.
  await scene.ssh(["-oServerAliveInterval=99", "b", "true"]);
  await eventually("it goes", () => scene.lanes().length === 2);
  assert.equal(scene.sandbox.masters().filter(({ pid }) => kept.includes(pid)).length, 2);
  await session.finish();
  await scene.assertClean();
  assert.equal(fleet.bastion.logins(), 2);
});

/** What a bastion may ask for. */
const QUESTIONS = [
  { name: "a password", options: { passwords: true }, prompt: "password: ", can: canMakeAccounts },
  { name: "a code", options: { codes: ["12345678"] }, prompt: "code: ", can: canAskForCodes },
];

for (const { name, options, prompt, can } of QUESTIONS) {
  Deno.test({
    name: `a bastion asks for ${name} once for all hosts behind it, on the call's terminal`,
    ignore: !can,
    fn: async () => {
      await using fleet = await Fleet.open(options);
      const { scene } = fleet;
      const t2 = { server: fleet.target, lines: ["ProxyJump b", "HostKeyAlias t2"] };
      await fleet.write({ t2 });
      const answer = options.codes?.[0] ?? (await account()).password!;
      await using pty = await scene.pty(["ssh", "-F", scene.config, "t", "echo in"]);
      await pty.waitFor(prompt);
      // Other calls wait for the answer, even those for another host behind it.
      const waits = scene.ssh(["t2", "echo 2"]);
      pty.write(`${answer}\r`);
      await pty.waitFor("in\r\n");
      assert.equal((await pty.status).code, 0);
      assertQuiet(await waits, "2\n");
      assertQuiet(await scene.ssh(["-oBatchMode=yes", "t", "echo 3"]), "3\n");
      assert.deepEqual([fleet.bastion.logins(), fleet.target.logins()], [1, 2]);
    },
  });
}

Deno.test("a bastion's refusal is shown once, in its own words, and the call ends as under plain ssh", async () => {
  await using fleet = await Fleet.open();
  await fleet.write({}, { bastion: ["PubkeyAuthentication no"] });
  const stock = await fleet.scene.plainSsh(["t", "true"]);
  const before = fleet.bastion.connections();
  const ours = await fleet.scene.ssh(["t", "true"]);
  const [said] = /.*Permission denied.*/.exec(stock.stderr)!;
  assert.deepEqual([stock.code, ours.code], [255, 255]);
  assert.ok(ours.stderr.includes(said), ours.stderr);
  assert.equal(ours.stderr.match(/Permission denied/g)?.length, 1, ours.stderr);
  assert.equal(fleet.bastion.connections() - before, 1);
  assert.deepEqual(fleet.scene.lanes(), []);
  await fleet.scene.assertClean();
});

Deno.test("a bastion that cannot connect to a target ends the call as under plain ssh, without a second login", async (t) => {
  const rows: [name: string, bastion: string[], port: number | undefined, reason: RegExp][] = [
    ["a forbidden channel", ["AllowTcpForwarding no"], undefined, /administratively prohibited/],
    ["a target that is down", [], 1, /Connection refused/],
  ];
  for (const [name, config, port, reason] of rows) {
    await t.step(name, async () => {
      await using fleet = await Fleet.open({ config });
      await fleet.write({}, { bastion: ["LogLevel INFO"] });
      const argv = [...(port ? ["-p", `${port}`] : []), "t", "true"];
      const stock = await fleet.scene.plainSsh(argv);
      assert.match(stock.stderr, reason);
      const before = fleet.bastion.logins();
      for (let i = 0; i < 2; i++) {
        const ours = await fleet.scene.ssh(argv);
        assert.equal(ours.code, stock.code);
        // As with any master, only the master learns the reason (mux_stdio_confirm() in mux.c).
        assert.match(
          ours.stderr,
          /^Stdio forwarding request failed: Session open refused by peer/m,
        );
      }
      assert.equal(fleet.bastion.logins() - before, 1);
      assert.deepEqual(fleet.scene.lanes().flatMap(({ leases }) => leases), []);
    });
  }
});

Deno.test("the bastion's own configuration does not get in the way", async (t) => {
  const rows: string[][] = [
    ["ForwardAgent yes", "ForwardX11 yes", "RemoteCommand echo never", "RequestTTY yes"],
    ["LocalForward 127.0.0.1:1 127.0.0.1:1", "DynamicForward 127.0.0.1:1"],
    ["SessionType none", "ProxyUseFdpass yes"],
    ["ControlMaster auto", "ControlPath /nowhere/%C", "ControlPersist 1"],
  ];
  await using fleet = await Fleet.open();
  for (const lines of rows) {
    await t.step(lines[0], async () => {
      const names = [1, 2].map((i) => `${lines[0].replace(/\W/g, "")}-${i}`);
      await fleet.write(
        Object.fromEntries(names.map((name) => [name, {
          server: fleet.target,
          lines: ["ProxyJump b", "ProxyUseFdpass yes", `HostKeyAlias ${name}`],
        }])),
        // The alias keeps the rows' bastions apart, so that each row logs in anew.
        { bastion: [...lines, `HostKeyAlias ${names[0]}-b`] },
      );
      const before = fleet.bastion.logins();
      for (const name of names) assertQuiet(await fleet.scene.ssh([name, "echo hello"]), "hello\n");
      assert.equal(fleet.bastion.logins() - before, 1);
      assert.equal(fleet.bastion.sessions(), 0);
      // While the bastion's connection is idle, the bastion cannot use the agent or display.
      const records = fleet.scene.sandbox.files().filter((file) => file.endsWith(".lane"));
      for (const file of records) {
        const text = await Deno.readTextFile(`${fleet.scene.sandbox.stateDir}/${file}`);
        assert.equal(JSON.parse(text).forwards, false);
      }
    });
  }
});

Deno.test("another route to the same target is another connection", async () => {
  await using fleet = await Fleet.open();
  await using second = await Sshd.start();
  assertQuiet(await fleet.scene.ssh(["t", "echo 1"]), "1\n");
  // The target's own lines stay as they are; its bastion is now another machine.
  await fleet.write({ b: { server: second } });
  assertQuiet(await fleet.scene.ssh(["t", "echo 2"]), "2\n");
  assert.deepEqual([fleet.bastion.logins(), second.logins(), fleet.target.logins()], [1, 1, 2]);
});

Deno.test("ssh jumps by itself where a word would need quotes", async () => {
  await using fleet = await Fleet.open();
  const { scene } = fleet;
  const bin = writeLaunchers(`${scene.sandbox.dir}/a prefix`);
  const call = async (host: string, word: string) =>
    assertQuiet(
      await scene.run([`${bin}/ssh`, "-F", scene.config, host, `echo ${word}`]),
      `${word}\n`,
    );
  for (const word of ["1", "2"]) await call("t", word);
  assert.deepEqual([fleet.bastion.logins(), fleet.target.logins()], [2, 2]);
  assert.deepEqual(scene.lanes(), []);
  for (const word of ["3", "4"]) await call("b", word);
  assert.equal(fleet.bastion.logins(), 3);
});

Deno.test("a ProxyCommand that is only another ssh is treated as a jump host, and is shared", async () => {
  await using fleet = await Fleet.open();
  const { scene } = fleet;
  // By the path of the real ssh: ours, found in PATH, would share in any case.
  const command = `${needProgram("ssh")} -F ${scene.config} -q -W %h:%p b`;
  await fleet.write(Object.fromEntries(["own", "own2"].map((name) => [name, {
    server: fleet.target,
    lines: [`ProxyCommand ${command}`, `HostKeyAlias ${name}`],
  }])));
  assertQuiet(await scene.ssh(["own", "echo 1"]), "1\n");
  assertQuiet(await scene.ssh(["own2", "echo 2"]), "2\n");
  assertQuiet(await scene.ssh(["own2", "echo 3"]), "3\n");
  assert.deepEqual([fleet.bastion.logins(), fleet.target.logins()], [1, 2]);
});

Deno.test("a ProxyCommand that does more is left as it is", async () => {
  await using fleet = await Fleet.open();
  const { scene } = fleet;
  const command = `env A=b ${needProgram("ssh")} -F ${scene.config} -W %h:%p b`;
  const lines = [`ProxyCommand ${command}`];
  await fleet.write({ t: { server: fleet.target, lines } });
  for (const word of ["1", "2"]) assertQuiet(await scene.ssh(["t", `echo ${word}`]), `${word}\n`);
  assert.deepEqual([fleet.bastion.logins(), fleet.target.logins()], [1, 1]);
  assert.equal(scene.lanes().length, 1);
});

Deno.test("-v shows the jump host's connection too", async () => {
  await using fleet = await Fleet.open();
  const { stderr } = await fleet.scene.ssh(["-v", "t", "true"]);
  const { port } = fleet.bastion;
  assert.match(stderr, new RegExp(`Authenticated to 127.0.0.1 \\(\\[127.0.0.1\\]:${port}`));
  assert.match(stderr, /Authenticated to 127.0.0.1 \(via proxy\)/);
});

Deno.test("decide detects a cycle of jump hosts, where ssh would run itself forever", async () => {
  await using fleet = await Fleet.open();
  const { config, sandbox } = fleet.scene;
  await Deno.writeTextFile(
    config,
    "Host a\nProxyJump b\nHost b\nProxyJump c\nHost c\nProxyJump b\n",
  );
  const { stateDir } = sandbox;
  Deno.mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const given = { library: "", stateDir, ssh: needProgram("ssh"), job: "", spaces: "" };
  const decision = await decide(["-F", config, "a"], given, {
    ...realSystem,
    env: (name) => sandbox.env[name],
  });
  assert.equal(decision.kind, "direct");
  assert.match(decision.kind === "direct" ? decision.reason : "", /cycle/);
});

Deno.test("a dead connection to a bastion is replaced", async () => {
  await using fleet = await Fleet.open();
  await fleet.write({ t2: { server: fleet.target, lines: ["ProxyJump b", "HostKeyAlias t2"] } });
  assertQuiet(await fleet.scene.ssh(["t", "echo 1"]), "1\n");
  await fleet.bastion.restart();
  assertQuiet(await fleet.scene.ssh(["t", "echo 2"]), "2\n");
  assertQuiet(await fleet.scene.ssh(["t2", "echo 3"]), "3\n");
  assert.equal(fleet.bastion.logins(), 2);
});
