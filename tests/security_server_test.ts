/** What a hostile server, name, repository or variable can do through us, as SECURITY.md says. */
import assert from "node:assert/strict";
import { harmless } from "../lib/os/terminal.ts";
import { Agent, useAgentAlone } from "./support/agent.ts";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { endAll } from "./support/processes.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Scene } from "./support/scene.ts";

const LINGERING = { env: { SSHS_LINGER: "60" } };

/** What a terminal would obey as a command, or show in another order than written. */
// deno-lint-ignore no-control-regex
const HARMFUL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;
/** Sets the title, erases the screen (in C0 and in C1), and reverses the rest of the line. */
const ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b2J\u202e";

Deno.test("harmless leaves nothing for a terminal to obey, and the text readable", () => {
  assert.equal(harmless("a\tb\nc d é ü 日本 \u{1F600}"), "a\tb\nc d é ü 日本 \u{1F600}");
  assert.equal(harmless("\x1b[2J\x07\r\b\x7f\x9b\u202e"), "^[[2J^G^M^H\\u007f\\u009b\\u202e");
  assert.doesNotMatch(harmless(ESCAPES), HARMFUL);
});

Deno.test("a hostile server's banner comes as plain ssh shows it, without escapes", async () => {
  await using scene = await Scene.open({ ...LINGERING, banner: `${ESCAPES}Welcome\n` });
  const plain = await scene.plainSsh(["host", "true"]);
  const shared = await scene.ssh(["host", "true"]);
  assert.equal(scene.lanes().length, 1);
  assert.match(shared.stderr, /Welcome/);
  assert.equal(shared.stderr, plain.stderr);
  assert.doesNotMatch(shared.stderr.replaceAll("\u202e", ""), HARMFUL);
});

Deno.test("a hostile name goes to the terminal without escapes in all that we print", async () => {
  await using sandbox = await Sandbox.create();
  const host = `${ESCAPES}\nsshs: all is well`;
  const home = `${sandbox.stateDir}/0123456789abcdef`;
  await Deno.mkdir(`${home}/1.leases`, { recursive: true, mode: 0o700 });
  const record = { linger: 600, maxSessions: 10, grace: 10, forwards: false, agent: null };
  await Deno.writeTextFile(
    `${home}/1.lane`,
    JSON.stringify({ ...record, destination: host, resolved: `me@${host}:22` }),
  );
  const calls: [string[], Record<string, string>?][] = [
    [["--list"]],
    [["--list", "--json"]],
    [["--why", host, "true"]],
    [["--why", "--json", host, "true"]],
    [["--stop", "another"]],
    [["--hold", host, "host"]],
    [["--warm", `--${host}`]],
    [[`--${host}`]],
    [["--why", "host"], { SSHS_DIR: host }],
    [["--list"], { SSHS_DIR: host }],
  ];
  for (const [args, env] of calls) {
    const { stdout, stderr } = await sandbox.sshs(args, { env });
    assert.notEqual(stdout + stderr, "", args[0]);
    assert.doesNotMatch(stdout + stderr, HARMFUL, args.join(" "));
    // A line of ours stays one line, so the text cannot forge a message of ours.
    assert.doesNotMatch(stdout + stderr, /^sshs: all is well/m, args.join(" "));
  }
});

Deno.test("the server gets no variable of the caller but what a session sends", async () => {
  const client = { config: ["SendEnv MARK"] };
  await using scene = await Scene.open({ ...LINGERING, config: ["AcceptEnv *"], client });
  for (const mark of ["first", "second"]) {
    const env = { MARK: mark, TOKEN: "secret" };
    const { stdout } = await scene.ssh(["host", "env"], { env });
    assert.match(stdout, new RegExp(`^MARK=${mark}$`, "m"));
    assert.doesNotMatch(stdout, /secret|SSHS/);
  }
  assert.equal(scene.logins(), 1);
});

Deno.test("a master that forwards an agent or a display goes within one look and 2 s; one that does not lingers", async () => {
  await using scene = await Scene.open({
    env: { SSHS_LOOK: "1" },
    config: ["X11Forwarding yes", "XAuthLocation /bin/true"],
  });
  delete scene.sandbox.env.SSHS_LINGER; // It would count as the user's choice.
  // A display needs only a cookie until something is drawn on it.
  const xauth = await scene.sandbox.addProgram(
    "xauth",
    `echo ':99 MIT-MAGIC-COOKIE-1 ${"5a".repeat(16)}'`,
  );
  await using _agent = await Agent.start(scene.sandbox);
  await useAgentAlone(scene);
  const { sandbox, sshd } = scene;
  const call = async (args: string[], env: Record<string, string> = {}) => {
    const command = 'test -S "$SSH_AUTH_SOCK" && echo agent; echo "${DISPLAY:+display}"';
    const own = ["-i", `${sshd.dir}/user_key`, `-oXAuthLocation=${xauth}`];
    const { stdout } = await scene.ssh([...own, ...args, "host", command], {
      env: { DISPLAY: ":99", ...env },
    });
    return stdout.trim();
  };
  assert.equal(await call([]), "");
  let logins = 1;
  for (const [flag, forwarded] of [["-A", "agent"], ["-Y", "display"]]) {
    assert.equal(await call([flag]), forwarded);
    const over = performance.now();
    assert.equal(scene.logins(), ++logins, `with ${flag} it is another connection`);
    assert.equal(sandbox.masters().length, 2);
    const isGone = () => sandbox.masters().length === 1;
    await eventually(`the master of ${flag} is gone`, isGone);
    // The sleeper wakes a second later, and the machine may be slow. By itself a master goes after 10 s.
    assert.ok(performance.now() - over < 9_000);
    assert.equal(await call([]), "");
    assert.equal(scene.logins(), logins, "the other is still there");
  }
  // It lingers if told to.
  for (let i = 0; i < 2; i++) assert.equal(await call(["-A"], { SSHS_LINGER: "10m" }), "agent");
  assert.equal(scene.logins(), logins + 1);
});

Deno.test("a call that checks the host key does not ride on a login that did not", async () => {
  await using scene = await Scene.open({ ...LINGERING, client: { hostKeyChecking: "yes" } });
  const lax = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "host", "true"];
  assert.equal((await scene.ssh(lax)).code, 0);
  assert.equal(scene.lanes().length, 1);
  const { code, stderr } = await scene.ssh(["host", "true"]);
  assert.equal(code, 255);
  assert.match(stderr, /Host key verification failed/);
});

Deno.test("nothing in the current directory is loaded or run", async () => {
  await using scene = await Scene.open(LINGERING);
  const { dir } = scene.sandbox;
  const cwd = `${dir}/repository`;
  await Deno.mkdir(`${cwd}/node_modules/.bin`, { recursive: true });
  for (const name of ["deno.json", "package.json", "deno.lock", ".npmrc", ".env", "libc.so.6"]) {
    await Deno.writeTextFile(`${cwd}/${name}`, "not what its name says");
  }
  const script = `#!/bin/sh\ntouch '${dir}/owned'\n`;
  for (const name of ["ssh", "deno", "sh", "sleep", "cat", "ps", "env", "rm", "readlink"]) {
    await Deno.writeTextFile(`${cwd}/${name}`, script, { mode: 0o755 });
  }
  // Through the program, which becomes the launcher through libc, and through the launcher itself.
  for (const words of [scene.sandbox.argv([]), ["ssh"]]) {
    const { code, stdout } = await scene.run([...words, ...scene.args("cat")], {
      cwd,
      stdin: "hello",
    });
    assert.deepEqual([code, stdout], [0, "hello"]);
  }
  await scene.held();
  assert.equal(isThere(`${dir}/owned`), false);
});

Deno.test("a destination is never an option or a command, whoever wrote it", async () => {
  await using scene = await Scene.open();
  const owned = `${scene.sandbox.dir}/owned`;
  const option = `-oProxyCommand=touch ${owned}`;
  for (
    const words of [
      ["--", option],
      ["--", option, "git-upload-pack 'x'"],
      ["-J", option, "host.invalid"],
      ["-J", `x;touch ${owned}`, "host.invalid"],
      ["-J", "jump.invalid", "--", `x'$(touch ${owned})'`],
      [`ssh://${encodeURIComponent(option)}/`],
      [`$(touch ${owned}).invalid`],
    ]
  ) {
    for (const program of [scene.sandbox.argv([]), ["ssh"]]) {
      const { code } = await scene.run([...program, ...words]);
      assert.equal(code, 255, words.join(" "));
      assert.equal(isThere(owned), false, words.join(" "));
    }
  }
});

Deno.test("no value of the environment is code", async () => {
  await using scene = await Scene.open(LINGERING);
  const { dir, home } = scene.sandbox;
  const code = "';touch own;'$(touch own)`touch own`";
  const state = `${dir}/';$(touch own)`;
  const set = (...names: string[]) => Object.fromEntries(names.map((name) => [name, code]));
  const others = set(
    ...["SSHS_SSH", "SSHS_LOOK", "SSHS_TASK", "SSHS_CLAIM", "XDG_RUNTIME_DIR", "TMPDIR"],
    ...["DENO_DIR", "XDG_CACHE_HOME", "DISPLAY", "SSH_AUTH_SOCK"],
  );
  // A setting that is not understood makes a call direct.
  for (const env of [set("SSHS_LINGER", "SSHS_MAX_SESSIONS"), others, others]) {
    // -q: that SSHS_LINGER is no duration would be said.
    const options = { env: { ...env, SSHS_DIR: state } };
    const { stdout, stderr } = await scene.ssh(["-q", "host", "echo it"], options);
    assert.deepEqual([stdout, stderr], ["it\n", ""]);
  }
  await eventually("the sleeper is awake", () => isThere(`${state}/sleeper.log`));
  for (const place of [home, "/", dir, state]) assert.equal(isThere(`${place}/own`), false, place);
  await endAll(scene.strays().map(({ pid }) => pid)); // Their state directory is not the scene's.
});
