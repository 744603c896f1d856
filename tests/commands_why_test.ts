/** --why and --doctor with a real sshd, which they do not contact. */
import assert from "node:assert/strict";
import { Agent } from "./support/agent.ts";
import { DEADLINE, expect, openScene, sshs } from "./support/commands.ts";
import { eventually } from "./support/eventually.ts";
import { needProgram } from "./support/programs.ts";
import { Session } from "./support/session.ts";

Deno.test("--why shows the decision, and does not touch the network", async () => {
  await using scene = await openScene();
  const call = ["-F", scene.config, "host", "ls", "a b"];
  const ask = async () => JSON.parse((await sshs(scene, ["--why", "--json", ...call])).stdout);
  const before = await ask();
  assert.deepEqual(
    [before.decision, before.reason, before.lane],
    ["share", "can be shared; no connection is open, so this call would log in", null],
  );
  assert.match(before.identity, /^[0-9a-f]{16}$/);
  assert.match(before.command[2], /\/XXXX\.sock$/);
  assert.equal(scene.sshd.connections(), 0);
  assert.deepEqual(scene.processes(), []);

  await scene.ssh(["host", "true"]);
  const after = await eventually("the far end is known to live", async () => {
    const now = await ask();
    return now.lane?.state === "open" && now.launcher && now;
  }, DEADLINE) || {};
  assert.deepEqual(
    [after.decision, after.reason, after.launcher, after.identity],
    ["share", "a shared connection is open", true, before.identity],
  );
  const { socket } = after.lane;
  assert.deepEqual(after.command.slice(1), ["-S", socket, "-o", "ControlMaster=no", ...call]);
  const { code, stdout } = await sshs(scene, ["--why", ...call]);
  assert.equal(code, 0);
  assert.match(stdout, /^shares +a shared connection is open\n/);
  assert.match(stdout, /^linger +closes 10m after the last session$/m);
  assert.match(stdout, /^plan +known command line: the call needs no Deno$/m);
  assert.match(stdout, /^command +\/\S+ -S \S+ -o ControlMaster=no -F \S+ host ls 'a b'$/m);
});

Deno.test("--why knows whether a plan holds now, and what has made it void", async () => {
  await using scene = await openScene();
  const plan = async (options: Parameters<typeof sshs>[2] = {}) => {
    const { stdout } = await sshs(scene, ["--why", "-F", scene.config, "host", "true"], options);
    return /^plan +(.*)$/m.exec(stdout)?.[1] ?? stdout;
  };
  assert.match(await plan(), /^new command line: /);
  const isKnown = async () => /^known command line/.test(await plan());
  await eventually("a plan is kept", isKnown, DEADLINE);
  assert.match(await plan({ env: { SSH_AUTH_SOCK: "/elsewhere" } }), /^SSH_AUTH_SOCK has changed/);
  await eventually("the plan is for this environment again", isKnown, DEADLINE);
  await Deno.writeTextFile(scene.config, "\n", { append: true });
  const { stdout } = await sshs(scene, ["--why", "--json", "-F", scene.config, "host"]);
  assert.equal(JSON.parse(stdout).void, scene.config);
});

Deno.test("--why names what would help", async () => {
  await using scene = await openScene({ env: { SSHS_MAX_SESSIONS: "1" } });
  const { home } = scene.sandbox;
  const ask = async (...args: string[]) =>
    (await sshs(scene, ["--why", "-F", scene.config, ...args])).stdout;
  assert.match(
    await ask("-L", "1234:localhost:5", "host"),
    /^direct +-L forwards ports.*\nhint +set "forwards" to true for this host in config\.json$/m,
  );
  await using session = await Session.open(scene);
  assert.match(
    await ask("host"),
    /^shares +can be shared; all connections are full.*\nhint +set "maxSessions" in config\.json/m,
  );
  await session.end();
  delete scene.sandbox.env.SSHS_LINGER;
  assert.match(await ask("-A", "host"), /^hint +set "linger" for this host in config\.json/m);
  assert.match(await ask("-A", "host"), /^linger +closes with the last session$/m);
  assert.match(
    await ask("-o", "ControlPersist=yes", "host"),
    /^linger +never closes$/m,
  );
  await Deno.mkdir(`${home}/.config/sshs`, { recursive: true });
  await Deno.writeTextFile(`${home}/.config/sshs/config.json`, '{ "share": false }');
  assert.match(await ask("host"), /^hint +set "share" to true for this host in config\.json$/m);
});

Deno.test("--why explains -O, and calls that go direct by their arguments alone", async () => {
  await using scene = await openScene();
  await scene.ssh(["host", "true"]);
  const ask = async (...args: string[]) =>
    JSON.parse((await sshs(scene, ["--why", "--json", ...args])).stdout);
  const control = await ask("-F", scene.config, "-O", "exit", "host");
  assert.deepEqual(
    [control.decision, control.reason, control.command[1]],
    ["direct", "-O controls the shared connection", "-S"],
  );
  assert.equal(scene.sandbox.masters().length, 1, "it was only asked");
  const version = await ask("-V");
  assert.deepEqual([version.decision, version.lane, version.identity], ["direct", null, null]);
  assert.deepEqual(version.command.slice(1), ["-V"]);
});

Deno.test("--doctor finds no problem in a good setup, and has a hint for each problem", async () => {
  await using scene = await openScene();
  const { sandbox } = scene;
  {
    await using _agent = await Agent.start(scene.sandbox);
    await scene.ssh(["host", "true"]);
    const good = await sshs(scene, ["--doctor", "-F", scene.config, "host"]);
    expect(good, { code: 0, stderr: "" });
    assert.ok(!/^warn/m.test(good.stdout), good.stdout);
    for (
      const line of [
        /^ok +OpenSSH_\S+ .* at \S+\/ssh$/m,
        /^ok +Deno \d\S+ at \/\S+$/m,
        new RegExp(`^ok +ssh in PATH is sshs: ${scene.bin}/ssh$`, "m"),
        /^ok +proxies can be detached from a terminal: \S+setsid$/m,
        /^ok +it is on a local file system: \S+$/m,
        /^ok +the clock agrees with that of the file system$/m,
        /^ok +the sleeper is running \(pid \d+\), with 1 connection$/m,
        /^ok +-F \S+ host would be shared$/m,
        /^ok +plan: \S/m,
        /^ok +the agent at \S+ answers, and has 0 keys$/m,
      ]
    ) assert.match(good.stdout, line);
  }

  await Deno.mkdir(`${sandbox.home}/.config/sshs`, { recursive: true });
  await Deno.writeTextFile(`${sandbox.home}/.config/sshs/config.json`, '{ "lingr": 1 }');
  sandbox.env.PATH = `${sandbox.env.PATH}:${scene.bin}`.replace(`${scene.bin}:`, "");
  Object.assign(sandbox.env, { SSHS_LINGER: "soon", SSHS_LOOK: "a", SSHS_SSH: "/gone/ssh" });
  sandbox.env.SSHS = "maybe";
  await Deno.chmod(sandbox.stateDir, 0o755);
  const bad = await scene.run([`${scene.bin}/sshs`, "--doctor"]);
  assert.equal(bad.code, 1);
  for (
    const lines of [
      /^warn +\S+\/ssh comes before the launcher of sshs in PATH\n +hint: export PATH="/m,
      /^warn +the state directory .* can be used by others\n +hint: chmod 700 /m,
      /^warn +settings not understood: .*lingr is unknown.*\n +hint: edit /m,
      /^warn +SSHS_LINGER takes a duration, as 10m, and not soon\n +hint: unset SSHS_LINGER$/m,
      /^warn +SSHS_LOOK takes seconds from 0\.1 to 60, and not a\n/m,
      /^warn +SSHS_SSH takes the absolute path of an ssh, and not \/gone\/ssh\n/m,
      /^warn +SSHS takes off or only, and not maybe\n/m,
    ]
  ) assert.match(bad.stdout, lines);
});

Deno.test("--doctor reports an agent that is silent or gone", async () => {
  await using scene = await openScene();
  const socket = `${scene.sandbox.dir}/agent`;
  scene.sandbox.env.SSH_AUTH_SOCK = socket;
  const ask = async () => (await sshs(scene, ["--doctor", "-F", scene.config, "host"])).stdout;
  assert.match(await ask(), /^warn +the agent at \S+ is not there\n +hint: /m);
  using _silent = Deno.listen({ transport: "unix", path: socket });
  assert.match(await ask(), /^warn +the agent at .* does not answer within 200 ms.*\n +hint: /m);
});

Deno.test("--doctor reports a launcher of another version, and one whose Deno is gone", async () => {
  await using scene = await openScene();
  const library = scene.bin.replace(/\/bin$/, "");
  const edit = async (name: string, line: RegExp, other: string) => {
    const text = await Deno.readTextFile(`${library}/${name}`);
    await Deno.writeTextFile(`${library}/${name}`, text.replace(line, other));
    return text;
  };
  const ask = async () => (await sshs(scene, ["--doctor"])).stdout;
  const text = await edit("launcher.sh", /^sshs_version=.*$/m, "sshs_version='0.0.1'");
  assert.match(await ask(), /^warn +\S+\/ssh belongs to sshs 0\.0\.1\n +hint: sshs --install$/m);
  await Deno.writeTextFile(`${library}/launcher.sh`, text);
  await edit("program", /^sshs_deno=.*$/m, "sshs_deno='/gone/deno'");
  assert.match(await ask(), /^warn +\S+\/ssh needs \/gone\/deno, which cannot be run\n +hint: /m);
});

Deno.test("--doctor names what prevents sharing in ssh's configuration, and what to do about it", async () => {
  await using scene = await openScene();
  const config = `${scene.sandbox.dir}/config`;
  const rows = [
    {
      lines: "LocalForward 1234 localhost:5",
      says:
        /^warn +host would use plain ssh: the configuration forwards ports.*\n +hint: pass -o Clear/m,
    },
    {
      lines: "PermitLocalCommand yes\nLocalCommand true",
      says: /^warn +host would use plain ssh: .*LocalCommand.*\n +hint: \S/m,
    },
    {
      lines: "ControlMaster ask",
      says: /^warn +host would use plain ssh: .*ControlMaster.*\n +hint: \S/m,
    },
    // sshs replaces the user's own sharing.
    {
      lines: "ControlMaster auto\nControlPath ~/.ssh/%C\nControlPersist 60",
      says: /^ok +host would be shared$/m,
    },
  ];
  for (const { lines, says } of rows) {
    await Deno.writeTextFile(config, `Host *\n${lines}\n`);
    const { stdout } = await sshs(scene, ["--doctor", "-F", config, "host"]);
    assert.match(stdout.replaceAll(`-F ${config} `, ""), says);
  }
  assert.equal(scene.sshd.connections(), 0);
});

Deno.test("--doctor warns about OpenSSH 10.1's problem with shared terminals", async () => {
  await using scene = await openScene();
  for (const [version, warns] of [["10.1p1", true], ["10.2p1", false]] as const) {
    await scene.sandbox.fakeSsh(
      `[ "$*" = -V ] && { echo 'OpenSSH_${version}, OpenSSL 3.5.4' >&2; exit; }
      exec ${needProgram("ssh")} "$@"`,
    );
    const { stdout } = await sshs(scene, ["--doctor", "-F", scene.config, "host"]);
    const trouble = /^warn +OpenSSH_10\.1p1 at \S+\/ssh: .*IPQoS.*\n +hint: install OpenSSH 10\.2/m;
    assert.equal(trouble.test(stdout), warns, stdout);
    assert.match(stdout, new RegExp(`^${warns ? "warn" : "ok"} +OpenSSH_${version} at`, "m"));
  }
});

Deno.test("--why knows which direct calls need no Deno", async () => {
  await using scene = await openScene();
  const ask = async (args: string[], env: Record<string, string> = {}) =>
    JSON.parse((await sshs(scene, ["--why", "--json", ...args], { env })).stdout);
  const call = ["-F", scene.config, "host", "true"];
  const local = ["-o", "PermitLocalCommand=yes", "-o", "LocalCommand=true", ...call];
  await eventually("plans can be kept", async () => (await ask(call)).launcher, DEADLINE);
  const rows: [words: string[], launcher: boolean, env?: Record<string, string>][] = [
    [["-V"], true],
    [["-N", ...call], true],
    [["-L", "1234:localhost:5", ...call], true],
    [call, true, { SSHS: "off" }],
    [call, true, { SSHS_INSIDE: "/usr/bin/ssh" }],
    [local, true],
    [["-O", "check", ...call], false],
  ];
  for (const [words, launcher, env] of rows) {
    const answer = await ask(words, env);
    assert.deepEqual([answer.decision, answer.launcher], ["direct", launcher], words.join(" "));
  }
  const { stdout } = await sshs(scene, ["--why", "-V"]);
  assert.match(stdout, /^direct +-V only prints the version\nplan +plain ssh, at once\n/);
});

Deno.test("--doctor quotes the words of the call in its hint", async () => {
  await using scene = await openScene();
  const config = `${scene.sandbox.dir}/config`;
  await Deno.writeTextFile(config, "ControlMaster ask\n");
  const { stdout } = await sshs(scene, ["--doctor", "-F", config, "-o", "User me", "host"]);
  assert.match(stdout, /^ +hint: sshs --why -F \S+ -o 'User me' host$/m);
});

Deno.test("--why says the same as the call does", async () => {
  await using scene = await openScene();
  const rows: [words: string, decision: string, reason: RegExp, env?: Record<string, string>][] = [
    ["", "share", /no connection is open/],
    ["-v", "direct", /-v, -E or -y/],
    ["-tt", "direct", /-tt without a terminal/],
    ["-S none", "direct", /-S names a control socket/],
    ["-o ControlPath=/x", "direct", /ControlPath/],
    ["-W host:22", "share", /no connection is open/],
    ["", "direct", /SSHS=only/, { SSHS: "only" }],
    ["", "direct", /LD_PRELOAD/, { LD_PRELOAD: "libm.so.6" }],
  ];
  for (const [words, decision, reason, env] of rows) {
    const call = [...words.split(" ").filter(Boolean), "-F", scene.config, "host"];
    const why = JSON.parse((await sshs(scene, ["--why", "--json", ...call], { env })).stdout);
    assert.equal(why.decision, decision, `${words} ${why.reason}`);
    assert.match(why.reason, reason);
  }
  assert.equal(scene.sshd.connections(), 0);
  const nice = await scene.run(["nice", "sshs", "--why", "-F", scene.config, "host"]);
  assert.match(nice.stdout, /^direct +it opens no connection for others: /);
});
