/** What is installed, and that --uninstall leaves nothing of it. */
import assert from "node:assert/strict";
import { removeState } from "../lib/lane/state_dir.ts";
import { otherLauncher, pathLine, placesBelow } from "../lib/launcher/install.ts";
import { namesIn } from "../lib/os/files.ts";
import { FLAGS, isDenoTooOld, OLDEST_DENO, PACKAGES, PERMISSIONS } from "../lib/os/program.ts";
import { expect, openScene, sshs } from "./support/commands.ts";
import { eventually } from "./support/eventually.ts";
import { Home, serve } from "./support/home.ts";
import { install } from "./support/installed.ts";
import { isThere } from "./support/is_there.ts";
import { findProgram, INSTALLER, REPOSITORY, run as output } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";
import { walk } from "./support/walk.ts";

Deno.test("install.sh installs the same twice, and --uninstall leaves nothing of it", async () => {
  using home = new Home();
  const said = await home.install();
  assert.match(said, /export PATH='[^']*a prefix\/bin':"\$PATH"/);
  const first = home.contents();
  for (const name of ["bin/sshs", "bin/ssh", "bin/scp", "bin/sftp", "lib/sshs/sshs.js"]) {
    assert.ok(first[`${home.prefix}/${name}`], name);
  }
  await home.install();
  assert.deepEqual(home.contents(), first);

  const version = await home.run(`${home.prefix}/bin/sshs`, ["--version"]);
  assert.match(version.stdout, /^sshs \d+\.\d+\.\d+, /);
  const ssh = await home.run(`${home.prefix}/bin/ssh`, ["-G", "-p", "77", "somewhere"]);
  assert.match(ssh.stdout, /^port 77$/m);

  const doctor = await home.run(`${home.prefix}/bin/sshs`, ["--doctor"]);
  assert.ok(doctor.stdout.includes(/^ {2}(export .*)$/m.exec(said)![1]), doctor.stdout);

  const [text, ...others] = ["ssh", "scp", "sftp", "sshs"].map((name) =>
    first[`${home.prefix}/bin/${name}`]
  );
  for (const other of others) assert.equal(other, text);
  assert.match(text, /^#!\/bin\/sh\n# sshs launcher: /);
  assert.equal(/^sshs_flags='(.*)'$/m.exec(text)?.[1], FLAGS.join(" "));
  assert.equal(/^sshs_deno='(.*)'$/m.exec(text)?.[1], Deno.execPath());

  const gone = await home.run("sh", [INSTALLER, "--uninstall", "--prefix", home.prefix]);
  assert.equal(gone.code, 0, gone.stderr);
  assert.equal(isThere(home.prefix), false);
});

Deno.test("install.sh --uninstall keeps what others have put beside it", async () => {
  using home = new Home();
  Deno.mkdirSync(`${home.prefix}/bin`, { recursive: true });
  Deno.writeTextFileSync(`${home.prefix}/bin/other`, "theirs");
  await home.install();
  Deno.writeTextFileSync(`${home.prefix}/share/man.txt`, "theirs");
  // A launcher that was replaced is not ours any more.
  Deno.writeTextFileSync(`${home.prefix}/bin/scp`, "#!/bin/sh\n# theirs\n");
  await home.install("--uninstall");
  assert.deepEqual(
    Object.keys(home.contents()).map((path) => path.slice(home.prefix.length)).sort(),
    ["/bin/", "/bin/other", "/bin/scp", "/share/", "/share/man.txt"],
  );
});

Deno.test("install.sh --uninstall ends the master and the sleeper, and leaves no state", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  await install(sandbox);
  const call = await sandbox.run(["ssh", "-F", sshd.config, "host", "exit 7"]);
  assert.deepEqual([call.code, call.stderr], [7, ""]);
  assert.deepEqual([sandbox.masters().length, sandbox.sleepers().length], [1, 1]);
  // At once: the sleeper has not begun its work, and its program is about to be removed.
  const prefix = `${sandbox.dir}/prefix`;
  const gone = await sandbox.run(["sh", INSTALLER, "--uninstall", "--prefix", prefix]);
  assert.deepEqual([gone.code, gone.stderr], [0, ""]);
  assert.equal(isThere(prefix), false);
  await sandbox.assertClean({ deadline: 30_000 });
});

Deno.test("install.sh does not overwrite a program that is not its own", async () => {
  for (const name of ["ssh", "sftp", "sshs"]) {
    using home = new Home();
    Deno.mkdirSync(`${home.prefix}/bin`, { recursive: true });
    Deno.writeTextFileSync(`${home.prefix}/bin/${name}`, "#!/bin/sh\necho real\n");
    const before = home.contents();
    const result = await home.run("sh", [INSTALLER, "--prefix", home.prefix]);
    assert.equal(result.code, 1);
    assert.match(
      result.stderr,
      /is not a launcher of sshs\nsshs: hint: sshs --install --prefix DIR\n$/,
    );
    assert.deepEqual(home.contents(), before);
  }
});

/** Runs `deno install` on main.ts, from a checkout or a URL, as in README. */
async function denoInstall(home: Home, main: string, maps: string): Promise<string> {
  const map = `${maps}/${
    Deno.env.get("SSHS_IMPORTS") === "jsr" ? "deno.json" : "imports.npm.json"
  }`;
  const result = await home.run(Deno.execPath(), [
    ...["install", "--global", "--force", "--root", `${home.path}/.deno`, "--name", "sshs"],
    ...["--unstable-raw-imports", "--import-map", map, ...PERMISSIONS, main],
  ]);
  assert.equal(result.code, 0, result.stderr);
  return `${home.path}/.deno/bin/sshs`;
}

for (const source of ["a checkout", "a URL"]) {
  Deno.test(`deno install from ${source} and sshs --install make a complete installation`, async () => {
    using home = new Home();
    await using server = serve({ type: "text/plain" });
    const base = source === "a URL" ? server.base : REPOSITORY.slice(0, -1);
    const sshs = await denoInstall(home, `${base}/main.ts`, base);
    assert.match((await home.run(sshs, ["--version"])).stdout, /^sshs /);
    assert.equal((await home.run(sshs, ["--list"])).stdout, "nothing is shared\n");
    assert.match((await home.run(sshs, ["-G", "-p", "77", "somewhere"])).stdout, /^port 77$/m);

    const { code, stderr } = await home.run(sshs, ["--install", "--prefix", home.prefix]);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match((await home.run(`${home.prefix}/bin/sshs`, ["--version"])).stdout, /^sshs /);
    const paths = Object.keys(home.contents());
    await home.install();
    assert.deepEqual(Object.keys(home.contents()), paths, "the same as by install.sh");

    // The program that is removed runs this: it knows where it is.
    const gone = await home.run(`${home.prefix}/bin/sshs`, ["--uninstall"]);
    assert.deepEqual([gone.code, gone.stderr], [0, ""]);
    assert.equal(isThere(home.prefix), false);
    assert.equal(isThere(`${home.path}/state`), false);
  });
}

Deno.test("a call after deno install alone starts a sleeper", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  using home = new Home();
  const sshs = await denoInstall(home, `${REPOSITORY}main.ts`, REPOSITORY.slice(0, -1));
  const { code } = await sandbox.run([sshs, "-F", sshd.config, "host", "exit 7"]);
  assert.equal(code, 7);
  await eventually("the sleeper is awake", () => sandbox.sleepers().length === 1);
});

Deno.test("--install replaces what 0.1.0 left, including Deno's own script", async () => {
  using home = new Home();
  Deno.mkdirSync(`${home.prefix}/bin/.sshs`, { recursive: true });
  Deno.writeTextFileSync(`${home.prefix}/bin/.sshs/deno.json`, "{}");
  Deno.writeTextFileSync(`${home.prefix}/bin/sshs`, "#!/bin/sh\n# generated by deno install\n");
  Deno.writeTextFileSync(`${home.prefix}/bin/ssh`, "#!/bin/sh\n# sshs launcher: of old\n");
  await home.install();
  assert.match((await home.run(`${home.prefix}/bin/sshs`, ["--version"])).stdout, /^sshs /);
  assert.equal(isThere(`${home.prefix}/bin/.sshs`), false);
});

Deno.test("--install changes nothing if a file cannot be written, and says which", async () => {
  using home = new Home();
  Deno.mkdirSync(`${home.prefix}/share`, { recursive: true });
  Deno.writeTextFileSync(`${home.prefix}/share/man`, "a file");
  const before = home.contents();
  const result = await home.run("sh", [INSTALLER, "--prefix", home.prefix]);
  assert.equal(result.code, 1);
  assert.match(result.stderr, /^sshs: .*share\/man.*\nsshs: hint: sshs --install --prefix DIR$/m);
  assert.deepEqual(home.contents(), before);
});

Deno.test("--uninstall says that sshs is not installed, and leaves the state alone", async () => {
  using home = new Home();
  Deno.mkdirSync(`${home.path}/state`, { mode: 0o700 });
  const result = await home.run("sh", [INSTALLER, "--uninstall", "--prefix", home.prefix]);
  assert.equal(result.code, 1);
  assert.match(result.stderr, /^sshs: sshs is not installed in .*\nsshs: hint: /);
  assert.ok(isThere(`${home.path}/state`));
});

Deno.test("removeState removes only our files from a directory that has others", () => {
  using home = new Home();
  const dir = `${home.path}/state`;
  Deno.mkdirSync(`${dir}/0123456789abcdef`, { recursive: true, mode: 0o700 });
  Deno.mkdirSync(`${dir}/plans`);
  Deno.writeTextFileSync(`${dir}/plans.txt`, "theirs");
  removeState({ uid: () => Deno.uid(), env: (name) => name === "SSHS_DIR" ? dir : undefined });
  assert.deepEqual(namesIn(dir), ["plans.txt"]);
});

Deno.test("PACKAGES are the packages that lib/ imports, and both import maps have them", () => {
  const modules = walk(`${REPOSITORY}lib`).filter((path) => path.endsWith(".ts"));
  const imports = modules.flatMap((path) => {
    const text = Deno.readTextFileSync(`${REPOSITORY}lib/${path}`);
    return Array.from(
      text.matchAll(/^(?:import|\}).* from "([^."][^"]*)";$/gm),
      ([, name]) => name,
    );
  });
  assert.deepEqual([...new Set(imports)].sort(), [...PACKAGES].sort());
  const names = (file: string) =>
    Object.keys(JSON.parse(Deno.readTextFileSync(REPOSITORY + file)).imports);
  for (const name of PACKAGES) {
    assert.ok(names("imports.npm.json").includes(name), name);
    assert.ok(names("deno.json").some((given) => `${name}/`.startsWith(`${given}/`)), name);
  }
});

const PATH_LINES: [shell: string, bin: string, line: string][] = [
  ["/bin/bash", "/home/neo/.local/bin", 'export PATH="/home/neo/.local/bin:$PATH"'],
  ["/usr/bin/fish", "/home/neo/.local/bin", "fish_add_path --move --path /home/neo/.local/bin"],
  ["zsh", "/home/n o/it's $5/bin", `export PATH='/home/n o/it'\\''s $5/bin':"$PATH"`],
];
for (const [shell, bin, line] of PATH_LINES) {
  Deno.test(`pathLine for ${shell} and ${bin} is ${line}`, async () => {
    assert.equal(pathLine(shell, bin), line);
    if (shell.endsWith("fish")) return;
    const path = await output("sh", ["-c", `${line}; printf %s "$PATH"`]);
    assert.ok(path.startsWith(`${bin}:`), path);
  });
}

const AGES: [string, boolean][] = [
  [OLDEST_DENO, false],
  ["2.6.8", true],
  ["2.7.0", true],
  ["2.10.0", false],
  ["2.9.6+1234567", false],
  ["3.0.0-rc.1", false],
];
for (const [version, tooOld] of AGES) {
  Deno.test(`Deno ${version} is ${tooOld ? "too old" : "new enough"}`, () => {
    assert.equal(isDenoTooOld(version), tooOld);
  });
}

Deno.test({
  name: "install.sh prints for zsh users the line that makes the completion work",
  ignore: !findProgram("zsh"),
  async fn() {
    using home = new Home();
    const { stdout } = await home.run("sh", [INSTALLER, "--prefix", home.prefix], {
      env: { SHELL: "/usr/bin/zsh" },
    });
    assert.match(stdout, /^Add to ~\/\.zshrc, before compinit, and run here:\n +fpath=/m);
    const line = /^ +(fpath=.*)$/m.exec(stdout)?.[1];
    const script = `${line}; autoload -Uz compinit; compinit -u -D; print $_comps[sshs]`;
    assert.equal(await output("zsh", ["-f", "-c", script]), "_sshs\n", stdout);
    assert.doesNotMatch(await home.install(), /fpath/, "another shell");
  },
});

Deno.test("--install changes nothing if a directory has the place of a file", async () => {
  using home = new Home();
  const taken = `${home.prefix}/share/fish/vendor_completions.d/sshs.fish`;
  Deno.mkdirSync(taken, { recursive: true });
  const before = home.contents();
  const result = await home.run("sh", [INSTALLER, "--prefix", home.prefix]);
  assert.equal(result.code, 1);
  assert.equal(
    result.stderr,
    `sshs: ${taken} is a directory\nsshs: hint: sshs --install --prefix DIR\n`,
  );
  assert.deepEqual(home.contents(), before);
});

Deno.test("--uninstall leaves the connections to another installation in PATH", async () => {
  await using scene = await openScene();
  const prefix = `${scene.sandbox.dir}/prefix`;
  expect(await sshs(scene, ["--install", "--prefix", prefix]), { code: 0, stderr: "" });
  await scene.ssh(["host", "true"]);
  expect(await sshs(scene, ["--uninstall", "--prefix", prefix]), {
    code: 0,
    stdout: `sshs is removed from ${prefix}\n` +
      `shared connections are left to ${scene.bin}/ssh\n`,
    stderr: "",
  });
  assert.equal(isThere(prefix), false);
  // One may name the launcher that is gone.
  assert.deepEqual(scene.sandbox.files().filter((file) => file.startsWith("plans/")), []);
  expect(await scene.ssh(["host", "echo hi"]), { code: 0, stdout: "hi\n" });
  assert.equal(scene.logins(), 1);
});

Deno.test("otherLauncher finds one that is not removed, nor a link to one that is", () => {
  using home = new Home();
  const places = placesBelow(home.prefix);
  const [links, other] = [`${home.path}/links`, `${home.path}/other`];
  for (const dir of [places.bin, links, other]) Deno.mkdirSync(dir, { recursive: true });
  const launcher = "#!/bin/sh\n# sshs launcher: of old\n";
  for (const path of [...places.launchers, `${other}/sshs`]) {
    Deno.writeTextFileSync(path, launcher, { mode: 0o755 });
  }
  Deno.symlinkSync(`${places.bin}/ssh`, `${links}/ssh`);
  const find = (...dirs: string[]) => otherLauncher(places, { env: () => dirs.join(":") });
  assert.equal(find(places.bin, links, "/usr/bin"), undefined);
  assert.equal(find(places.bin, links, other), `${other}/sshs`);
});
