/** Which calls share a connection, and that each reaches ssh as its user wrote it. */
import assert from "node:assert/strict";
import { needProgram, run } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

/** Words that would change if they were handled other than as one array. */
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

Deno.test("a call that goes direct reaches ssh with the user's words, byte for byte", async () => {
  await using scene = await Scene.open();
  const { sandbox } = scene;
  await sandbox.fakeSsh(`case $1 in -G) exec ${needProgram("ssh")} "$@" ;; esac; echo out; exit 3`);
  for (const words of DIRECT) {
    const args = words.includes("host") ? ["-F", "none", ...words, ...WORDS] : words;
    // The program takes words that begin with -- for a command of its own.
    const byProgram = args[0]?.startsWith("--") ? [] : [sandbox.argv(args)];
    for (const argv of [["ssh", ...args], ...byProgram]) {
      const { code, stdout, stderr } = await scene.run(argv);
      const hint = args.length === 0 && argv[0] !== "ssh" ? "sshs: hint: see sshs --help\n" : "";
      assert.deepEqual([code, stdout, stderr], [3, "out\n", hint], args.join(" "));
      assert.deepEqual(sandbox.recorded().at(-1), args);
    }
  }
  for (const env of [{ SSHS: "off" }, { SSHS_INSIDE: "/some/ssh" }]) {
    const args = ["host", ...WORDS];
    const before = sandbox.recorded().length;
    assert.equal((await scene.run(["ssh", ...args], { env })).code, 3);
    assert.deepEqual(sandbox.recorded().slice(before), [args], "nothing else is asked");
  }
});

Deno.test("a call that shares reaches ssh with the user's words, and the socket before them", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  const { sandbox, config } = scene;
  await sandbox.fakeSsh(`exec ${needProgram("ssh")} "$@"`);
  for (
    const args of [
      ["-F", config, "host", "printf %s 'a  b'", "", "\u00e4"],
      [`-F${config}`, "-n", "host", "-oBatchMode=yes", "-q", "--", "printf", "%s", "-N"],
      ["-T", "-F", config, "--", "host", "true"],
    ]
  ) {
    assert.equal((await scene.run(["ssh", ...args])).code, 0);
    const [letter, socket, ...rest] = sandbox.recorded().at(-1)!;
    assert.equal(letter, "-S");
    assert.equal(socket, scene.lanes()[0].socket);
    assert.deepEqual(rest, ["-o", "ControlMaster=no", ...args]);
  }
  assert.equal(scene.logins(), 1);
});

/** How a call differs from `ssh host 'echo hello'`. */
interface Difference {
  args?: string[];
  host?: string;
  env?: Record<string, string>;
}

/** What gives a call another connection. `DIR` is the server's directory. */
const OTHERS: readonly Difference[] = [
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
const SAMES: readonly Difference[] = [
  { args: ["-q"] },
  { args: ["-t"] },
  { args: ["-T"] },
  { args: ["-n"] },
  { args: ["-x"] },
  { args: ["-a"] },
  { args: ["-e", "none"] },
  { args: ["-o", "SendEnv=LANG"] },
  { args: ["-o", "BatchMode=yes"] },
  { args: ["-o", "ConnectTimeout=9"] },
  { args: ["-o", "LogLevel=ERROR"] },
  { args: ["-o", "ControlMaster=no"] },
  { host: "alias" },
  { env: { DISPLAY: ":1" } },
];

Deno.test("a call has a lane of its own exactly if ssh would connect differently for it", async () => {
  // Set, since a master that forwards an agent or a display does not linger otherwise.
  const env = { SSHS_LINGER: "600" };
  await using scene = await Scene.open({ client: { aliases: ["alias"] }, env });
  const { sshd } = scene;
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", `${sshd.dir}/other_key`]);
  const key = await Deno.readTextFile(`${sshd.dir}/other_key.pub`);
  await Deno.writeTextFile(`${sshd.dir}/authorized_keys`, key, { append: true });
  await Deno.copyFile(`${scene.config}.known_hosts`, `${sshd.dir}/other_known_hosts`);
  const call = async ({ args = [], host = "host", env }: Difference) => {
    const words = args.map((word) => word.replace("DIR", sshd.dir));
    const { code, stdout, stderr } = await scene.ssh([...words, host, "echo hello"], { env });
    assert.equal(stdout.trim(), "hello", `${args}: ${stderr}`);
    assert.equal(code, 0, `${args}`);
  };
  await call({});
  for (const same of SAMES) {
    await call(same);
    assert.equal(scene.logins(), 1, JSON.stringify(same));
  }
  for (const [i, other] of OTHERS.entries()) {
    await call(other);
    assert.equal(scene.logins(), i + 2, JSON.stringify(other));
  }
  // The connections made before are still shared.
  for (const again of [{}, ...OTHERS.slice(-2)]) await call(again);
  assert.equal(scene.logins(), 1 + OTHERS.length);
});

/** Writes the user's settings file; resolves to its path. */
async function writeSettings({ sandbox }: Scene, text: string): Promise<string> {
  const dir = `${sandbox.home}/.config/sshs`;
  await Deno.mkdir(dir, { recursive: true });
  await Deno.writeTextFile(`${dir}/config.json`, text);
  return `${dir}/config.json`;
}

Deno.test("an invalid settings file is reported with the place of the error, and shares least", async () => {
  const wrong = [
    [
      '{ "hosts": [{ "host": "*", "share": "no" }] }',
      'hosts[0].share takes true, false or "always"',
    ],
    ['{\n  "maxSessions": 2\n  "share": false\n}', "(line 3 column 3)"],
  ];
  for (const [text, place] of wrong) {
    await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
    const path = await writeSettings(scene, text);
    const { code, stdout, stderr } = await scene.ssh(["host", "echo hello"]);
    assert.deepEqual([code, stdout], [0, "hello\n"]);
    assert.match(stderr, /^sshs: [^\n]*\n(sshs: hint: [^\n]*\n)?$/);
    assert.ok(stderr.includes(`${path}: `) && stderr.includes(place), stderr);
    assert.equal((await scene.ssh(["-q", "host", "true"])).stderr, "");
    assert.equal(scene.logins(), 2, "nothing is shared");
  }
});

Deno.test("a settings file says what is not shared, and how many sessions a lane takes", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  await writeSettings(scene, '{ "hosts": [{ "host": "ho?t", "share": false }] }');
  for (let i = 1; i <= 2; i++) {
    const { code, stdout, stderr } = await scene.ssh(["host", "echo hello"]);
    assert.deepEqual([code, stdout, stderr], [0, "hello\n", ""]);
    assert.equal(scene.logins(), i);
  }
  await writeSettings(scene, '{ "maxSessions": 2 }');
  const held: Deno.ChildProcess[] = [];
  for (const logins of [3, 3, 4]) {
    const child = scene.spawnSsh(["host", "echo up; cat"]);
    const reader = child.stdout.getReader();
    await reader.read();
    reader.releaseLock();
    held.push(child);
    assert.equal(scene.logins(), logins, `${held.length} sessions at once`);
  }
  for (const child of held) {
    await child.stdin.close();
    assert.equal((await child.output()).code, 0);
  }
});
