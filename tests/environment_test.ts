/** What in the caller's environment would stop or mislead Deno, but not ssh. */
import assert from "node:assert/strict";
import { removePath } from "../lib/os/files.ts";
import { needProgram } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

Deno.test("the installed ssh works whatever Deno would take from the environment", async () => {
  // So that the connection of one call is still open for the next, however slow the machine is.
  await using scene = await Scene.open({ env: { SSHS_LINGER: "600" } });
  const { sandbox, sshd } = scene;
  const loud = `${sandbox.dir}/loud.cjs`;
  await Deno.writeTextFile(loud, 'console.log("loaded");\n');
  const rows: [what: string, env: Record<string, string>, logins: number][] = [
    ["a module that is missing", { NODE_OPTIONS: "-r ./missing.js" }, 1],
    ["a module that prints", { NODE_OPTIONS: `--require ${loud}` }, 0],
    ["a child of Node, with a channel", { NODE_CHANNEL_FD: "3" }, 1],
  ];
  for (const [what, env, logins] of rows) {
    const had = sshd.logins();
    // Without a plan: with one the call would not need Deno.
    const call = ["ssh", "-q", ...scene.args("echo hello; exit 3")];
    const { code, stdout, stderr } = await sandbox.run(call, { env });
    assert.deepEqual([code, stdout, stderr], [3, "hello\n", ""], what);
    assert.equal(sshd.logins() - had, logins, what);
    removePath(`${sandbox.stateDir}/plans`);
  }
  await scene.sshs(["--stop", "--all"]);
  await scene.assertClean();
});

Deno.test("ssh gets the user's environment, whatever the launcher hides from Deno", async () => {
  await using scene = await Scene.open();
  const { sandbox } = scene;
  const names =
    "^(NODE_OPTIONS|DENO_NO_UPDATE_CHECK|SSHS_(CALLER|CLAIM|LAUNCHER|TASK|PATH|SHELL|LOG))=";
  const SSHS_SSH = await sandbox.addProgram(
    "real",
    `case $1 in -G) exec ${needProgram("ssh")} "$@" ;; esac
     env | grep -E '${names}' | sort; exit 0`,
  );
  for (
    const [env, expected] of [
      [{}, ""],
      [{ NODE_OPTIONS: "--no-warnings" }, "NODE_OPTIONS=--no-warnings\n"],
      [{ DENO_NO_UPDATE_CHECK: "1" }, "DENO_NO_UPDATE_CHECK=1\n"],
    ] as const
  ) {
    // Direct by its arguments alone, and direct by the program's decision.
    for (const words of [["-V"], ["-F", "none", "-oTunnel=yes", "host"]]) {
      for (const argv of [["ssh", ...words], ["sshs", ...words], sandbox.argv(words)]) {
        const { stdout } = await sandbox.run(argv, { env: { SSHS_SSH, ...env } });
        assert.equal(stdout, expected, argv.join(" "));
      }
    }
  }
});

Deno.test("ssh and what it starts keep the caller's limit on open files", async () => {
  await using scene = await Scene.open();
  const { sandbox, sshd } = scene;
  const SSHS_SSH = await sandbox.addProgram("real", "ulimit -S -n");
  const limited = (...argv: string[]) => ["sh", "-c", 'ulimit -S -n 300; exec "$@"', "sh", ...argv];
  const direct = await sandbox.run(limited("ssh", "-V"), { env: { SSHS_SSH } });
  assert.equal(direct.stdout, "300\n");
  const noted = `${sandbox.dir}/limit`;
  const relay = `exec ${needProgram("ssh")} -F ${sshd.config} -W 127.0.0.1:${sshd.port} host`;
  const proxy = await sandbox.addProgram("proxy", `ulimit -S -n >${noted}; ${relay}`);
  const call = ["ssh", "-o", `ProxyCommand=${proxy}`, ...scene.args("echo hello")];
  assert.equal((await sandbox.run(limited(...call))).stdout, "hello\n");
  assert.equal(await Deno.readTextFile(noted), "300\n");
});

Deno.test("a ProxyCommand can ask on the terminal, and sshs remembers that it does", async () => {
  await using scene = await Scene.open();
  const { sandbox, sshd } = scene;
  const relay = `exec ${needProgram("ssh")} -F ${sshd.config} -W 127.0.0.1:${sshd.port} host`;
  const proxy = await sandbox.addProgram(
    "proxy",
    `printf 'PIN: ' >/dev/tty && read -r pin </dev/tty && [ "$pin" = 1234 ] && ${relay}`,
  );
  const call = ["ssh", "-o", `ProxyCommand=${proxy}`, ...scene.args("echo logged in; exit 3")];
  for (const which of ["first", "second"]) {
    await using pty = await scene.pty(call);
    await pty.waitFor("PIN: ");
    if (which === "second") assert.equal(pty.output, "PIN: ");
    pty.write("1234\r");
    await pty.waitFor("logged in");
    assert.equal((await pty.status).code, 3);
  }
  await scene.assertClean();
});
