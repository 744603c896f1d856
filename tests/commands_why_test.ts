/** --why and --doctor with a real sshd, which they do not contact. */
import assert from "node:assert/strict";
import { Agent } from "./support/agent.ts";
import { DEADLINE, expect, openScene, sshs, writeSettings } from "./support/commands.ts";
import { eventually } from "./support/eventually.ts";
import { needProgram } from "./support/programs.ts";
import type { Scene } from "./support/scene.ts";
import { Session } from "./support/session.ts";

/** Returns what `--why --json` prints. */
async function whyOf(scene: Scene, args: string[], env: Record<string, string> = {}) {
  return JSON.parse((await sshs(scene, ["--why", "--json", ...args], { env })).stdout);
}

Deno.test("--why shows the decision, and does not touch the network", async () => {
  await using scene = await openScene();
  const call = ["-F", scene.config, "host", "ls", "a b"];
  const before = await whyOf(scene, call);
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
    const now = await whyOf(scene, call);
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
  assert.equal((await whyOf(scene, ["-F", scene.config, "host"])).void, scene.config);
});

Deno.test("--why names the reason that the call has, what would help, and who decides", async () => {
  await using scene = await openScene({ env: { SSHS_LINGER: "" } });
  const call = ["-F", scene.config, "host"];
  await eventually("plans are kept", async () => (await whyOf(scene, call)).launcher, DEADLINE);
  type Row = [words: string, decision: string, reason: RegExp, remedy: RegExp | null];
  const rows: [...Row, launcher: boolean | null, env?: Record<string, string>][] = [
    ["", "share", /no connection is open/, null, true],
    ["-W host:22", "share", /no connection is open/, null, null],
    ["-A", "share", /no connection is open/, /^set "linger" for this host in config\.json/, null],
    ["-N", "direct", /-N/, null, true],
    ["-v", "direct", /-v, -E or -y/, null, null],
    ["-tt", "direct", /-tt without a terminal/, null, null],
    ["-S none", "direct", /-S names a control socket/, /^leave out -S$/, null],
    ["-o ControlPath=/x", "direct", /ControlPath/, null, null],
    ["-L 1:a:2", "direct", /-L forwards ports/, /^set "forwards" to true for this host/, true],
    ["-o PermitLocalCommand=yes -o LocalCommand=true", "direct", /LocalCommand/, /./, true],
    ["", "direct", /SSHS=off/, /^unset SSHS$/, true, { SSHS: "off" }],
    ["", "direct", /SSHS=only/, null, null, { SSHS: "only" }],
    ["", "direct", /SSHS_INSIDE is set/, null, true, { SSHS_INSIDE: "/usr/bin/ssh" }],
    ["", "direct", /LD_PRELOAD/, null, null, { LD_PRELOAD: "libm.so.6" }],
  ];
  for (const [words, decision, reason, remedy, launcher, env] of rows) {
    const why = await whyOf(scene, [...words.split(" ").filter(Boolean), ...call], env);
    const say = `${words} ${JSON.stringify(why)}`;
    assert.equal(why.decision, decision, say);
    assert.match(why.reason, reason);
    if (launcher !== null) assert.equal(why.launcher, launcher, say);
    if (remedy) assert.match(why.remedy ?? "", remedy, say);
  }
  const text = async (...args: string[]) => (await sshs(scene, ["--why", ...args])).stdout;
  assert.match(await text("-A", ...call), /^linger +closes with the last session$/m);
  assert.match(await text("-o", "ControlPersist=yes", ...call), /^linger +never closes$/m);
  assert.match(await text("-V"), /^direct +-V only prints the version\nplan +plain ssh, at once\n/);
  const nice = await scene.run(["nice", "sshs", "--why", ...call]);
  assert.match(nice.stdout, /^direct +it opens no connection for others: /);
  assert.equal(scene.sshd.connections(), 0);

  await using session = await Session.open(scene);
  const full = await whyOf(scene, call, { SSHS_MAX_SESSIONS: "1" });
  const control = await whyOf(scene, ["-O", "exit", ...call]);
  assert.equal(await session.end(), 0);
  assert.match(`${full.reason}: ${full.remedy}`, /all connections are full.*: set "maxSessions"/);
  assert.deepEqual(
    [control.decision, control.reason, control.command[1], control.launcher],
    ["direct", "-O controls the shared connection", "-S", false],
  );
  assert.equal(scene.sandbox.masters().length, 1, "it was only asked");
  await writeSettings(scene, { share: false });
  assert.match((await whyOf(scene, call)).remedy, /^set "share" to true for this host in config/);
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
        /^ok +the agent at \S+ answers, and has 0 keys$/m,
      ]
    ) assert.match(good.stdout, line);
  }
  await writeSettings(scene, { lingr: 1 });
  sandbox.env.PATH = `${sandbox.env.PATH}:${scene.bin}`.replace(`${scene.bin}:`, "");
  Object.assign(sandbox.env, { SSHS_LINGER: "soon", SSHS_LOOK: "a", SSHS_SSH: "/gone/ssh" });
  sandbox.env.SSHS = "maybe";
  await Deno.chmod(sandbox.stateDir, 0o755);
  const ask = () => scene.run([`${scene.bin}/sshs`, "--doctor"]);
  const bad = await ask();
  assert.equal(bad.code, 1);
  for (
    const lines of [
      /^warn +\S+\/ssh comes before the launcher of sshs in PATH\n +hint: export PATH="/m,
      /^warn +the state directory .* can be used by others\n +hint: chmod 700 /m,
      /^warn +settings not understood: .*lingr is unknown.*\n +hint: edit /m,
      /^warn +SSHS_LOOK takes seconds from 0\.1 to 60, and not a\n/m,
      /^warn +SSHS_SSH takes the absolute path of an ssh, and not \/gone\/ssh\n/m,
      /^warn +SSHS takes off or only, and not maybe\n/m,
    ]
  ) assert.match(bad.stdout, lines);
  await writeSettings(scene, {});
  const unset = /^warn +settings not understood: SSHS_LINGER takes .*\n +hint: unset SSHS_LINGER$/m;
  assert.match((await ask()).stdout, unset);
});

Deno.test("--doctor reports an agent and a launcher that do not work, and an ssh that shares badly", async () => {
  await using scene = await openScene();
  const ask = async () => (await sshs(scene, ["--doctor", "-F", scene.config, "host"])).stdout;
  const socket = scene.sandbox.env.SSH_AUTH_SOCK = `${scene.sandbox.dir}/agent`;
  assert.match(await ask(), /^warn +the agent at \S+ is not there\n +hint: /m);
  using _silent = Deno.listen({ transport: "unix", path: socket });
  assert.match(await ask(), /^warn +the agent at .* does not answer within 200 ms.*\n +hint: /m);

  const versions = [["10.1p1", /IPQoS.*\n +hint: install OpenSSH 10\.2/], [
    "10.2p1",
    null,
  ]] as const;
  for (const [version, trouble] of [...versions, ["9.9", /not OpenSSH\n +hint: /] as const]) {
    const name = version === "9.9" ? "Dropbear" : "OpenSSH";
    await scene.sandbox.fakeSsh(
      `[ "$*" = -V ] && { echo '${name}_${version}, OpenSSL 3.5.4' >&2; exit; }
      exec ${needProgram("ssh")} "$@"`,
    );
    const stdout = await ask();
    assert.match(stdout, new RegExp(`^${trouble ? "warn" : "ok"} +${name}_${version} at`, "m"));
    if (trouble) assert.match(stdout, trouble);
  }

  const library = scene.bin.replace(/\/bin$/, "");
  const edit = async (name: string, line: RegExp, other: string) => {
    const text = await Deno.readTextFile(`${library}/${name}`);
    await Deno.writeTextFile(`${library}/${name}`, text.replace(line, other));
    return text;
  };
  const text = await edit("launcher.sh", /^sshs_version=.*$/m, "sshs_version='0.0.1'");
  assert.match(await ask(), /^warn +\S+\/ssh belongs to sshs 0\.0\.1\n +hint: sshs --install$/m);
  await Deno.writeTextFile(`${library}/launcher.sh`, text);
  await edit("program", /^sshs_deno=.*$/m, "sshs_deno='/gone/deno'");
  assert.match(await ask(), /^warn +\S+\/ssh needs \/gone\/deno, which cannot be run\n +hint: /m);
});

Deno.test("--doctor names what prevents sharing in ssh's configuration, and what to do about it", async () => {
  await using scene = await openScene();
  const config = `${scene.sandbox.dir}/config`;
  const plain = "^warn +-o 'User me' host would use plain ssh: ";
  const rows = [
    [
      "LocalForward 1234 localhost:5",
      `${plain}the configuration forwards.*\\n +hint: pass -o Clear`,
    ],
    ["PermitLocalCommand yes\nLocalCommand true", `${plain}.*LocalCommand.*\\n +hint: \\S`],
    // The words of the call are quoted.
    ["ControlMaster ask", `${plain}.*ControlMaster.*\\n +hint: sshs --why -o 'User me' host$`],
    // sshs replaces the user's own sharing.
    [
      "ControlMaster auto\nControlPath ~/.ssh/%C\nControlPersist 60",
      "^ok +-o 'User me' host would be shared$",
    ],
  ];
  for (const [lines, says] of rows) {
    await Deno.writeTextFile(config, `Host *\n${lines}\n`);
    const { stdout } = await sshs(scene, ["--doctor", "-F", config, "-o", "User me", "host"]);
    assert.match(stdout.replaceAll(`-F ${config} `, ""), new RegExp(says, "m"));
  }
  assert.equal(scene.sshd.connections(), 0);
});
