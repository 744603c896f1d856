import assert from "node:assert/strict";
import { needProgram, run } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const DEADLINE = { deadline: 40_000 };

Deno.test("many calls share one connection, which goes when its linger is over", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  Object.assign(sandbox.env, { SSHS_LOOK: "2", SSHS_LINGER: "5" });
  const call = ["-F", sshd.config, "host"];
  await sandbox.ssh([...call, "true"]); // Which adds the host key.
  for (let i = 0; i < 5; i++) {
    const { code, stdout, stderr } = await sandbox.sshs([...call, `echo ${i}; exit ${i}`]);
    assert.deepEqual([code, stdout, stderr], [i, `${i}\n`, ""]);
  }
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  const { stdoutBytes } = await sandbox.sshs([...call, "cat"], { stdin: bytes });
  assert.deepEqual(new Uint8Array(stdoutBytes), bytes);
  assert.equal(sshd.logins(), 2);
  assert.equal(sshd.sessions(), 7);
  assert.equal(sandbox.masters().length, 1);
  await sandbox.assertClean(DEADLINE);
});

Deno.test("the master has a session of its own and nothing of the caller's", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  const child = sandbox.spawnSshs(["-F", sshd.config, "host", "true"]);
  await child.stdin.close();
  await child.output();
  const [master] = sandbox.masters();
  assert.equal(master.sid, master.pid);
  for (const descriptor of [0, 1]) {
    assert.equal(await Deno.readLink(`/proc/${master.pid}/fd/${descriptor}`), "/dev/null");
  }
  for (const { name } of Deno.readDirSync(`/proc/${master.pid}/fd`)) {
    const target = await Deno.readLink(`/proc/${master.pid}/fd/${name}`);
    assert.doesNotMatch(target, /^(pipe|\/dev\/(pts|tty))/, `descriptor ${name}`);
  }
});

/** Words that any handling but that of one array would change. */
const WORDS = [
  "a  b",
  "",
  "*",
  "'\"\\",
  "$HOME `id`",
  "line\nfeed\t",
  "\u00e4\u{1f600}",
  "--",
  "-L",
];

/** Calls that go direct. */
const DIRECT: readonly string[][] = [
  ["-N", "host"],
  ["-fN", "host"],
  ["-M", "host"],
  ["-S", "none", "host"],
  ["-O", "check", "host"],
  ["-G", "host"],
  ["-Q", "cipher"],
  ["-V"],
  [],
  ["-L", "8080:localhost:80", "host"],
  ["-R0", "host"],
  ["-D", "1080", "host"],
  ["-w", "0:0", "host"],
  ["host", "-N"],
  ["-o", "ControlPath=none", "host"],
  ["-oControlMaster=auto", "host"],
  ["-o", "LocalForward=8080 localhost:80", "host"],
  ["-o", "Tunnel=yes", "host"],
  ["-oSessionType=none", "host"],
  ["-oPermitLocalCommand=yes", "-oLocalCommand=date", "host"],
  ["-o", "ControlPersist"],
  ["-z", "host"],
  ["--bogus"],
];

Deno.test("a call that goes direct reaches ssh with the user's argv, byte for byte", async () => {
  await using sandbox = await Sandbox.create();
  const real = needProgram("ssh");
  await sandbox.fakeSsh(`case "$1 $2" in "-G -v") exec ${real} "$@" ;; esac; echo out; exit 3`);
  for (const words of DIRECT) {
    const argv = words.includes("host") ? ["-F", "none", ...words, ...WORDS] : words;
    const result = await sandbox.sshs(argv);
    assert.deepEqual([result.code, result.stdout, result.stderr], [3, "out\n", ""], argv.join(" "));
    assert.deepEqual(sandbox.recorded().at(-1), argv);
  }
  for (const env of [{ SSHS: "off" }, { SSHS_INSIDE: "/some/ssh" }]) {
    const argv = ["host", ...WORDS];
    const before = sandbox.recorded().length;
    assert.equal((await sandbox.sshs(argv, { env })).code, 3);
    assert.deepEqual(sandbox.recorded().slice(before), [argv]);
  }
  assert.deepEqual(sandbox.files(), []);
});

Deno.test("a word that is not UTF-8 reaches ssh as it is", async () => {
  await using sandbox = await Sandbox.create();
  await sandbox.fakeSsh();
  const script = '"$@" host "$(printf \'a\\377\\303b\')"';
  const { code, stderr } = await sandbox.run(["sh", "-c", script, "sh", ...sandbox.argv([])]);
  assert.deepEqual([code, stderr], [0, ""]);
  const recorded = Deno.readFileSync(`${sandbox.dir}/recorded`);
  const expected = [...new TextEncoder().encode("2\0host\0a"), 0xff, 0xc3, 0x62, 0];
  assert.deepEqual([...recorded.slice(-expected.length)], expected);
});

Deno.test("a call that shares reaches ssh with the user's argv and the socket before it", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  await sandbox.fakeSsh(`exec ${needProgram("ssh")} "$@"`);
  for (
    const argv of [
      ["-F", sshd.config, "host", "printf %s 'a  b'", "", "\u00e4"],
      [`-F${sshd.config}`, "-n", "host", "-oBatchMode=yes", "-v", "--", "printf", "%s", "-N"],
      ["-T", "-F", sshd.config, "--", "host", "true"],
    ]
  ) {
    const { code } = await sandbox.sshs(argv);
    assert.equal(code, 0);
    const [letter, socket, ...rest] = sandbox.recorded().at(-1)!;
    assert.equal(letter, "-S");
    assert.equal(socket.startsWith(`${sandbox.stateDir}/`), true, socket);
    assert.deepEqual(rest, ["-o", "ControlMaster=no", ...argv]);
  }
  assert.equal(sshd.logins(), 1);
});

/** What makes another connection of a call. `DIR` is the server's directory. */
const OTHERS: readonly { args?: string[]; env?: Record<string, string> }[] = [
  { args: ["-i", "DIR/other_key"] },
  { env: { SSH_AUTH_SOCK: "/other/agent" } },
  { args: ["-o", "StrictHostKeyChecking=no"] },
  { args: ["-o", "UserKnownHostsFile=DIR/other_known_hosts"] },
  { args: ["-A"] },
  { args: ["-X"], env: { DISPLAY: ":99" } },
  { args: ["-C"] },
  { args: ["-c", "aes128-ctr"] },
  { args: ["-4"] },
  { args: ["-o", "ServerAliveInterval=7"] },
];

/** What does not. */
const SAMES: readonly { args?: string[]; host?: string; env?: Record<string, string> }[] = [
  { args: ["-v"] },
  { args: ["-q"] },
  { args: ["-t"] },
  { args: ["-tt"] },
  { args: ["-T"] },
  { args: ["-n"] },
  { args: ["-x"] },
  { args: ["-a"] },
  { args: ["-e", "none"] },
  { args: ["-o", "RequestTTY=force"] },
  { args: ["-o", "SendEnv=LANG"] },
  { args: ["-o", "BatchMode=yes"] },
  { args: ["-o", "ConnectTimeout=9"] },
  { args: ["-o", "LogLevel=ERROR"] },
  { args: ["-o", "ControlMaster=no"] },
  { host: "alias" },
  { env: { DISPLAY: ":1" } },
];

Deno.test("a call that ssh would connect otherwise for has a master of its own, and no other has", async () => {
  await using sshd = await Sshd.start({ client: { aliases: ["alias"] } });
  await using sandbox = await Sandbox.create();
  sandbox.env.SSHS_LINGER = "600"; // Else who forwards an agent or a display does not linger.
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", `${sshd.dir}/other_key`]);
  const key = await Deno.readTextFile(`${sshd.dir}/other_key.pub`);
  await Deno.writeTextFile(`${sshd.dir}/authorized_keys`, key, { append: true });
  const call = async (
    { args = [], host = "host", env }: (typeof OTHERS)[0] & { host?: string },
  ) => {
    const words = args.map((word) => word.replace("DIR", sshd.dir));
    const argv = ["-F", sshd.config, ...words, host, "echo hello"];
    const { code, stdout, stderr } = await sandbox.sshs(argv, { env });
    assert.equal(stdout.trim(), "hello", `${args}: ${stderr}`);
    assert.equal(code, 0, `${args}`);
  };
  await call({});
  for (const same of SAMES) {
    await call(same);
    assert.equal(sshd.logins(), 1, JSON.stringify(same));
  }
  for (const [i, other] of OTHERS.entries()) {
    await call(other);
    assert.equal(sshd.logins(), i + 2, JSON.stringify(other));
  }
  // Each is shared in its turn.
  for (const again of [{}, ...OTHERS.slice(-2)]) await call(again);
  assert.equal(sshd.logins(), 1 + OTHERS.length);
});

Deno.test("a call through a jump host has another master than one without", async () => {
  await using sshd = await Sshd.start({ client: { aliases: ["jump"] } });
  await using sandbox = await Sandbox.create();
  for (const words of [[], ["-J", "jump"], [], ["-J", "jump"]]) {
    const { code, stderr } = await sandbox.sshs(["-F", sshd.config, ...words, "host", "true"]);
    assert.equal(code, 0, stderr);
  }
  assert.equal(new Set(sandbox.files().filter((file) => file.endsWith("/identity"))).size, 2);
});

Deno.test("config.json is heard by real calls, and a wrong one is said in a line and passed over", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  sandbox.env.SSHS_LOOK = "0.5";
  const dir = `${sandbox.home}/.config/sshs`;
  const path = `${dir}/config.json`;
  await Deno.mkdir(dir, { recursive: true });
  const call = ["-F", sshd.config, "host", "echo hello"];
  const stop = async () => {
    const { code, stderr } = await sandbox.sshs(["--stop", "--all", "--now"], { as: "sshs" });
    assert.deepEqual([code, stderr], [0, ""]);
    await sandbox.assertClean(DEADLINE);
  };

  const wrong = [
    ['{ "hosts": [{ "host": "*", "share": "no" }] }', "hosts[0].share takes true or false"],
    ['{\n  "maxSessions": 2\n  "share": false\n}', "(line 3 column 3)"],
  ];
  for (const [text, place] of wrong) {
    await Deno.writeTextFile(path, text);
    const { code, stdout, stderr } = await sandbox.sshs(call);
    assert.deepEqual([code, stdout], [0, "hello\n"]);
    assert.match(stderr, /^sshs: Not read: .*; using the defaults\n$/);
    assert.ok(stderr.includes(`${path}: `) && stderr.includes(place), stderr);
    assert.equal((await sandbox.sshs(["-q", ...call])).stderr, "");
  }
  assert.equal(sshd.logins(), 1, "they share");
  await stop();

  await Deno.writeTextFile(path, '{ "hosts": [{ "host": "ho?t", "share": false }] }');
  for (let i = 0; i < 2; i++) {
    const { code, stdout, stderr } = await sandbox.sshs(call);
    assert.deepEqual([code, stdout, stderr], [0, "hello\n", ""]);
  }
  assert.equal(sshd.logins(), 3);
  assert.deepEqual(sandbox.files(), []);

  await Deno.writeTextFile(path, '{ "maxSessions": 2 }');
  const held: Deno.ChildProcess[] = [];
  for (const logins of [4, 4, 5]) {
    const child = sandbox.spawnSshs(["-F", sshd.config, "host", "echo up; cat"]);
    const reader = child.stdout.getReader();
    await reader.read();
    reader.releaseLock();
    held.push(child);
    assert.equal(sshd.logins(), logins, `${held.length} sessions at once`);
  }
  for (const child of held) {
    await child.stdin.close();
    assert.equal((await child.output()).code, 0);
  }
  await stop();
});
