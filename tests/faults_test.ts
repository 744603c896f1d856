/** Each step between argv and exec fails, hangs or is killed, and the user has a working ssh. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { install } from "./support/installed.ts";
import { findProgram, needProgram } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

interface Fault {
  name: string;
  option: "-G" | "-M" | "-S";
  /** What goes wrong, as sh. */
  fault: string;
  /** What is said of it; nothing unless told. */
  noise?: RegExp;
}

const NO_ANSWER = /^sshs: Not shared: the connection master does not answer .*\n$/;

/** The control socket is the fifth word of a master's argv. */
const KILL_MASTER = `
  "$ssh" "$@"
  kill -9 $("$ssh" -S "$5" -O check host 2>&1 | sed 's/[^0-9]//g')
  exit 0`;

const FAULTS: readonly Fault[] = [
  { name: "ssh -G fails", option: "-G", fault: "exit 255" },
  { name: "ssh -G is killed", option: "-G", fault: "kill -9 $$" },
  { name: "ssh -G says nothing", option: "-G", fault: "exit 0" },
  { name: "ssh -G says something else", option: "-G", fault: "echo Usage: ssh HOST; exit 0" },
  {
    name: "the master fails",
    option: "-M",
    fault: "exit 1",
    noise: /^sshs: Not shared: the connection master ended with 1\n$/,
  },
  {
    name: "the master is killed as it starts",
    option: "-M",
    fault: "kill -9 $$",
    noise: /^sshs: Not shared: the connection master ended with 137\n$/,
  },
  { name: "the master does not come up", option: "-M", fault: "exit 0", noise: NO_ANSWER },
  {
    name: "the master has no socket",
    option: "-M",
    fault: 'shift; "$ssh" "$@"; exit 0',
    noise: NO_ANSWER,
  },
  {
    name: "the master is killed once it is up",
    option: "-M",
    fault: KILL_MASTER,
    noise: NO_ANSWER,
  },
  {
    name: "the master is killed between probe and exec",
    option: "-S",
    fault: `kill -9 $("$ssh" -S "$2" -O check host 2>&1 | sed 's/[^0-9]//g')
            until ! "$ssh" -S "$2" -O check host 2>/dev/null; do sleep 0.05; done`,
    // ssh's own line, as for any stale socket.
    noise: /^(Control socket connect\([^)]*\): Connection refused\r?\n)?$/,
  },
];

for (const { name, option, fault, noise } of FAULTS) {
  Deno.test(`a call works though ${name}`, async () => {
    await using scene = await Scene.create();
    await scene.breakSsh(option, fault);
    await scene.assertWorks(name, { noise });
    await scene.assertClean();
  });
}

Deno.test("a refusal is ssh's own, said once, and its status is handed on", async () => {
  await using scene = await Scene.create();
  await scene.breakSsh("-M", 'echo "host: Permission denied (publickey)." >&2; exit 255');
  const { code, stderr } = await scene.call("true");
  assert.deepEqual([code, stderr], [255, "host: Permission denied (publickey).\n"]);
  await scene.assertClean();
});

Deno.test("a daemon that ssh -G has started is not waited for", async () => {
  await using scene = await Scene.create();
  // It holds the stderr of ssh, as the child of a `Match exec` does.
  await scene.breakSsh("-G", "sleep 50 &");
  const start = performance.now();
  await scene.assertWorks("a daemon");
  assert.ok(performance.now() - start < 40_000);
});

Deno.test("whoever hangs or is stopped is waited for within a bound, and ssh runs plain", async () => {
  await using scene = await Scene.create();
  await using other = await Scene.create();
  await scene.breakSsh("-G", "exec sleep 300");
  // The lock of one who has been stopped: this process never goes on with it.
  await other.assertWorks("the first call");
  await eventually("its lane is gone", () => other.sandbox.masters().length === 0, {
    deadline: 30_000,
  });
  const dir = `${other.sandbox.stateDir}/${await identityOf(other)}`;
  await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
  using lock = await Deno.open(`${dir}/lock`, { write: true, create: true });
  await lock.lock(true);
  await Promise.all([
    scene.assertWorks("ssh -G hangs"),
    other.assertWorks("the lock is never freed"),
  ]);
});

/** The name of the identity's directory, which is the same for the same call. */
async function identityOf(scene: Scene): Promise<string> {
  await scene.breakSsh("-M", "exit 1");
  await scene.call("true");
  delete scene.sandbox.env.SSHS_SSH;
  const name = scene.sandbox.files().find((file) => /^[0-9a-f]{16}\/$/.test(file));
  return name!.slice(0, -1);
}

Deno.test("a call shares without HOME, without USER, and without PATH", async () => {
  await using scene = await Scene.create();
  await scene.assertWorks("the first call");
  for (
    const env of [
      { HOME: undefined, XDG_CONFIG_HOME: undefined },
      { USER: undefined, LOGNAME: undefined, SHELL: undefined },
      { PATH: undefined },
      { PATH: "" },
      { PATH: "/dev/null/a" },
    ]
  ) {
    const SSHS_SSH = needProgram("ssh");
    await scene.assertWorks(Deno.inspect(env), { env: { SSHS_SSH, ...env } });
  }
  assert.equal(scene.sshd.logins(), 1);
  await scene.assertClean();
});

Deno.test("ssh gets the PATH that the user has, where there is no node in it too", async () => {
  await using scene = await Scene.create();
  // Deno puts a node of its own into a PATH that has none.
  for (const PATH of ["/dev/null/a", "/dev/null/a:/b", undefined]) {
    const { stdout } = await scene.sandbox.sshs([], {
      env: { PATH, SSHS: "off", SSHS_SSH: needProgram("env") },
    });
    const got = stdout.split("\n").filter((line) => /^PATH=|^DENO_NODE/.test(line));
    assert.deepEqual(got, PATH === undefined ? [] : [`PATH=${PATH}`]);
  }
});

Deno.test("a call works with few descriptors", async () => {
  await using scene = await Scene.create();
  const { sandbox } = scene;
  const works: number[] = [];
  for (const limit of [20, 22, 24, 26, 28, 32, 40, 64]) {
    const { code, stdout, stderr } = await sandbox.run([
      ...["sh", "-c", `ulimit -n ${limit}; exec "$@"`, "sh"],
      ...sandbox.argv(scene.args("echo hello; exit 3")),
    ]);
    // Deno itself takes some twenty; where it cannot start, or not read its one file, none of ours can help.
    if (/Deno has panicked|Import '[^']*' failed/.test(stderr) && limit < 40) continue;
    assert.deepEqual([code, stdout], [3, "hello\n"], `${limit}: ${stderr}`);
    assert.match(stderr, /^(sshs: Not shared: [^\n]*\n)?$/);
    works.push(limit);
  }
  assert.ok(works.length >= 2);
  await scene.assertClean();
});

Deno.test({
  name: "a call that runs out of descriptors at any step becomes plain ssh, and leaves nothing",
  ignore: findProgram("prlimit") === undefined,
  fn: async () => {
    await using scene = await Scene.create();
    const { sandbox } = scene;
    // Deno has all that it takes for itself by the time that ssh -G runs: what fails from then on is
    // ours. A moment later, since libc is loaded while ssh works.
    const limit = (words: string) =>
      scene.breakSsh("-G", `sleep 0.2; ${words}; prlimit --nofile=$n: --pid=$PPID || exit 1`);
    // Less than Deno has open, so that nothing more can be opened; ssh and the script do with 12.
    await limit("n=12");
    await scene.assertWorks("12", {
      noise: /^sshs: Not shared: [^\n]*Too many open files[^\n]*\n$/,
    });
    // So many as it has open at that moment, less and more, until there are enough.
    const noise = /^(sshs: Not shared: [^\n]*Too many open files[^\n]*\n)?$/;
    let more = -3;
    for (; sandbox.masters().length === 0; more++) {
      assert.ok(more < 30, "no number is enough");
      await limit(`n=3; while [ -e /proc/$PPID/fd/$n ]; do n=$((n+1)); done; n=$((n+${more}))`);
      await scene.assertWorks(`${more} more`, { noise });
    }
    assert.ok(more > 3, "each of the numbers stops it at another place");
    await scene.assertClean();
  },
});

Deno.test("a call works with closed descriptors, and with a stderr that takes nothing", async () => {
  await using scene = await Scene.create({ banner: "welcome\n" });
  const { sandbox } = scene;
  await scene.breakSsh("-M", "exit 1");
  for (const redirection of ["2>/dev/full", "2>&-", "<&- 2>&-"]) {
    const { code, stdout } = await sandbox.run([
      ...["sh", "-c", `exec "$@" ${redirection}`, "sh"],
      ...sandbox.argv(scene.args("echo hello; exit 3")),
    ]);
    assert.deepEqual([code, stdout], [3, "hello\n"], redirection);
  }
  await scene.assertClean();
});

Deno.test("a log of the user's that cannot be written ends a call as it ends ssh", async () => {
  await using scene = await Scene.create({ banner: "welcome\n", client: {} });
  const args = ["-E", `${scene.sandbox.dir}/missing/log`, ...scene.args("true")];
  const ours = await scene.sandbox.sshs(args);
  assert.deepEqual(ours, await scene.sandbox.ssh(args));
  await scene.assertClean();
});

Deno.test("an installed ssh works in a directory that was removed, and when Deno is gone", async () => {
  await using scene = await Scene.create();
  const { sandbox } = scene;
  await install(sandbox);
  const call = ["ssh", ...scene.args("echo hello; exit 3")];
  const removed = `${sandbox.dir}/removed`;
  await Deno.mkdir(removed);
  const there = await sandbox.run(["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", ...call], {
    cwd: removed,
  });
  assert.deepEqual([there.code, there.stdout], [3, "hello\n"], there.stderr);

  const launcher = `${sandbox.dir}/prefix/bin/ssh`;
  const text = await Deno.readTextFile(launcher);
  await Deno.writeTextFile(launcher, text.replace(/^sshs_deno=.*$/m, "sshs_deno=/dev/null/deno"));
  const PATH = `${sandbox.dir}/prefix/bin:/usr/bin:/bin`;
  const without = await sandbox.run(call, { env: { PATH, HOME: sandbox.home } });
  assert.deepEqual([without.code, without.stdout], [3, "hello\n"], without.stderr);
  await scene.assertClean();
});
