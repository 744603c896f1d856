/** Which ssh is the real one when others call us back. launcher_rules_test.ts tests which one is found. */
import assert from "node:assert/strict";
import { account, canMakeAccounts } from "./support/account.ts";
import { needProgram } from "./support/programs.ts";
import type { RunOptions, RunResult } from "./support/sandbox.ts";
import { Scene } from "./support/scene.ts";
import { Sshd } from "./support/sshd.ts";

/** Opens a scene that records each run of the launcher. */
async function openScene(): Promise<Scene> {
  const scene = await Scene.open();
  const text = await Deno.readTextFile(`${scene.bin}/ssh`);
  const noted = text.replace(/^sshs_lib=/m, `echo >>'${scene.sandbox.dir}/runs'\n$&`);
  await Deno.writeTextFile(`${scene.bin}/ssh`, noted);
  return scene;
}

/** Returns how often the launcher was run since the last time. */
function runs({ sandbox }: Scene): number {
  const { length } = Deno.readTextFileSync(`${sandbox.dir}/runs`);
  Deno.removeSync(`${sandbox.dir}/runs`);
  return length;
}

/** Puts an `ssh` into a directory of the sandbox; resolves to its path. */
async function wrap({ sandbox }: Scene, dir: string, script: string): Promise<string> {
  await Deno.mkdir(`${sandbox.dir}/${dir}`);
  const path = `${sandbox.dir}/${dir}/ssh`;
  await Deno.writeTextFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

/** Returns a PATH of directories of the sandbox, and those of the system's ssh. */
function pathOf({ sandbox }: Scene, ...dirs: string[]): string {
  return [...dirs.map((dir) => `${sandbox.dir}/${dir}`), "/usr/bin", "/bin"].join(":");
}

/** Runs a program through a shell, so that argv[0] is the name it was called by. */
function call(scene: Scene, argv: readonly string[], options: RunOptions): Promise<RunResult> {
  return scene.run(["sh", "-c", 'exec "$@"', "sh", ...argv], options);
}

const WRAPPED: readonly (readonly [name: string, isChosen: boolean, ...path: string[]])[] = [
  ["SSHS_SSH", true, "launchers/bin"],
  ["the next in PATH", false, "launchers/bin", "next"],
  ["before us in PATH", false, "next", "launchers/bin"],
  ["both", true, "launchers/bin", "next"],
];

Deno.test("a wrapper that calls ssh by name does not loop forever", async (test) => {
  await using scene = await openScene();
  const wrapper = await wrap(scene, "chosen", 'exec ssh "$@"');
  // It finds the launcher first in PATH, whatever called it.
  await wrap(scene, "next", `PATH=${pathOf(scene, "launchers/bin", "next")} exec ssh "$@"`);
  for (const [row, [name, isChosen, ...path]] of WRAPPED.entries()) {
    await test.step(name, async () => {
      const env = { PATH: pathOf(scene, ...path), SSHS_SSH: isChosen ? wrapper : undefined };
      const words = ["ssh", `-oServerAliveInterval=${90 + row}`, ...scene.args("echo hello")];
      const before = scene.logins();
      const { code, stdout, stderr } = await call(scene, words, { env });
      assert.deepEqual([code, stdout, stderr], [0, "hello\n", ""]);
      assert.equal(scene.logins() - before, 1);
      const count = runs(scene);
      assert.ok(count <= 12, `${count} times`);
    });
  }
});

Deno.test("SSHS_SSH that names our launcher causes no loop", async () => {
  await using scene = await openScene();
  const env = { SSHS_SSH: `${scene.bin}/ssh` };
  assert.equal((await scene.ssh(["host", "echo hello"], { env })).stdout, "hello\n");
  assert.equal(runs(scene), 1);
  assert.equal(scene.sandbox.masters().length, 1);
});

const CALLED: readonly (readonly [program: string, cwd: string, ...path: string[]])[] = [
  ["./ssh", "launchers/bin", "launchers/bin"],
  ["launchers/bin/ssh", ".", "launchers/bin"],
  ["ssh", "launchers/bin"],
];

Deno.test("ssh does not run us again by its argv[0]", async (test) => {
  await using scene = await openScene();
  const config = await scene.sshd.writeConfig({ aliases: ["jump"], knowsHost: true });
  const words = ["-F", config, "-J", "jump", "-o", "HostKeyAlias=[127.0.0.1]:" + scene.port];
  for (const [program, cwd, ...path] of CALLED) {
    await test.step(`${program} in ${cwd}`, async () => {
      const env = { PATH: path.length > 0 ? pathOf(scene, ...path) : ".:/usr/bin:/bin" };
      for (const own of [["-S", "none"], []]) {
        const argv = [program, ...words, ...own, "host", "echo hello"];
        const options = { env, cwd: `${scene.sandbox.dir}/${cwd}` };
        const { stdout, stderr } = await call(scene, argv, options);
        assert.equal(stdout, "hello\n", stderr);
        const count = runs(scene);
        // ssh itself runs the one for its jump host; if the call shares, we do.
        if (own.length > 0) assert.equal(count, 1);
      }
    });
  }
});

const CALLERS: readonly (readonly [name: string, line: (config: string) => string])[] = [
  ["Match exec", (config) => `Match exec "ssh -F ${config} host true"`],
  ["ProxyCommand", (config) => `ProxyCommand sh -c "ssh -F ${config} -W %h:%p host"`],
];

for (const [name, line] of CALLERS) {
  Deno.test(`a ${name} that runs ssh finds us, and gets plain ssh`, async () => {
    await using scene = await Scene.open();
    await using inner = await Sshd.start({ client: { knowsHost: true } });
    const config = await scene.sshd.writeConfig({ config: [line(inner.config)], knowsHost: true });
    const { stdout, stderr } = await scene.run(["ssh", "-F", config, "host", "echo hello"]);
    assert.equal(stdout, "hello\n", stderr);
    assert.equal(scene.logins(), 1);
    assert.ok(inner.logins() >= 1 && inner.logins() <= 4, `${inner.logins()} logins`);
    // The inner calls left no master.
    assert.ok(new Set(scene.lanes().map(({ identity }) => identity)).size <= 1);
  });
}

Deno.test({
  name: "a directory in PATH that the user may not enter is passed over",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using scene = await Scene.open();
    const { sandbox, bin } = scene;
    await Deno.chmod(sandbox.dir, 0o755);
    const { name } = await account();
    const closed = `${sandbox.dir}/closed`;
    await Deno.mkdir(closed, { mode: 0o700 });
    const user = [needProgram("setpriv"), `--reuid=${name}`, "--clear-groups"];
    const env = { PATH: `${closed}:/usr/bin:/bin`, DENO_DIR: undefined, SSHS: "off" };
    for (const argv of [[`${bin}/ssh`, "-V"], sandbox.argv(["-V"])]) {
      const { code, stderr } = await sandbox.run([...user, ...argv], { env });
      assert.equal(code, 0, stderr);
      assert.match(stderr, /^OpenSSH_[^\n]*\n$/);
    }
  },
});
