import assert from "node:assert/strict";
import { findRealSsh, INSIDE, insideMark, isScript } from "../lib/ssh/real_ssh.ts";
import { account, canMakeAccounts } from "./support/account.ts";
import { needProgram, SSHS } from "./support/programs.ts";
import { type RunResult, Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

/** Programs called `ssh` in directories of their own, for a PATH. */
class Programs implements Disposable {
  readonly dir: string = Deno.makeTempDirSync();

  /** Makes DIR/ssh and gives its path. */
  add(dir: string, text: string, mode = 0o755): string {
    Deno.mkdirSync(`${this.dir}/${dir}`);
    const path = `${this.dir}/${dir}/ssh`;
    Deno.writeTextFileSync(path, text);
    Deno.chmodSync(path, mode);
    return path;
  }

  path(...dirs: string[]): string {
    return dirs.map((dir) => dir.startsWith("/") ? dir : `${this.dir}/${dir}`).join(":");
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.dir, { recursive: true });
  }
}

const LAUNCHER = "#!/bin/sh\n# sshs launcher 0.1.0\nexit 1\n";
const SCRIPT = '#!/bin/sh\nexec ssh -4 "$@"\n';
/** Anything that is no script passes for one. */
const BINARY = "\x7fELF";

function find(env: Record<string, string | undefined>): string | undefined {
  return findRealSsh({ env: (name) => env[name] });
}

Deno.test("findRealSsh takes the first ssh in PATH that is not one of ours", () => {
  using programs = new Programs();
  const first = programs.add("first", BINARY);
  const wrapper = programs.add("wrapper", SCRIPT);
  programs.add("ours", LAUNCHER);
  programs.add("data", BINARY, 0o644);
  Deno.mkdirSync(`${programs.dir}/linked`);
  Deno.symlinkSync(`${programs.dir}/ours/ssh`, `${programs.dir}/linked/ssh`);
  Deno.mkdirSync(`${programs.dir}/folder/ssh`, { recursive: true });
  const rows: [path: string, expected: string | undefined][] = [
    [programs.path("first", "wrapper"), first],
    [programs.path("ours", "linked", "first"), first],
    [programs.path("wrapper", "first"), wrapper],
    [programs.path("data", "folder", "nowhere", "/dev/null", "first"), first],
    [`.:bin::${programs.path("first")}//`, first],
    [programs.path("ours"), undefined],
    [programs.path("ours", "linked", "data"), undefined],
    [".:", undefined],
  ];
  for (const [path, expected] of rows) assert.equal(find({ PATH: path }), expected, path);
  assert.ok(find({})?.endsWith("/ssh"));
});

Deno.test("findRealSsh takes SSHS_SSH where it can be the real one", () => {
  using programs = new Programs();
  const first = programs.add("first", BINARY);
  const chosen = programs.add("chosen", SCRIPT);
  const rows: [chosen: string, expected: string][] = [
    [chosen, chosen],
    [programs.add("ours", LAUNCHER), first],
    [programs.add("data", BINARY, 0o644), first],
    [`${programs.dir}/nowhere/ssh`, first],
    ["ssh", first],
    ["", first],
  ];
  for (const [value, expected] of rows) {
    assert.equal(find({ SSHS_SSH: value, PATH: programs.path("first") }), expected, value);
  }
});

Deno.test("findRealSsh passes over what has called us back", () => {
  using programs = new Programs();
  const real = programs.add("real", BINARY);
  const one = programs.add("one", SCRIPT);
  const two = programs.add("two", SCRIPT);
  const PATH = programs.path("two", "real");
  const rows: [inside: string | undefined, expected: string][] = [
    [undefined, one],
    [one, two],
    // Both of them call `ssh`: each once, and then the real one.
    [`${one}:${two}`, real],
    [`${two}:${one}`, real],
    // A ProxyCommand of the real one may call us again, and so may its own.
    [`${one}:${two}:${real}`, real],
    [`${one}x:${two}`, one],
  ];
  for (const [inside, expected] of rows) {
    assert.equal(find({ SSHS_SSH: one, PATH, [INSIDE]: inside }), expected, inside);
  }
  // A binary that looks for the next ssh in PATH would find us for ever.
  const round = new Array(16).fill(real).join(":");
  assert.equal(find({ PATH: programs.path("real"), [INSIDE]: round }), undefined);
  const other = programs.add("other", BINARY);
  assert.equal(find({ PATH: programs.path("real", "other"), [INSIDE]: round }), other);
});

Deno.test("insideMark keeps the marks around it", () => {
  assert.equal(insideMark("/a/ssh", { env: () => undefined }), "/a/ssh");
  assert.equal(insideMark("/b/ssh", { env: () => "/a/ssh" }), "/a/ssh:/b/ssh");
});

Deno.test("isScript tells what may call ssh again by its name", () => {
  using programs = new Programs();
  assert.equal(isScript(programs.add("script", SCRIPT)), true);
  assert.equal(isScript(programs.add("binary", BINARY)), false);
  assert.equal(isScript(`${programs.dir}/nowhere`), false);
});

/** A server, and a sandbox with a launcher of ours first in PATH that notes each time it is run. */
class Scene implements AsyncDisposable {
  private constructor(readonly sshd: Sshd, readonly sandbox: Sandbox) {}

  static async create(): Promise<Scene> {
    const scene = new Scene(await Sshd.start(), await Sandbox.create());
    const words = SSHS.map((word) => `'${word}'`).join(" ");
    await scene.wrap("bin", `exec ${words} --as=ssh "$@"`, "# sshs launcher");
    return scene;
  }

  /** Puts an `ssh` that notes its runs into a directory of the sandbox; gives its path. */
  async wrap(dir: string, script: string, secondLine = "#"): Promise<string> {
    await Deno.mkdir(`${this.sandbox.dir}/${dir}`, { recursive: true });
    const path = `${this.sandbox.dir}/${dir}/ssh`;
    const note = `echo ${dir} >>'${this.sandbox.dir}/runs'`;
    await Deno.writeTextFile(path, `#!/bin/sh\n${secondLine}\n${note}\n${script}\n`);
    await Deno.chmod(path, 0o755);
    return path;
  }

  /** How often the `ssh` in a directory has been run. */
  async runs(dir: string): Promise<number> {
    const text = await Deno.readTextFile(`${this.sandbox.dir}/runs`);
    return text.split("\n").filter((line) => line === dir).length;
  }

  /** A PATH of these directories of the sandbox and those of the system's ssh. */
  path(...dirs: string[]): string {
    return [...dirs.map((dir) => `${this.sandbox.dir}/${dir}`), "/usr/bin", "/bin"].join(":");
  }

  run(
    args: readonly string[],
    env: Record<string, string>,
    { program = "ssh", cwd }: { program?: string; cwd?: string } = {},
  ): Promise<RunResult> {
    // Through a shell, as argv[0] is what it was called by.
    const argv = ["sh", "-c", `exec "$@"`, "sh", program, ...args];
    return this.sandbox.run(argv, { env, cwd, timeout: 60_000 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sandbox[Symbol.asyncDispose]();
    await this.sshd[Symbol.asyncDispose]();
  }
}

const SELF = 'exec ssh "$@"';

Deno.test("a wrapper that calls ssh by its name is run once for each program, and all ends", async (t) => {
  const rows: [name: string, chosen: string | undefined, inPath: string[]][] = [
    ["SSHS_SSH", "chosen", ["bin"]],
    ["the next in PATH", undefined, ["bin", "next"]],
    ["before us in PATH", undefined, ["next", "bin"]],
    ["both", "chosen", ["bin", "next"]],
  ];
  for (const [name, chosen, inPath] of rows) {
    await t.step(name, async () => {
      await using scene = await Scene.create();
      const wrapper = await scene.wrap("chosen", SELF);
      // It finds the launcher first in PATH, whatever called it.
      await scene.wrap("next", `PATH=${scene.path("bin", "next")} ${SELF}`);
      const env = {
        PATH: scene.path(...inPath),
        ...(chosen === undefined ? {} : { SSHS_SSH: wrapper }),
      };
      const result = await scene.run(["-F", scene.sshd.config, "host", "echo hello"], env);
      assert.equal(result.stdout, "hello\n", result.stderr);
      assert.equal(result.code, 0);
      assert.equal(scene.sshd.logins(), 1);
      assert.ok(await scene.runs("bin") <= 12, `${await scene.runs("bin")} times`);
    });
  }
});

Deno.test("SSHS_SSH that names a launcher of ours is no loop", async () => {
  await using scene = await Scene.create();
  const result = await scene.run(["-F", scene.sshd.config, "host", "echo hello"], {
    PATH: scene.path("bin"),
    SSHS_SSH: `${scene.sandbox.bin}/ssh`,
  });
  assert.equal(result.stdout, "hello\n", result.stderr);
  assert.equal(await scene.runs("bin"), 1);
  assert.equal(scene.sandbox.masters().length, 1);
});

Deno.test("a PATH with no ssh but ours is said, and ends with 127", async () => {
  await using scene = await Scene.create();
  const result = await scene.sandbox.run([
    `${scene.sandbox.bin}/ssh`,
    "-F",
    scene.sshd.config,
    "host",
  ], {
    env: { PATH: scene.sandbox.bin },
  });
  assert.equal(result.code, 127);
  assert.match(result.stderr, /^sshs: Cannot find the real ssh.*SSHS_SSH/);
  assert.equal(result.stdout, "");
});

Deno.test("argv[0] may be relative: what ssh runs again by it is not us", async (t) => {
  const rows: [program: string, cwd: string, path: string[]][] = [
    ["./ssh", "bin", ["bin"]],
    ["bin/ssh", ".", ["bin"]],
    ["ssh", "bin", ["."]],
  ];
  for (const [program, cwd, path] of rows) {
    await t.step(`${program} with PATH=${path}`, async () => {
      await using scene = await Scene.create();
      const config = await scene.sshd.writeConfig({ aliases: ["jump"] });
      const env = { PATH: path[0] === "." ? ".:/usr/bin:/bin" : scene.path(...path) };
      const where = { program, cwd: `${scene.sandbox.dir}/${cwd}` };
      for (const own of [["-S", "none"], []]) {
        const argv = [
          "-F",
          config,
          ...own,
          "-J",
          "jump",
          "-o",
          "HostKeyAlias=x",
          "host",
          "echo hello",
        ];
        const result = await scene.run(argv, env, where);
        assert.equal(result.stdout, "hello\n", result.stderr);
      }
      assert.equal(await scene.runs("bin"), 2);
    });
  }
});

Deno.test("a Match exec or a ProxyCommand that runs ssh finds us, and gets the plain one", async (t) => {
  const rows: [name: string, line: (config: string) => string, runs: number][] = [
    ["Match exec", (config) => `Match exec "ssh -F ${config} host true"`, 3],
    ["ProxyCommand", (config) => `ProxyCommand ssh -F ${config} -W %h:%p host`, 1],
  ];
  for (const [name, line, runs] of rows) {
    await t.step(name, async () => {
      await using scene = await Scene.create();
      await using inner = await Sshd.start();
      const config = await scene.sshd.writeConfig({ config: [line(inner.config)] });
      const env = { PATH: scene.path("bin") };
      const result = await scene.run(["-F", config, "host", "echo hello"], env);
      assert.equal(result.stdout, "hello\n", result.stderr);
      assert.equal(scene.sshd.logins(), 1);
      assert.equal(inner.logins(), await scene.runs("bin") - 1);
      assert.ok(inner.logins() >= 1 && inner.logins() <= runs, `${inner.logins()}`);
      // The one inside was plain: it has left no master.
      assert.equal(scene.sandbox.masters().length, 1);
    });
  }
});

Deno.test({
  name: "a directory in PATH that the user may not enter is passed over",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using sandbox = await Sandbox.create();
    await Deno.chmod(sandbox.dir, 0o755);
    const { name } = await account();
    const closed = `${sandbox.dir}/closed`;
    await Deno.mkdir(closed, { mode: 0o700 });
    const user = [needProgram("setpriv"), `--reuid=${name}`, "--clear-groups"];
    const { code, stderr } = await sandbox.run([...user, ...sandbox.argv(["-V"])], {
      env: { PATH: `${closed}:/usr/bin:/bin`, DENO_DIR: undefined },
    });
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^OpenSSH_[^\n]*\n$/);
  },
});
