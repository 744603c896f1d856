/** What README.md tells a new user to type, from an empty home back to an empty home. */
import assert from "node:assert/strict";
import { parseSettings } from "../lib/call/settings.ts";
import { isThere } from "./support/is_there.ts";
import { findProgram, REPOSITORY } from "./support/programs.ts";
import { type RunResult, Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

/** What `report` of install.sh means by "man page and completions in PREFIX/share". */
const SHARED = [
  ...["man/man1/sshs.1", "bash-completion/completions/sshs", "zsh/site-functions/_sshs"],
  "fish/vendor_completions.d/sshs.fish",
];

Deno.test("sh install.sh, the PATH line that it prints, ssh twice, sh install.sh --uninstall", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  const prefix = `${sandbox.home}/.local`;
  sandbox.env.SHELL = "/bin/sh";
  assert.deepEqual([...Deno.readDirSync(sandbox.home)], []);

  const install = ["sh", "install.sh"];
  const installed = await sandbox.run(install, { cwd: REPOSITORY, timeout: 120_000 });
  assert.deepEqual([installed.code, installed.stderr], [0, ""]);
  assert.match(installed.stdout, new RegExp(`^  ${prefix}/bin/ssh, scp, sftp$`, "m"));
  assert.match(
    installed.stdout,
    new RegExp(`^  man page and completions in ${prefix}/share$`, "m"),
  );
  for (const file of SHARED) assert.ok(isThere(`${prefix}/share/${file}`), file);
  const [, path] = /^ {2}(export PATH=.*)$/m.exec(installed.stdout) ?? [];

  /** Runs a script in a shell with that line. Its stdin is a pipe, to tell it from a master's. */
  const run = (script: string): Promise<RunResult> =>
    sandbox.run(["sh", "-c", `${path}\n${script}`], { stdin: "" });
  if (findProgram("man")) {
    assert.equal((await run("man -w sshs")).stdout, `${prefix}/share/man/man1/sshs.1\n`);
  }

  const call = `ssh -F ${sshd.config} host 'exit 7'`;
  const first = await run(`for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done\n${call}`);
  assert.deepEqual([first.code, first.stderr], [7, ""]);
  const mine = first.stdout.trim().split("\n");
  assert.equal(mine.length, 3);
  assert.equal(sandbox.masters().length, 1);
  const [{ pid, sid }] = sandbox.masters();
  assert.equal(sid, pid);
  for (const fd of [0, 1, 2]) {
    const file = Deno.readLinkSync(`/proc/${pid}/fd/${fd}`);
    assert.ok(!mine.includes(file), `${fd} is the caller's: ${file}`);
  }

  const second = await run(call);
  assert.deepEqual([second.code, second.stderr], [7, ""]);
  assert.equal(sshd.logins(), 1);

  const gone = await sandbox.run([...install, "--uninstall"], { cwd: REPOSITORY });
  assert.deepEqual([gone.code, gone.stderr], [0, ""]);
  assert.deepEqual([...Deno.readDirSync(sandbox.home)], []);
  await sandbox.assertClean({ deadline: 30_000 });
});

for (const page of ["README.md", "sshs.1"]) {
  Deno.test(`the settings in ${page} are valid as printed`, async () => {
    const text = await Deno.readTextFile(`${REPOSITORY}${page}`);
    const [, settings] = /^((?: {4})?\{ "linger": [^]*?\] \})$/m.exec(text)!;
    assert.ok(parseSettings(settings).length > 3);
  });
}
