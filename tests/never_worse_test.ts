/**
 * What users of plain ssh do and rely on beside the session itself, side by side with plain ssh: as a
 * first call, and with a lane already open.
 */
import assert from "node:assert/strict";
import { canMakeAccounts } from "./support/account.ts";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { untilAsleep, usersOf } from "./support/processes.ts";
import { Scene, type SceneOptions } from "./support/scene.ts";
import { SideBySide } from "./support/side_by_side.ts";

/** Registers a test for a first call, and one for a call that finds a lane. */
function testBoth(
  name: string,
  options: SceneOptions,
  fn: (sides: SideBySide) => Promise<void>,
): void {
  for (const which of ["first", "warm"]) {
    Deno.test({
      name: `${name} (${which} call)`,
      fn: async () => {
        const warm = (scene: Scene) => scene.ssh(["host", "true"]);
        const env = { SSHS_LINGER: "60" };
        await using sides = await SideBySide.open(
          { ...options, env },
          which === "warm" ? warm : undefined,
        );
        await fn(sides);
      },
    });
  }
}

/** Asserts that `see` returns the same on both sides; resolves to what it returns for plain ssh. */
async function assertAlike<T>(sides: SideBySide, see: (scene: Scene) => Promise<T>): Promise<T> {
  const plain = await see(sides.plain);
  assert.deepEqual(await see(sides.ours), plain);
  return plain;
}

for (const name of ["HUP", "INT", "QUIT", "TERM"] as const) {
  testBoth(`a call that ignores SIG${name} outlives it`, {}, async (sides) => {
    const seen = await assertAlike(sides, async (scene) => {
      const before = scene.sshd.sessions();
      const argv = ["sh", "-c", `trap '' ${name}; exec ssh "$@"`, "sh", "-F", scene.config];
      const call = scene.sandbox.spawn([...argv, "host", "echo up; read line; echo $line"]);
      const output = call.stdout.pipeThrough(new TextDecoderStream()).getReader();
      await eventually("the session runs", () => scene.sshd.sessions() > before);
      assert.equal((await output.read()).value, "up\n");
      call.kill(`SIG${name}`);
      const input = call.stdin.getWriter();
      await input.write(new TextEncoder().encode("survived\n")).catch(() => {});
      const { value } = await output.read();
      await input.close().catch(() => {});
      await Promise.all([output.cancel(), call.stderr.cancel()]);
      const { code, signal } = await call.status;
      return { code, signal, value };
    });
    assert.deepEqual(seen, { code: 0, signal: null, value: "survived\n" });
  });
}

testBoth("a call under nohup outlives its terminal", {}, async (sides) => {
  const words = await assertAlike(sides, async (scene) => {
    const { home } = scene.sandbox;
    const go = `${scene.user.home}/go`;
    const command = `echo up; until [ -e ${go} ]; do sleep 0.1; done; echo survived`;
    const script = `nohup ssh -F ${scene.config} host '${command}' >out 2>err & wait`;
    const out = () => isThere(`${home}/out`) ? Deno.readTextFileSync(`${home}/out`) : "";
    await using pty = await scene.pty(["sh", "-c", script]);
    await eventually("the session runs", () => out() === "up\n");
    pty.hangup();
    await pty.status;
    await Deno.writeTextFile(go, "");
    await eventually("the call is over", () => scene.strays().length === 0);
    await Deno.remove(go);
    return out();
  });
  assert.equal(words, "up\nsurvived\n");
});

const SHELL = ["bash", "--norc", "--noprofile", "-i"];

testBoth("a call in the background takes no keystroke from its shell", {}, async (sides) => {
  const { plain, ours } = await sides.runOnTerminal(() => SHELL, async (pty, { config, sshd }) => {
    const before = sshd.sessions();
    await pty.waitFor("$ ");
    pty.write(`ssh -F ${config} host 'sleep 600' &\r`);
    await eventually("the session runs", () => sshd.sessions() > before);
    for (let i = 0; i < 20; i++) {
      pty.write(`echo abcde''fghij-${i}\r`);
      await pty.waitFor(`abcdefghij-${i}\r\n`);
    }
    pty.write("kill -KILL %1\r");
    await pty.waitFor("$ ");
    // Twice, as the shell may not know yet that the job has ended, and then wants a second exit.
    pty.write("exit 0\rexit 0\r");
  }, { PS1: "$ " });
  assert.deepEqual([plain.code, plain.left], [0, []]);
  assert.deepEqual([ours.code, ours.left], [0, []]);
});

/** Types a key in a session, under plain ssh and under sshs. */
function typeInSession(sides: SideBySide, key: string) {
  return sides.onTerminal(["host", "echo up; cat"], async (pty) => {
    await pty.waitFor("up\r\n");
    // ssh may lose a signal that comes just before it waits (client_loop() in clientloop.c).
    await untilAsleep(pty.pid);
    pty.write(key);
  });
}

testBoth("Ctrl-C ends a session as it ends ssh", {}, async (sides) => {
  const { plain, ours } = await typeInSession(sides, "\x03");
  assert.deepEqual({ ...ours, logins: 0 }, { ...plain, logins: 0 });
  assert.equal(plain.code, 255);
});

testBoth(
  "Ctrl-\\ ends a session by the signal, where ssh exits with 255 (README)",
  {},
  async (sides) => {
    const { plain, ours } = await typeInSession(sides, "\x1c");
    // As a client of a master, ssh leaves SIGQUIT as it is (mux.c).
    const expected = { ...plain, logins: 0, code: 131, signal: "SIGQUIT" };
    assert.deepEqual({ ...ours, logins: 0 }, expected);
    assert.deepEqual([plain.code, plain.signal], [255, null]);
  },
);

/** Far more than plain ssh takes on a busy machine, and far less than the 2 min that a call may wait, ms. */
const PATIENCE = 30_000;

Deno.test({
  name: "BatchMode does not wait for the answer to another call's question",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using scene = await Scene.open({ passwords: true });
    await using pty = await scene.pty(["ssh", ...scene.args("true")]);
    await pty.waitFor("password: ");
    const started = performance.now();
    const { code, stderr } = await scene.ssh(["-oBatchMode=yes", "host", "true"], {
      timeout: 150_000,
    });
    assert.equal(code, 255);
    assert.match(stderr, /Permission denied/);
    assert.ok(performance.now() - started < PATIENCE, `${performance.now() - started} ms`);
  },
});

for (const options of [["-oBatchMode=yes"], []]) {
  Deno.test(`ConnectTimeout applies while another call connects (${options.join("") || "alone"})`, async () => {
    await using scene = await Scene.open({ relay: {} });
    scene.relay.cut();
    await using pty = await scene.pty(["ssh", ...scene.args("true")]);
    await eventually("another call connects", () => scene.connections() === 1);
    const started = performance.now();
    const { code } = await scene.ssh(["-oConnectTimeout=2", ...options, "host", "true"], {
      timeout: 150_000,
    });
    assert.equal(code, 255);
    assert.ok(performance.now() - started < PATIENCE, `${performance.now() - started} ms`);
    pty.hangup();
    await pty.status;
  });
}

/** Runs a call with `-E`; resolves to its stderr and to what it wrote to the file. */
async function loggedBy(scene: Scene, ...options: string[]): Promise<Record<string, string>> {
  const log = `${scene.sandbox.home}/log`;
  const { code, stdout, stderr } = await scene.ssh(["-E", log, ...options, "host", "echo hello"]);
  assert.deepEqual([code, stdout], [0, "hello\n"], stderr);
  return { stderr, log: isThere(log) ? await Deno.readTextFile(log) : "" };
}

Deno.test("-E logs only ssh's own messages: a banner goes to stderr", async () => {
  await using sides = await SideBySide.open({ banner: "welcome\n" });
  const { stderr } = await assertAlike(sides, (scene) => loggedBy(scene));
  assert.equal(stderr, "welcome\n");
});

Deno.test("-E logs only ssh's own messages: those of a ProxyCommand go to stderr", async () => {
  await using sides = await SideBySide.open({ proxy: true });
  const { stderr } = await assertAlike(sides, async (scene) => {
    const script = 'echo proxied >&2; exec "${0%/*}/proxy" "$@"';
    const proxy = await scene.sandbox.addProgram("loud-proxy", script);
    return loggedBy(scene, `-oProxyCommand=${proxy} %h %p`);
  });
  assert.equal(stderr, "proxied\n");
});

for (const options of [{}, { proxy: true }] as const) {
  const through = "proxy" in options ? ", through a ProxyCommand" : "";
  testBoth(`a call keeps no directory and no file busy${through}`, options, async (sides) => {
    for (const scene of [sides.plain, sides.ours]) {
      const cwd = `${scene.sandbox.home}/busy`;
      await Deno.mkdir(cwd);
      await Deno.writeTextFile(`${cwd}/in`, "hello\n");
      const script = 'exec ssh -F "$0" -E log host cat <in >out 2>err';
      const { code } = await scene.run(["sh", "-c", script, scene.config], { cwd });
      // Plain ssh's proxy ends a moment after it.
      await eventually("nobody keeps it busy", () => usersOf(cwd).length === 0);
      assert.equal(code, 0);
      assert.equal(await Deno.readTextFile(`${cwd}/out`), "hello\n");
    }
  });
}

/** Ways to start a call that must not affect the calls after it. */
const STARTED: Readonly<Record<string, { words: string; see: (pid: number) => string }>> = {
  "a nice value": {
    words: "nice -n 15",
    see: (pid) => fieldsOf(pid)[16],
  },
  "a scheduling policy": {
    words: "chrt --idle 0",
    see: (pid) => fieldsOf(pid)[38],
  },
  "a CPU time limit": {
    words: "prlimit --cpu=1000",
    see: (pid) => limitOf(pid, "cpu time"),
  },
  "a limit to the size of files": {
    words: "prlimit --fsize=1000000",
    see: (pid) => limitOf(pid, "file size"),
  },
  "a limit to a few open files": {
    words: "prlimit --nofile=90:90",
    see: (pid) => limitOf(pid, "open files").replace(/\d+ +(\d+)/, "$1"), // Deno raises its own
  },
};

function limitOf(pid: number, what: string): string {
  return new RegExp(`^Max ${what}.*$`, "m").exec(Deno.readTextFileSync(`/proc/${pid}/limits`))![0];
}

/** Returns the fields of /proc/PID/stat after the name, from the state on, which is field 3 in proc(5). */
function fieldsOf(pid: number): string[] {
  const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

for (const [what, { words, see }] of Object.entries(STARTED)) {
  Deno.test(`${what} of a first call does not apply to the calls after it`, async () => {
    await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
    const argv = [...words.split(" "), "ssh", ...scene.args("echo hello")];
    const { code, stdout } = await scene.run(argv);
    assert.deepEqual([code, stdout], [0, "hello\n"]);
    await scene.ssh(["host", "true"]);
    const [own, ...others] = [Deno.pid, ...scene.processes().map(({ pid }) => pid)].map(see);
    for (const other of others) assert.equal(other, own);
  });
}

Deno.test("a Match exec that looks at the directory chooses the login, as under plain ssh", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  const config = await Deno.readTextFile(scene.config);
  await Deno.writeTextFile(
    scene.config,
    `Match exec "test ! -e .work"\n  Port 1\nMatch all\n${config}`,
  );
  const [work, other] = [`${scene.sandbox.dir}/work`, `${scene.sandbox.dir}/other`];
  await Deno.mkdir(`${work}/.work`, { recursive: true });
  await Deno.mkdir(other);
  for (let i = 0; i < 2; i++) {
    for (const [cwd, expected] of [[work, 0], [other, 255]] as const) {
      assert.equal((await scene.ssh(["host", "true"], { cwd })).code, expected, cwd);
    }
  }
  assert.equal(scene.logins(), 1);
});
