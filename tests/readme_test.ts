/** What README.md tells a new user to type, from an empty home back to an empty home. */
import assert from "node:assert/strict";
import { parseSettings } from "../lib/call/settings.ts";
import { serve } from "./support/home.ts";
import { findProgram, REPOSITORY } from "./support/programs.ts";
import { type RunResult, Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const README = await Deno.readTextFile(`${REPOSITORY}README.md`);

Deno.test("the first screen, as it stands: install, the PATH line that it prints, ssh twice, and back", async () => {
  const lines = README.split("\n");
  assert.ok(lines.length <= 151, `${lines.length} lines`);
  assert.ok(lines.findIndex((line) => line.startsWith("## ")) <= 45);
  const [, install] = /^Install it[^]*?\n\n {4}(.*)$/m.exec(README)!;
  const [, back] = /^and go back:\n\n {4}(.*)$/m.exec(README)!;

  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  await using server = serve();
  sandbox.env.SHELL = "/bin/sh";
  sandbox.env.SSHS_BASE = server.base;
  const typed = install.replaceAll("BASE", server.base);
  const installed = await sandbox.run(["sh", "-c", typed], { timeout: 120_000 });
  assert.equal(installed.code, 0, installed.stderr);
  const [, path] = /^ {2}(export PATH=.*)$/m.exec(installed.stdout) ?? [];

  /** Runs a script in a shell with that line. */
  const run = (script: string): Promise<RunResult> =>
    sandbox.run(["sh", "-c", `${path}\n${script}`]);
  if (findProgram("man")) {
    assert.equal(
      (await run("man -w sshs")).stdout,
      `${sandbox.home}/.local/share/man/man1/sshs.1\n`,
    );
  }
  const call = `ssh -F ${sshd.config} host 'exit 7'`;
  for (let i = 0; i < 2; i++) {
    const { code, stderr } = await run(call);
    assert.deepEqual([code, stderr], [7, ""]);
  }
  assert.equal(sshd.logins(), 1);

  const gone = await run(back);
  assert.deepEqual([gone.code, gone.stderr], [0, ""]);
  assert.deepEqual([...Deno.readDirSync(sandbox.home)], []);
  await sandbox.assertClean({ deadline: 30_000 });
});

for (const page of ["GUIDE.md", "sshs.1"]) {
  Deno.test(`the settings in ${page} are valid as printed`, async () => {
    const text = await Deno.readTextFile(`${REPOSITORY}${page}`);
    const [, settings] = /^((?: {4})?\{ "linger": [^]*?\] \})$/m.exec(text)!;
    assert.ok(parseSettings(settings).length > 3);
  });
}

Deno.test("each test that SECURITY.md rests on exists under that name", async () => {
  const text = (await Deno.readTextFile(`${REPOSITORY}SECURITY.md`)).replaceAll(/\s+/g, " ");
  const claims = [...text.matchAll(/`(\w+_test\.ts)` ((?:"[^"]+"(?:, )?)+)/g)];
  assert.ok(claims.length > 15);
  const missing = claims.flatMap(([, file, names]) => {
    const tests = Deno.readTextFileSync(`${REPOSITORY}tests/${file}`).replaceAll('" +\n    "', "");
    return [...names.matchAll(/"([^"]+)"/g)].filter(([, name]) => !tests.includes(name))
      .map(([, name]) => `${file}: ${name}`);
  });
  assert.deepEqual(missing, []);
});
