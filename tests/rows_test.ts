/** What the field found in 0.2.0: each row once, where no other test has it (issue 18). */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { fillBin } from "./support/home.ts";
import { endAll, isAlive, type Process, signal } from "./support/processes.ts";
import { findProgram, needProgram, needPython } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";
import { SHELLS } from "./support/shells.ts";

const LINGERING = { env: { SSHS_LINGER: "60" } };

/** Makes a shell the /bin/sh of the launcher. */
async function useShell({ bin }: Scene, argv: readonly string[]): Promise<void> {
  for (const name of ["ssh", "proxy"]) {
    const text = await Deno.readTextFile(`${bin}/${name}`);
    await Deno.writeTextFile(`${bin}/${name}`, text.replace(/^#!.*/, `#!${argv.join(" ")}`));
  }
}

/** Runs a program where no unix socket can be made (seccomp(2)), as systemd's RestrictAddressFamilies does. */
const WITHOUT_SOCKETS = `import ctypes, os, struct, sys
step = lambda code, yes, no, value: struct.pack("HBBI", code, yes, no, value)
filter = (step(0x20, 0, 0, 0) + step(0x15, 0, 3, 41 if os.uname()[4] == "x86_64" else 198) +
    step(0x20, 0, 0, 16) + step(0x15, 0, 1, 1) + step(6, 0, 0, 0x5000d) + step(6, 0, 0, 0x7fff0000))
text = ctypes.create_string_buffer(filter)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 6, ctypes.addressof(text)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execvp(sys.argv[1], sys.argv[1:])`;

Deno.test("18.1: where unix sockets are forbidden, each call is plain ssh, and nothing is said twice", async () => {
  await using scene = await Scene.open(LINGERING);
  const before = [needPython(), "-c", WITHOUT_SOCKETS];
  const noise = /^unix_listener: [^\n]*\n(sshs: [^\n]*\n(sshs: hint: [^\n]*\n)?)?$/;
  await scene.assertWorks("the first", { before, noise });
  for (const what of ["the second", "the third"]) await scene.assertWorks(what, { before });
  // The first call finds it out by a login.
  assert.deepEqual([scene.sandbox.masters(), scene.logins()], [[], 1 + 3]);
});

/** Those of the shells that may be /bin/sh somewhere which the other tests do not use. */
const MORE_SHELLS = ["mksh", "yash"].flatMap((name) => findProgram(name) ?? [])
  .map((path): [string, string[]] => [path.replace(/.*\//, ""), [path]]);

// A script's first line takes one word beside the shell: zsh needs two.
for (const [name, argv] of [...SHELLS, ...MORE_SHELLS].filter(([name]) => name !== "zsh")) {
  Deno.test(`18.5: a first call through a proxy and one over its lane work, and TERM ends a login (${name})`, async () => {
    // ssh says so at each call, once.
    const client = { config: ["AFSTokenPassing yes"] };
    const noise = /^[^\n]*Unsupported option[^\n]*\n$/;
    await using scene = await Scene.open({ ...LINGERING, proxy: true, relay: {}, client });
    await useShell(scene, argv);
    for (const what of ["first", "warm"]) await scene.assertWorks(what, { noise });
    assert.equal(scene.logins(), 1);
    scene.relay.cut();
    await using call = scene.spawnSsh(["-oServerAliveInterval=99", "host", "true"]);
    await eventually("it connects", () => scene.connections() === 2);
    call.kill("SIGTERM");
    assert.equal((await call.status).code, 143); // mksh ends with this status, the others by the signal
    await Promise.all([call.stdin.close(), call.stdout.cancel(), call.stderr.cancel()]);
    const isItsOwn = ({ args }: Process) => /[/]ssh$|tail/.test(args[0]) || args.includes("-M");
    await eventually("nothing of it is left", () => !scene.strays().some(isItsOwn));
  });
}

Deno.test("18.6: what a login asks for on a terminal is seen, though the configuration has warnings", async () => {
  await using scene = await Scene.open({ client: { config: ["IdentityFile /nowhere/key"] } });
  await scene.breakSsh("-M", `[ ! -t 2 ] || echo 'Confirm user presence' >&2`);
  await using pty = await scene.pty(["ssh", "-i", "/nowhere/key", ...scene.args("echo in")]);
  await pty.waitFor("Confirm user presence");
  await pty.waitFor("in\r\n");
  assert.equal((await pty.status).code, 0);
});

Deno.test("18.13: a call that is killed while it logs in frees its pipes at once, and leaves no ssh", async () => {
  for (const proxy of [false, true]) {
    await using scene = await Scene.open({ relay: {}, proxy });
    scene.relay.cut();
    const call = scene.spawnSsh(["host", "true"]);
    await eventually("it connects", () => scene.connections() === 1);
    call.kill("SIGKILL");
    // Each waits for the end of its pipe.
    const output = await Promise.all([call.stdout.text(), call.stderr.text(), call.stdin.close()]);
    assert.deepEqual(output.slice(0, 2), ["", ""]);
    await eventually("no ssh is left", () => scene.sandbox.masters().length === 0);
    await call.status;
    scene.relay.restore();
    await scene.assertWorks("the next call");
    await scene.assertClean();
  }
});

Deno.test("18.20: Ctrl-Z at a call that reads the terminal leaves it the keys typed after it", async () => {
  await using scene = await Scene.open(LINGERING);
  await scene.ssh(["host", "true"]);
  const got = `${scene.user.home}/got`;
  await using pty = await scene.pty(["bash", "--norc", "--noprofile", "-i"], {
    env: { PS1: "$ " },
  });
  await pty.waitFor("$ ");
  pty.write(`ssh -F ${scene.config} host 'echo up''on; cat >${got}'; echo =$?=\r`);
  await pty.waitFor("upon\r\n");
  pty.write("\x1a");
  pty.write("to the server\r");
  await eventually("it is there", () => Deno.readTextFileSync(got) === "to the server\n");
  assert.doesNotMatch(pty.output, /Stopped/);
  pty.write("\x04");
  await pty.waitFor("=0=");
  await Deno.remove(got);
});

Deno.test("18.21: without Deno the launcher stops connections, uninstalls, and says what is missing", async () => {
  await using scene = await Scene.open(LINGERING);
  const { sandbox } = scene;
  const prefix = `${sandbox.dir}/prefix`;
  await sandbox.sshs(["--install", "--prefix", prefix]);
  const call = (...words: string[]) => sandbox.run([`${prefix}/bin/sshs`, ...words], { env });
  fillBin(`${sandbox.dir}/tools`, "sh env ssh rm mv mkdir mkfifo readlink timeout setpriv id", {});
  const env = { PATH: `${prefix}/bin:${sandbox.dir}/tools` };
  await sandbox.run([`${prefix}/bin/ssh`, ...scene.args("true")], { env });
  const program = `${prefix}/lib/sshs/program`;
  const text = await Deno.readTextFile(program);
  await Deno.writeTextFile(program, text.replace(/^sshs_deno=.*/m, "sshs_deno=/nowhere/deno"));
  const missing = "sshs: Deno is not at /nowhere/deno, nor in PATH\n";
  const hint = "sshs: hint: https://deno.com, then sshs --install\n";
  for (
    const [words, code, stdout] of [
      [["--help"], 1, ""],
      [["--list"], 1, ""],
      [["--stop", "host"], 0, "host: stopped\n"],
      [
        ["--uninstall"],
        0,
        `sshs is removed from ${prefix}; open connections close by themselves\n`,
      ],
    ] as const
  ) {
    const result = await call(...words);
    assert.deepEqual([result.code, result.stdout], [code, stdout], words[0]);
    assert.equal(result.stderr, missing + hint);
  }
  await eventually("its master has gone", () => sandbox.masters().length === 0);
  assert.equal(findProgram("sshs", `${prefix}/bin`), undefined);
});

Deno.test("18.26: a state directory with a % or ${ in its path means plain ssh, and another place if it was not chosen", async () => {
  await using scene = await Scene.open(LINGERING);
  const { dir } = scene.sandbox;
  for (const name of ["a%b", "${HOME}"]) {
    await Deno.mkdir(`${dir}/${name}`);
    const chosen = { SSHS_DIR: `${dir}/${name}/s` };
    const found = { SSHS_DIR: undefined, XDG_RUNTIME_DIR: `${dir}/${name}`, TMPDIR: dir };
    for (const env of [chosen, found]) {
      const { code, stdout } = await scene.ssh(["host", "echo hello"], { env });
      assert.deepEqual([code, stdout], [0, "hello\n"], Deno.inspect(env));
    }
    assert.deepEqual([...Deno.readDirSync(`${dir}/${name}`)], []);
  }
  assert.equal(scene.logins(), 2 + 1);
  signal(scene.strays().map(({ pid }) => pid), "SIGTERM"); // Their state directory is not the scene's.
});

const BUSYBOX = findProgram("busybox");

Deno.test({
  name: "18.29: eight planned first calls at once make one login under busybox's sh and tools",
  ignore: BUSYBOX === undefined,
  fn: async () => {
    await using scene = await Scene.open(LINGERING);
    await scene.ssh(["host", "true"]);
    await scene.sshs(["--stop", "--all"]);
    await eventually("it is closed", () => scene.sandbox.masters().length === 0);
    await useShell(scene, [BUSYBOX!, "ash"]);
    for (const name of ["readlink", "timeout", "sleep", "mkfifo", "grep", "ps"]) {
      await Deno.symlink(BUSYBOX!, `${scene.sandbox.bin}/${name}`);
    }
    const PATH = `${scene.bin}:${scene.sandbox.bin}:/usr/bin:/bin`;
    const decisions = scene.starts().filter((words) => words.includes(" --decide ")).length;
    const calls = Array.from(
      Array(8),
      (_, i) => scene.ssh(["host", `echo ${i}`], { env: { PATH } }),
    );
    for (const [i, { stdout, stderr }] of (await Promise.all(calls)).entries()) {
      assert.deepEqual([stdout, stderr], [`${i}\n`, ""]);
    }
    assert.equal(scene.logins(), 2);
    const after = scene.starts().filter((words) => words.includes(" --decide ")).length;
    assert.ok(after <= decisions + 1, "PATH is another, so one decides");
  },
});

Deno.test("18.30: an agent that never answers leaves no ssh-add after Ctrl-C", async () => {
  await using scene = await Scene.open();
  const { sandbox } = scene;
  const SSH_AUTH_SOCK = `${sandbox.dir}/mute`;
  using _mute = Deno.listen({ transport: "unix", path: SSH_AUTH_SOCK });
  await using pty = await scene.pty(["ssh", ...scene.args("true")], { env: { SSH_AUTH_SOCK } });
  await eventually("it logs in", () => sandbox.masters().length > 0);
  pty.write("\x03");
  assert.notEqual((await pty.status).code, 0);
  await eventually("nothing is left", () => scene.strays().length === 0);
});

Deno.test("18.31: no variable of ours reaches the server, a proxy or an askpass, and none of the caller's is changed", async () => {
  const client = { config: ["SendEnv *"] };
  await using scene = await Scene.open({
    ...LINGERING,
    config: ["AcceptEnv *"],
    client,
    proxy: true,
  });
  const seen = `${scene.sandbox.dir}/seen`;
  const proxy = await scene.sandbox.addProgram(
    "noting",
    `env >${seen}; exec "\${0%/*}/proxy" "$@"`,
  );
  const names = /^(SSHS_(SHELL|LOG|TASK|PATH)|sshs_\w+)=.*$/gm;
  const env = { OPTARG: "mine", SHELL: "/bin/sh" };
  for (const what of ["first", "warm"]) {
    const words = [`-oProxyCommand=${proxy} %h %p`, "host", "env"];
    const { stdout } = await scene.ssh(words, { env });
    assert.match(stdout, /^OPTARG=mine$/m, what);
    assert.deepEqual([...stdout.matchAll(names)].map(([line]) => line), [], what);
    const { stdout: direct } = await scene.ssh(["-oProxyCommand=none", "host", "env"], { env });
    assert.doesNotMatch(direct, /^SSHS_INSIDE=/m, what);
  }
  const text = await Deno.readTextFile(seen);
  assert.deepEqual([...text.matchAll(names)].map(([line]) => line), []);
  assert.match(text, /^SHELL=\/bin\/sh$/m);
});

Deno.test("18.33: the master of OpenSSH 8.4, which keeps its stderr, holds none of the caller's", async () => {
  await using scene = await Scene.open(LINGERING);
  scene.sandbox.env.SSHS_SSH = await scene.sandbox.addProgram(
    "old-ssh",
    `case "$1 \${3-}" in
     "-G "*) { ${
      needProgram("ssh")
    } "$@" 2>&1 >&3 | sed s/^OpenSSH_[^,]*/OpenSSH_8.4p1/ >&2; } 3>&1; exit ;;
     "-S -M") sleep 50 </dev/null >/dev/null & ;;
     esac
     exec ${needProgram("ssh")} "$@"`,
  );
  // Waits for the end of the pipes.
  for (const what of ["first", "warm"]) await scene.assertWorks(what, { timeout: 30_000 });
  assert.equal(scene.logins(), 1);
  await endAll(scene.strays().map(({ pid }) => pid));
});

Deno.test("18.34: a master that was killed before the sleeper had taken its lane over is not trusted", async () => {
  await using scene = await Scene.open();
  await scene.ssh(["host", "true"]);
  await scene.assertClean();
  const goOn = await scene.holdDeno();
  await scene.assertWorks("the login");
  const [{ pid }] = scene.sandbox.masters();
  signal([pid], "SIGKILL");
  await eventually("it is gone", () => !isAlive(pid));
  await scene.assertWorks("the next call");
  await goOn();
});
