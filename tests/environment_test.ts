/** What is in the caller's environment and would stop or mislead Deno, but not ssh. */
import assert from "node:assert/strict";
import { install } from "./support/installed.ts";
import { Pty } from "./support/pty.ts";
import { needProgram } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Scene } from "./support/scene.ts";

Deno.test("what Deno takes from the environment keeps no installed ssh from working", async () => {
  await using scene = await Scene.create();
  const { sandbox, sshd } = scene;
  await install(sandbox);
  const loud = `${sandbox.dir}/loud.cjs`;
  await Deno.writeTextFile(loud, 'console.log("loaded");\n');
  const rows: [what: string, before: string, env: Record<string, string>, logins: number][] = [
    ["a module that is missing", "", { NODE_OPTIONS: "-r ./missing.js" }, 1],
    ["a module that speaks", "", { NODE_OPTIONS: `--require ${loud}` }, 0],
    ["Node's child, with a channel", "", { NODE_CHANNEL_FD: "3" }, 1],
    ["a bound to the address space", "ulimit -v 8000000;", {}, 1],
  ];
  for (const [what, before, env, logins] of rows) {
    const had = sshd.logins();
    // Without a plan, which would do without Deno.
    const call = ["ssh", ...scene.args("echo hello; exit 3"), "-q"];
    const { code, stdout, stderr } = await sandbox.run(
      ["sh", "-c", `${before} exec "$@"`, "sh", ...call.slice(0, 3), "-q", ...call.slice(3, -1)],
      { env },
    );
    assert.deepEqual([code, stdout, stderr], [3, "hello\n", ""], what);
    assert.equal(sshd.logins() - had, logins, what);
    await Deno.remove(`${sandbox.stateDir}/plans`, { recursive: true }).catch(() => {});
  }
  await scene.assertClean();
});

Deno.test("ssh gets the environment that the user has, whatever the launcher keeps from Deno", async () => {
  await using sandbox = await Sandbox.create();
  await install(sandbox);
  const names = "^(NODE_OPTIONS|SSHS_NODE_OPTIONS|DENO_NO_UPDATE_CHECK)=";
  const SSHS_SSH = await sandbox.addProgram("real", `env | grep -E '${names}' | sort; exit 0`);
  for (
    const [env, expected] of [
      [{}, ""],
      [{ NODE_OPTIONS: "--no-warnings" }, "NODE_OPTIONS=--no-warnings\n"],
      [{ DENO_NO_UPDATE_CHECK: "1" }, "DENO_NO_UPDATE_CHECK=1\n"],
    ] as const
  ) {
    for (const name of ["ssh", "sshs"]) {
      const { stdout } = await sandbox.run([name, "-V"], { env: { SSHS_SSH, ...env } });
      assert.equal(stdout, expected, name);
    }
  }
});

Deno.test("ssh and what it starts may open as many files as the caller may", async () => {
  await using scene = await Scene.create();
  const { sandbox, sshd } = scene;
  await install(sandbox);
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

Deno.test("a ProxyCommand that asks on the terminal can do so", async () => {
  await using scene = await Scene.create();
  const { sandbox, sshd } = scene;
  const relay = `exec ${needProgram("ssh")} -F ${sshd.config} -W 127.0.0.1:${sshd.port} host`;
  const proxy = await sandbox.addProgram(
    "proxy",
    `printf 'PIN: ' >/dev/tty && read -r pin </dev/tty && [ "$pin" = 1234 ] && ${relay}`,
  );
  const call = ["-o", `ProxyCommand=${proxy}`, ...scene.args("echo logged in; exit 3")];
  await using pty = await Pty.spawn(sandbox.argv(call), { env: sandbox.env });
  await pty.waitFor("PIN: ", { deadline: 30_000 });
  assert.match(pty.output, /sshs: Not shared: its ProxyCommand has ended/);
  pty.write("1234\r");
  await pty.waitFor("logged in", { deadline: 30_000 });
  assert.equal((await pty.status).code, 3);
  await scene.assertClean();
});
