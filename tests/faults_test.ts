/** Each step between argv and exec fails, hangs or is killed, in a system that lacks something: ssh works. */
import assert from "node:assert/strict";
import { readText } from "../lib/os/files.ts";
import { account, canMakeAccounts } from "./support/account.ts";
import { eventually } from "./support/eventually.ts";
import { fillBin } from "./support/home.ts";
import { canMount } from "./support/mounts.ts";
import { endAll } from "./support/processes.ts";
import { findProgram, needProgram, run } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

/** Options of ssh that give each row of a table a connection of its own. */
function apart(row: number): string[] {
  return [`-oServerAliveInterval=${100 + row}`];
}

interface Fault {
  step: "-G" | "-M" | "-S";
  /** What goes wrong, as a sh script. */
  fault: string;
  /** What stderr may show; nothing by default. */
  noise?: RegExp;
}

/** ssh's own message, as for any stale socket. */
const REFUSED = /^(Control socket connect\([^)]*\): Connection refused\r?\n)?$/;

/** A signal may arrive later than kill(1) ends. */
const KILL_MASTER = `kill -9 $("$ssh" -S "$2" -O check host 2>&1 | sed 's/[^0-9]//g')
  until ! "$ssh" -S "$2" -O check host 2>/dev/null; do sleep 0.05; done`;

const FAULTS: Readonly<Record<string, Fault>> = {
  "ssh -G fails": { step: "-G", fault: "exit 255" },
  "ssh -G is killed": { step: "-G", fault: "kill -9 $$" },
  "ssh -G prints nothing": { step: "-G", fault: "exit 0" },
  "ssh -G prints something else": { step: "-G", fault: "echo Usage: ssh HOST; exit 0" },
  "the master fails": { step: "-M", fault: "exit 1" },
  "the master is killed as it starts": { step: "-M", fault: "kill -9 $$" },
  "the master does not come up": { step: "-M", fault: "exit 0" },
  "the master has no socket": {
    step: "-M",
    fault: 'socket=$2; shift 3; "$ssh" -S "$socket" "$@"; exit 0',
  },
  "the master is killed once it is up": {
    step: "-M",
    fault: `"$ssh" "$@"; ${KILL_MASTER}\nexit 0`,
    noise: REFUSED,
  },
  "the master is killed just before the session": {
    step: "-S",
    fault: KILL_MASTER,
    noise: REFUSED,
  },
};

Deno.test("a call works whatever goes wrong with ssh, and leaves nothing", async (test) => {
  await using scene = await Scene.open();
  const broken = `${scene.sandbox.dir}/broken`;
  for (const [row, [name, { step, fault, noise }]] of Object.entries(FAULTS).entries()) {
    await test.step(name, async () => {
      await scene.breakSsh(step, `echo ${row} >'${broken}'; ${fault}`);
      await scene.assertWorks(name, { noise, args: apart(row) });
      assert.equal(Deno.readTextFileSync(broken), `${row}\n`);
      assert.deepEqual(scene.strays(), []);
    });
  }
  await scene.assertClean();
});

/** Asserts that a call works as plain ssh, and leaves no process and no claim on a plan. */
async function assertWorksPlain(
  scene: Scene,
  what: string,
  options?: Parameters<Scene["assertWorks"]>[1],
): Promise<void> {
  const before = scene.logins();
  await scene.assertWorks(what, options);
  assert.equal(scene.logins(), before + 1, what);
  assert.deepEqual(scene.processes().map(({ args }) => args.join(" ")), [], what);
  assert.deepEqual(scene.sandbox.files().filter((file) => file.includes("#")), [], what);
}

/** What may be in Deno's place: a script, or bytes. */
const DENOS: Readonly<Record<string, string | Uint8Array>> = {
  "of another architecture": new TextEncoder().encode("\x7fELF\x01\x01\x01 of another machine\0"),
  "that is not a program": new TextEncoder().encode("\0\0"),
  "that panics": "echo 'Deno has panicked.' >&2; exit 101",
  "that prints nothing": "exit 0",
  "that gives half an answer": 'echo "sshs_ssh=\'/bin/false\'"; echo "sshs_max=\'"; exit 0',
  "that answers and fails": "printf '%s\\n' \"sshs_ssh='/bin/false'\" \"sshs_kind=share\"; exit 1",
  "that prints no plan": "printf '%s\\n' 'Usage: deno' 'sshs_kind' '(' ; exit 0",
  "that is killed": "kill -9 $$",
};

Deno.test("a call is plain ssh with any kind of broken Deno, and shares with one in PATH", async (test) => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  const deno = `${scene.sandbox.bin}/deno`;
  for (const [what, text] of Object.entries(DENOS)) {
    await test.step(`a Deno ${what}`, async () => {
      await Deno.remove(deno);
      if (typeof text === "string") await scene.sandbox.addProgram("deno", text);
      else await Deno.writeFile(deno, text, { mode: 0o755 });
      await assertWorksPlain(scene, what);
    });
  }
  await Deno.remove(deno);
  const tools = `${scene.sandbox.dir}/tools`;
  const programs = "sh env sleep rm mkdir mkfifo mv ps cat timeout head readlink ssh ssh-add";
  fillBin(tools, programs, {});
  const env = { PATH: `${scene.bin}:${tools}` };
  await assertWorksPlain(scene, "missing", { env });
  await Deno.symlink(Deno.execPath(), `${tools}/deno`);
  const before = scene.logins();
  for (const what of ["one in PATH", "once more"]) await scene.assertWorks(what, { env });
  assert.equal(scene.logins(), before + 1);
});

/** How the call is run: Deno does not start there or works badly, or the launcher has little to go by. */
const STARTS: Readonly<Record<string, string>> = {
  // Fewer descriptors are too few for dash, which has its scripts open above 9.
  ...Object.fromEntries(
    ["-v 300000", "-v 400000", "-v 3000000", "-d 20000", "-d 200000", "-n 20", "-n 30"]
      .concat("-s 64", "-s 200", "-f 0").map((limit) => [limit, `ulimit ${limit}`]),
  ),
  "in a removed directory": 'mkdir "$HOME/gone" && cd "$HOME/gone" && rmdir "$HOME/gone"',
  ...(canMount && { "without /proc": "mount -t tmpfs sshs-test /proc" }),
};

Deno.test("a first call and a call that finds a lane work under each limit, and without /proc or directory", async (test) => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  for (const [row, [what, script]] of Object.entries(STARTS).entries()) {
    await test.step(what, async () => {
      const unshare = what.includes("/proc") ? ["unshare", "--mount"] : [];
      const before = [...unshare, "sh", "-c", `${script}; exec "$@"`, "sh"];
      // A shell may say as it starts that it has no directory, which cannot be avoided.
      const { stderr } = await scene.run([...before, "sh", "-c", ":"]);
      const noise = new RegExp(`^${RegExp.escape(stderr)}$`);
      const args = apart(row);
      await scene.assertWorks(`${what}, first`, { before, noise, args });
      await scene.assertWorks(`${what}, a lane is opened`, { args });
      await scene.assertWorks(`${what}, with a lane`, { before, noise, args });
    });
  }
});

Deno.test("a call works with closed descriptors, and with a stderr that cannot be written", async () => {
  await using scene = await Scene.open({ banner: "welcome\n", env: { SSHS_LINGER: "60" } });
  for (const [row, redirection] of ["2>/dev/full", "2>&-", "<&- 2>&-"].entries()) {
    const script = `exec "$@" ${redirection}`;
    for (const which of ["first", "warm"]) {
      const words = ["ssh", ...apart(row), ...scene.args("echo hello; exit 3")];
      const { code, stdout } = await scene.run(["sh", "-c", script, "sh", ...words]);
      assert.deepEqual([code, stdout], [3, "hello\n"], `${redirection}, ${which}`);
    }
  }
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

Deno.test({
  name: "a user who may not start more processes still has plain ssh",
  ignore: !canMakeAccounts || findProgram("prlimit") === undefined,
  fn: async () => {
    await using scene = await Scene.open();
    const { name, home } = await account();
    // The user can read only what is in a directory of theirs.
    const dir = `${home}/limited`;
    const script = `
      mkdir -m 700 "$0" && cp -r "$1" "$0/bin" && cp "$2" "$0/key" &&
      sed "s|^IdentityFile .*|IdentityFile $0/key|; s|^UserKnownHostsFile .*|UserKnownHostsFile $0/known|" "$3" >"$0/config" &&
      sed -i "s|^sshs_lib=.*|sshs_lib=$0/bin|" "$0"/bin/bin/* &&
      cp "$3.known_hosts" "$0/known" && chown -R "$4:" "$0" && chmod 600 "$0/key"`;
    const files = [dir, scene.library, `${scene.sshd.dir}/user_key`, scene.config];
    await run("sh", ["-ec", script, ...files, name]);
    const user = [needProgram("setpriv"), `--reuid=${name}`, `--regid=${name}`, "--clear-groups"];
    const PATH = `${dir}/bin/bin:/usr/bin:/bin`;
    const env = { HOME: dir, SSHS_DIR: `${dir}/s`, PATH, DENO_DIR: undefined };
    const call = [`${dir}/bin/bin/ssh`, "-F", `${dir}/config`, "host", "echo hello; exit 3"];
    const words = [...user, needProgram("prlimit"), "--nproc=0", ...call];
    const { code, stdout, stderr } = await scene.run(words, { env, cwd: "/" });
    assert.deepEqual([code, stdout, stderr], [3, "hello\n", ""]);
  },
});

Deno.test("without the program an open lane is used, and no new one is started", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  await scene.assertWorks("first");
  const text = await Deno.readTextFile(`${scene.library}/program`);
  const without = text.replace(/^sshs_program=.*$/m, "sshs_program='/nowhere'");
  await Deno.writeTextFile(`${scene.library}/program`, without);
  await scene.assertWorks("over the lane");
  assert.equal(scene.logins(), 1);
  await Deno.remove(scene.fileOf("!host"));
  await scene.assertWorks("plain");
  assert.equal(scene.logins(), 2);
});

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
  await scene.breakSsh("-G", "sleep 600 &");
  await scene.assertWorks("a daemon");
  // Longer than a call waits for the program: that would have made it plain ssh.
  assert.equal(scene.lanes().length, 1);
  await endAll(scene.strays().map(({ pid }) => pid));
});

/** What keeps a call waiting for the program, at the step of that name. */
const HANGS: readonly (readonly [what: string, step: "deno" | "-G", fault: string])[] = [
  ["Deno is stopped", "deno", "kill -STOP $$"],
  ["Deno hangs", "deno", "exec sleep 600"],
  ["ssh -G hangs", "-G", "exec sleep 600"],
];

Deno.test("a call gives up waiting for a program that hangs, and becomes plain ssh", async () => {
  await Promise.all(HANGS.map(async ([what, step, fault]) => {
    await using scene = await Scene.open();
    if (step === "deno") await scene.sandbox.addProgram("deno", fault);
    else await scene.breakSsh(step, fault);
    await scene.assertWorks(what);
    assert.deepEqual([scene.logins(), scene.lanes()], [1, []], what);
    if (step !== "deno") await endAll(scene.strays().map(({ pid }) => pid));
  }));
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
  });
  await scene.breakSsh("-M", "");
  await scene.assertWorks("another is stopped", { args: ["-oBatchMode=yes"] });
  assert.equal(scene.logins(), 1);
  await endAll(stopped!.map(({ pid }) => pid));
  await Promise.all([first.status, first.stdout.cancel(), first.stderr.cancel()]);
  await first.stdin.close().catch(() => {});
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

Deno.test("a log (-E) that cannot be written ends a call as it ends plain ssh", async () => {
  await using scene = await Scene.open();
  const words = ["-E", `${scene.sandbox.dir}/missing/log`, "host", "true"];
  assert.deepEqual(await scene.ssh(words), await scene.plainSsh(words));
});
