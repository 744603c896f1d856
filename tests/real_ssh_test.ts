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
  const [first, second, ...rest] = text.split("\n");
  const noted = [first, second, `echo launcher >>'${scene.sandbox.dir}/runs'`, ...rest];
  await Deno.writeTextFile(`${scene.bin}/ssh`, noted.join("\n"));
  return scene;
}

/** Puts an `ssh` that records its runs into a directory of the sandbox; resolves to its path. */
async function wrap({ sandbox }: Scene, dir: string, script: string): Promise<string> {
  await Deno.mkdir(`${sandbox.dir}/${dir}`);
  const path = `${sandbox.dir}/${dir}/ssh`;
  const note = `echo ${dir} >>'${sandbox.dir}/runs'`;
  await Deno.writeTextFile(path, `#!/bin/sh\n${note}\n${script}\n`, { mode: 0o755 });
  return path;
}

/** Returns how often the launcher or a wrapper was run. */
function runs({ sandbox }: Scene, what = "launcher"): number {
  const text = Deno.readTextFileSync(`${sandbox.dir}/runs`);
  return text.split("\n").filter((line) => line === what).length;
}

/** Returns a PATH of directories of the sandbox, and those of the system's ssh. */
function pathOf({ sandbox }: Scene, ...dirs: string[]): string {
  return [...dirs.map((dir) => `${sandbox.dir}/${dir}`), "/usr/bin", "/bin"].join(":");
}

/** Runs a program through a shell, so that argv[0] is the name it was called by. */
function call(scene: Scene, argv: readonly string[], options: RunOptions): Promise<RunResult> {
  return scene.run(["sh", "-c", 'exec "$@"', "sh", ...argv], options);
}

const SELF = 'exec ssh "$@"';

const WRAPPED: readonly (readonly [name: string, isChosen: boolean, ...path: string[]])[] = [
  ["SSHS_SSH", true, "launchers/bin"],
  ["the next in PATH", false, "launchers/bin", "next"],
  ["before us in PATH", false, "next", "launchers/bin"],
  ["both", true, "launchers/bin", "next"],
];

for (const [name, isChosen, ...path] of WRAPPED) {
  Deno.test(`a wrapper that calls ssh by name does not loop forever (${name})`, async () => {
    await using scene = await openScene();
    const wrapper = await wrap(scene, "chosen", SELF);
    // It finds the launcher first in PATH, whatever called it.
    await wrap(scene, "next", `PATH=${pathOf(scene, "launchers/bin", "next")} ${SELF}`);
    const env = { PATH: pathOf(scene, ...path), SSHS_SSH: isChosen ? wrapper : undefined };
    const { code, stdout, stderr } = await call(scene, ["ssh", ...scene.args("echo hello")], {
      env,
    });
    assert.deepEqual([code, stdout, stderr], [0, "hello\n", ""]);
    assert.equal(scene.logins(), 1);
    assert.ok(runs(scene) <= 12, `${runs(scene)} times`);
  });
}

Deno.test("SSHS_SSH that names our launcher causes no loop", async () => {
  await using scene = await openScene();
  const env = { SSHS_SSH: `${scene.bin}/ssh` };
  const { stdout } = await scene.ssh(["host", "echo hello"], { env });
  assert.equal(stdout, "hello\n");
  assert.equal(runs(scene), 1);
  assert.equal(scene.sandbox.masters().length, 1);
});

const CALLED: readonly (readonly [program: string, cwd: string, ...path: string[]])[] = [
  ["./ssh", "launchers/bin", "launchers/bin"],
  ["launchers/bin/ssh", ".", "launchers/bin"],
  ["ssh", "launchers/bin"],
];

for (const [program, cwd, ...path] of CALLED) {
  Deno.test(`ssh does not run us again by its argv[0] (${program} in ${cwd})`, async () => {
    await using scene = await openScene();
    const config = await scene.sshd.writeConfig({ aliases: ["jump"], knowsHost: true });
    const env = { PATH: path.length > 0 ? pathOf(scene, ...path) : ".:/usr/bin:/bin" };
    const words = ["-F", config, "-J", "jump", "-o", "HostKeyAlias=[127.0.0.1]:" + scene.port];
    const options = { env, cwd: `${scene.sandbox.dir}/${cwd}` };
    for (const own of [["-S", "none"], []]) {
      const argv = [program, ...words, ...own, "host", "echo hello"];
      const { stdout, stderr } = await call(scene, argv, options);
      assert.equal(stdout, "hello\n", stderr);
      // ssh itself runs the one for its jump host; if the call shares, we do.
      if (own.length > 0) assert.equal(runs(scene), 1);
    }
  });
}

const CALLERS: readonly (readonly [name: string, line: (config: string) => string])[] = [
  ["Match exec", (config) => `Match exec "ssh -F ${config} host true"`],
  ["ProxyCommand", (config) => `ProxyCommand sh -c "ssh -F ${config} -W %h:%p host"`],
];

for (const [name, line] of CALLERS) {
  Deno.test(`a ${name} that runs ssh finds us, and gets plain ssh`, async () => {
    await using scene = await openScene();
    await using inner = await Sshd.start({ client: { knowsHost: true } });
    const config = await scene.sshd.writeConfig({ config: [line(inner.config)], knowsHost: true });
    const { stdout, stderr } = await scene.run(["ssh", "-F", config, "host", "echo hello"]);
    assert.equal(stdout, "hello\n", stderr);
    assert.equal(scene.logins(), 1);
    assert.ok(inner.logins() >= 1 && inner.logins() <= 4, `${inner.logins()} logins`);
    // The inner calls left no master.
    const sockets = scene.lanes().map(({ identity }) => identity);
    assert.ok(new Set(sockets).size <= 1, `${sockets}`);
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
