/** Each step between argv and exec fails, hangs or is killed, and ssh still works. */
import assert from "node:assert/strict";
import { readText } from "../lib/os/files.ts";
import { eventually } from "./support/eventually.ts";
import { endAll } from "./support/processes.ts";
import { findProgram, needProgram } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

interface Fault {
  name: string;
  step: "-G" | "-M" | "-S";
  /** What goes wrong, as a sh script. */
  fault: string;
  /** What stderr may show; nothing by default. */
  noise?: RegExp;
}

/** ssh's own message, as for any stale socket. */
const REFUSED = /^(Control socket connect\([^)]*\): Connection refused\r?\n)?$/;

const KILL_MASTER = `kill -9 $("$ssh" -S "$2" -O check host 2>&1 | sed 's/[^0-9]//g')`;

const FAULTS: readonly Fault[] = [
  { name: "ssh -G fails", step: "-G", fault: "exit 255" },
  { name: "ssh -G is killed", step: "-G", fault: "kill -9 $$" },
  { name: "ssh -G prints nothing", step: "-G", fault: "exit 0" },
  { name: "ssh -G prints something else", step: "-G", fault: "echo Usage: ssh HOST; exit 0" },
  { name: "the master fails", step: "-M", fault: "exit 1" },
  { name: "the master is killed as it starts", step: "-M", fault: "kill -9 $$" },
  { name: "the master does not come up", step: "-M", fault: "exit 0" },
  {
    name: "the master has no socket",
    step: "-M",
    fault: 'socket=$2; shift 3; "$ssh" -S "$socket" "$@"; exit 0',
  },
  {
    name: "the master is killed once it is up",
    step: "-M",
    fault: `"$ssh" "$@"; ${KILL_MASTER}; exit 0`,
    noise: REFUSED,
  },
  {
    name: "the master is killed just before the session",
    step: "-S",
    fault: `${KILL_MASTER}
            until ! "$ssh" -S "$2" -O check host 2>/dev/null; do sleep 0.05; done`,
    noise: REFUSED,
  },
];

for (const { name, step, fault, noise } of FAULTS) {
  Deno.test(`a call works although ${name}`, async () => {
    await using scene = await Scene.open();
    await scene.breakSsh(step, `echo broken >'${scene.sandbox.dir}/broken'; ${fault}`);
    await scene.assertWorks(name, { noise });
    assert.equal(Deno.readTextFileSync(`${scene.sandbox.dir}/broken`), "broken\n");
    assert.deepEqual(scene.strays(), []);
    await scene.assertClean();
  });
}

Deno.test("a refused login shows ssh's own message once, and its status is passed on", async () => {
  await using scene = await Scene.open();
  await scene.breakSsh("-M", 'echo "host: Permission denied (publickey)." >&2; exit 255');
  const { code, stderr } = await scene.ssh(["host", "true"]);
  assert.deepEqual([code, stderr], [255, "host: Permission denied (publickey).\n"]);
  await scene.assertClean();
});

Deno.test("a call does not wait for a daemon that ssh -G has started", async () => {
  await using scene = await Scene.open();
  // It keeps the stderr of ssh open, as the child of a `Match exec` does.
  await scene.breakSsh("-G", "sleep 50 &");
  const start = performance.now();
  await scene.assertWorks("a daemon");
  assert.ok(performance.now() - start < 40_000);
  await endAll(scene.strays().map(({ pid }) => pid));
});

Deno.test("a call gives up waiting for a program that hangs, and becomes plain ssh", async () => {
  await using scene = await Scene.open();
  await scene.breakSsh("-G", "exec sleep 300");
  await scene.assertWorks("ssh -G hangs");
  assert.deepEqual(scene.lanes(), []);
  await endAll(scene.strays().map(({ pid }) => pid));
});

Deno.test("a call gives up waiting for the login of a stopped call, and becomes plain ssh", async () => {
  await using scene = await Scene.open();
  await scene.breakSsh("-M", "kill -STOP $PPID $$");
  const first = scene.spawnSsh(["-oBatchMode=yes", "host", "true"]);
  const stopped = await eventually("it is stopped", () => {
    const all = scene.processes().filter(({ pid }) =>
      /^State:\tT/m.test(readText(`/proc/${pid}/status`) ?? "")
    );
    return all.length > 1 && all;
  }, { deadline: 30_000 });
  await scene.breakSsh("-M", "");
  await scene.assertWorks("another is stopped", { args: ["-oBatchMode=yes"] });
  assert.equal(scene.logins(), 1);
  await endAll(stopped!.map(({ pid }) => pid));
  await Promise.all([first.status, first.stdout.cancel(), first.stderr.cancel()]);
  await first.stdin.close().catch(() => {});
});

Deno.test("a call shares without HOME, without USER, and without PATH", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  await scene.assertWorks("the first call");
  await scene.held(); // Before the sleeper holds the lane, a call needs readlink(1) in PATH.
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
    const words = [`${scene.bin}/ssh`, ...scene.args("echo hello; exit 3")];
    const { code, stdout, stderr } = await scene.run(words, { env: { SSHS_SSH, ...env } });
    assert.deepEqual([code, stdout, stderr], [3, "hello\n", ""], Deno.inspect(env));
  }
  assert.equal(scene.logins(), 1);
});

Deno.test("ssh gets the user's PATH, even if there is no node in it", async () => {
  await using scene = await Scene.open();
  // Deno adds a node of its own to a PATH that has none.
  for (const PATH of ["/dev/null/a", "/dev/null/a:/b", undefined]) {
    const { stdout } = await scene.sandbox.sshs([], {
      env: { PATH, SSHS: "off", SSHS_SSH: needProgram("env") },
    });
    const got = stdout.split("\n").filter((line) => /^PATH=|^DENO_NODE/.test(line));
    assert.deepEqual(got, PATH === undefined ? [] : [`PATH=${PATH}`]);
  }
});

Deno.test({
  name: "ssh works, and nothing is left behind, if the program runs out of descriptors at any step",
  ignore: findProgram("prlimit") === undefined,
  fn: async () => {
    await using scene = await Scene.open();
    // Deno has opened all that it needs by the time ssh -G runs, so what fails from then on is ours.
    // The sleep is there because libc is loaded while ssh -G runs.
    const limit = (words: string) =>
      scene.breakSsh("-G", `sleep 0.2; ${words}; prlimit --nofile=$n: --pid=$PPID || exit 1`);
    // From fewer than it has open at that moment to more, until they are enough.
    let stopped = 0;
    for (; scene.lanes().length === 0; stopped++) {
      assert.ok(stopped < 30, "no number is enough");
      const n = `n=3; while [ -e /proc/$PPID/fd/$n ]; do n=$((n+1)); done; n=$((n+${stopped - 3}))`;
      await limit(n);
      await scene.assertWorks(`${stopped - 3} more`, {
        noise: /^(sshs: not shared: [^\n]*Too many open files[^\n]*\n(sshs: hint: [^\n]*\n)?)?$/,
      });
    }
    assert.ok(stopped > 0, "some numbers are not enough");
    await scene.assertClean();
  },
});

Deno.test("a call works with closed descriptors, and with a stderr that cannot be written", async () => {
  await using scene = await Scene.open({ banner: "welcome\n" });
  for (const redirection of ["2>/dev/full", "2>&-", "<&- 2>&-"]) {
    const script = `exec "$@" ${redirection}`;
    for (const which of ["first", "warm"]) {
      const words = ["sh", "-c", script, "sh", "ssh", ...scene.args("echo hello; exit 3")];
      const { code, stdout } = await scene.run(words);
      assert.deepEqual([code, stdout], [3, "hello\n"], `${redirection}, ${which}`);
    }
    await scene.assertClean();
  }
});

Deno.test("a log (-E) that cannot be written ends a call as it ends plain ssh", async () => {
  await using scene = await Scene.open();
  const words = ["-E", `${scene.sandbox.dir}/missing/log`, "host", "true"];
  assert.deepEqual(await scene.ssh(words), await scene.plainSsh(words));
});
