/** --warm, --hold and --fresh against a real sshd. */
import assert from "node:assert/strict";
import { canMakeAccounts } from "./support/account.ts";
import { assertEnded, DEADLINE, expect, listed, openScene, sshs } from "./support/commands.ts";
import { eventually, pause } from "./support/eventually.ts";
import { needProgram } from "./support/programs.ts";
import type { Scene } from "./support/scene.ts";
import { Session } from "./support/session.ts";

/** Writes a configuration with two more identities than `host`: a closed port, and compression. */
async function writeConfig(scene: Scene): Promise<string> {
  const config = `${scene.sandbox.dir}/config`;
  await Deno.writeTextFile(
    config,
    `Host closed\nHostName 127.0.0.1\nPort 1\nHost b\nCompression yes\nHost *\nInclude ${scene.config}\n`,
  );
  return config;
}

Deno.test("--warm opens many connections, and prints a line for each failure", async () => {
  await using scene = await openScene({ client: { aliases: ["a", "b"] } });
  const config = await writeConfig(scene);
  expect(await sshs(scene, ["--warm", "-F", config, "a", "closed", "b"]), {
    code: 1,
    stdout: "2 of 3 open, 1 failed\n",
    stderr: "sshs: closed: ssh: connect to host 127.0.0.1 port 1: Connection refused\n",
  });
  assert.equal(scene.logins(), 2);
  assert.equal(scene.sshd.sessions(), 0);
  for (const host of ["a", "b"]) {
    expect(await scene.run(["ssh", "-F", config, host, "echo hi"]), { code: 0, stdout: "hi\n" });
  }
  assert.equal(scene.logins(), 2, "the calls ride what was opened");
  assert.deepEqual((await listed(scene)).map(({ sessions }) => sessions), [0, 0]);

  // Hosts from stdin, open or not, and as JSON.
  const stdin = "# the fleet\na\n\n  b   # compressed\nclosed\n";
  const result = await sshs(scene, ["--warm", "--json", "-F", config, "-"], { stdin });
  const { open, failed, hosts } = JSON.parse(result.stdout);
  assert.deepEqual([result.code, open, failed], [1, 2, 1], result.stderr);
  const states = hosts.map(({ host, open }: Record<string, unknown>) => [host, open]);
  assert.deepEqual(states, [["a", true], ["b", true], ["closed", false]]);
  assert.equal(Deno.lstatSync(hosts[0].socket).isSocket, true);
  assert.match(hosts[2].problem, /Connection refused/);
  expect(await sshs(scene, ["--warm", "-"], { stdin: "a\n-p 22 b\n" }), {
    code: 1,
    stderr: "sshs: line 2 is not a host: -p 22 b\n" +
      "sshs: hint: one host a line; options go before the - of --warm\n",
  });

  const direct = await sshs(scene, ["--warm", "-F", scene.config, "-L", "1234:localhost:5", "a"]);
  assert.equal(direct.code, 1);
  assert.match(direct.stderr, /^sshs: a: cannot be shared: -L .*\nsshs: hint: /);
  const env = { SSHS_LINGER: "0" };
  expect(await sshs(scene, ["--warm", "-F", scene.config, "-C", "host"], { env }), {
    code: 1,
    stderr: "sshs: host: logged in, but the connection closes at once: its linger is 0\n" +
      'sshs: hint: sshs --hold 10m host, or set "linger" in config.json\n',
  });
});

Deno.test("--warm leaves a plan for the first call", async () => {
  await using scene = await openScene();
  await pause(2500); // Files that have just changed would be read again.
  expect(await sshs(scene, ["--warm", "-F", scene.config, "host"]), { code: 0 });
  const starts = () => Deno.readTextFileSync(`${scene.sandbox.dir}/starts`).split("\n").length;
  await eventually("the sleeper is up", () => scene.sandbox.sleepers().length > 0, DEADLINE);
  const before = starts();
  expect(await scene.ssh(["host", "echo hi"]), { code: 0, stdout: "hi\n" });
  assert.equal(starts(), before, "no Deno was started");
});

Deno.test("--warm logs in to 8 hosts at a time", async () => {
  await using scene = await openScene();
  const { dir } = scene.sandbox;
  const [log, go] = [`${dir}/log`, `${dir}/go`];
  await scene.sandbox.fakeSsh(
    `case " $* " in *' -M '*)
      echo in >>${log}; until [ -e ${go} ]; do sleep 0.05; done; echo out >>${log}
      echo refused >&2; exit 255
    esac
    exec ${needProgram("ssh")} "$@"`,
  );
  await Deno.writeTextFile(log, "");
  /** Returns how many logins at most ran at once. */
  const most = () => {
    let [now, most] = [0, 0];
    for (const line of Deno.readTextFileSync(log).split("\n")) {
      now += line === "in" ? 1 : line === "out" ? -1 : 0;
      most = Math.max(most, now);
    }
    return most;
  };
  const hosts = Array.from({ length: 12 }, (_, i) => `host${i}.invalid`);
  const warm = sshs(scene, ["--warm", "-F", "none", ...hosts]);
  await eventually("8 log in", () => most() >= 8, DEADLINE);
  // Without a limit the others would follow at once.
  await pause(500);
  await Deno.writeTextFile(go, "");
  const { code, stderr } = await warm;
  assert.equal(most(), 8);
  assert.equal(code, 1);
  assert.deepEqual(
    stderr.trimEnd().split("\n").sort(),
    hosts.map((host) => `sshs: ${host}: refused`).sort(),
  );
  await assertEnded(scene);
});

Deno.test("--warm shows a count on a terminal until all have logged in", async () => {
  await using scene = await openScene({ client: { aliases: ["a", "b"] } });
  const config = await writeConfig(scene);
  const go = `${scene.sandbox.dir}/go`;
  await scene.sandbox.fakeSsh(
    `case " $* " in *' -M '*' b ') until [ -e ${go} ]; do sleep 0.05; done ;; esac
    exec ${needProgram("ssh")} "$@"`,
  );
  await using pty = await scene.pty(["sshs", "--warm", "-F", config, "a", "closed", "b"]);
  await pty.waitFor("sshs: 1 of 3 open, 1 failed ...", DEADLINE);
  assert.equal(scene.logins(), 1);
  await Deno.writeTextFile(go, "");
  assert.equal((await pty.status).code, 1);
  const [first, ...states] = pty.output.split("\r\x1b[K").filter((state) =>
    /of 3 open/.test(state)
  );
  assert.equal(first, "sshs: 0 of 3 open ...");
  assert.deepEqual(states.slice(-2), [
    "sshs: 2 of 3 open, 1 failed ...",
    "2 of 3 open, 1 failed\r\n",
  ]);
  await using without = await scene.pty(["sshs", "--with", "--", "echo", "hi"]);
  assert.equal((await without.status).code, 0);
  assert.match(without.output, /hi/);
  assert.doesNotMatch(without.output, /of 0 open/);
});

Deno.test({
  name: "--warm asks one question at a time on a terminal, and shows no count meanwhile",
  ignore: !canMakeAccounts,
  async fn() {
    await using scene = await openScene({
      passwords: true,
      client: { aliases: ["a"], config: ["NumberOfPasswordPrompts 1"] },
    });
    const other = await scene.sshd.writeConfig({
      aliases: ["b"],
      knowsHost: true,
      config: ["Compression yes"],
    });
    const config = `${scene.sandbox.dir}/config`;
    await Deno.writeTextFile(
      config,
      `Host b\nInclude ${other}\nHost *\nInclude ${scene.config}\n`,
    );
    await using pty = await scene.pty(["sshs", "--warm", "-F", config, "a", "b"]);
    await pty.waitFor("sshs: 0 of 2 open ...\r\x1b[K", DEADLINE);
    for (let i = 0; i < 2; i++) {
      await pty.waitFor("password: ", DEADLINE);
      assert.equal(pty.output.match(/password: /g)?.length, i + 1, pty.output);
      pty.write(`${scene.user.password}\r`);
    }
    await pty.waitFor("2 of 2 open", DEADLINE);
    assert.equal((await pty.status).code, 0);
    assert.equal(pty.output.match(/sshs: \d of 2/g)?.length, 1, pty.output);
    assert.equal(scene.logins(), 2);
    assert.doesNotMatch(scene.sshd.log(), /^Failed password/m);
  },
});

Deno.test("--hold keeps a connection whatever its linger, until it is released", async () => {
  await using scene = await openScene({ env: { SSHS_LINGER: "0" } });
  const held = await sshs(scene, ["--hold", "1h", "-F", scene.config, "host"]);
  expect(held, { code: 0, stderr: "" });
  assert.match(held.stdout, /^host: held for 1h, until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n$/);
  for (let i = 0; i < 2; i++) {
    expect(await scene.ssh(["host", "echo hi"]), { code: 0, stdout: "hi\n" });
  }
  assert.equal(scene.logins(), 1);
  const [lane] = await listed(scene);
  assert.equal(lane.held, true);
  assert.ok(lane.goesIn > 3500, `${lane.goesIn}`);
  expect(await sshs(scene, ["--hold", "0", "host"]), { code: 0, stdout: "host: no longer held\n" });
  await assertEnded(scene);
  expect(await sshs(scene, ["--hold", "0", "host"]), {
    code: 1,
    stderr: "sshs: host: no connection is held\n",
  });
  const failed = await sshs(scene, "--hold 1h -F none -p 1 127.0.0.1".split(" "));
  assert.deepEqual([failed.code, failed.stderr.replaceAll("\r", "")], [
    1,
    "ssh: connect to host 127.0.0.1 port 1: Connection refused\n" +
    "sshs: 127.0.0.1: ssh could not log in\n",
  ]);
});

Deno.test("--fresh logs in again, and leaves the old sessions running", async () => {
  await using scene = await openScene();
  await using session = await Session.open(scene);
  const fresh = await sshs(scene, ["--fresh", "-F", scene.config, "host", "echo new; exit 3"]);
  expect(fresh, { code: 3, stdout: "new\n", stderr: "" });
  assert.equal(scene.logins(), 2);
  expect(await scene.ssh(["host", "echo again"]), { code: 0, stdout: "again\n" });
  assert.equal(scene.logins(), 2, "the new connection is the one that is shared");
  assert.equal(await session.end(), 0);
  await eventually("the old master goes", () => scene.sandbox.masters().length === 1, DEADLINE);
});

Deno.test("--warm and --hold say what was learned about a host, and --fresh forgets it", async () => {
  await using scene = await openScene();
  const call = ["-F", scene.config, "host"];
  const why = async () => JSON.parse((await sshs(scene, ["--why", "--json", ...call])).stdout);
  const home = `${scene.sandbox.stateDir}/${(await why()).identity}`;
  await Deno.mkdir(home, { mode: 0o700, recursive: true });
  const again = `sshs --fresh -F ${scene.config} host`;
  const hint = `sshs: hint: ${again}\n`;

  await Deno.writeTextFile(`${home}/terminal`, "");
  expect(await sshs(scene, ["--hold", "1h", ...call]), {
    code: 1,
    stderr: `sshs: host: not shared: its ProxyCommand asks on the terminal\n${hint}`,
  });
  assert.equal((await why()).remedy, again);
  await Deno.remove(`${home}/terminal`);

  const until = Math.floor(Date.now() / 1000) + 3600;
  await Deno.writeTextFile(`${home}/direct`, `${until}\none session a connection\n`);
  await Deno.utime(`${home}/direct`, until, until);
  const warm = await sshs(scene, ["--warm", ...call]);
  assert.equal(warm.code, 1);
  assert.match(warm.stderr, /^sshs: host: not shared until \S+ \S+: one session a connection\n/);
  assert.ok(warm.stderr.endsWith(hint), warm.stderr);
  assert.equal(scene.logins(), 0);

  expect(await sshs(scene, ["--fresh", ...call, "echo hi"]), { code: 0, stdout: "hi\n" });
  expect(await sshs(scene, ["--warm", ...call]), { code: 0, stdout: "1 of 1 open\n" });
  assert.equal(scene.logins(), 1);
});
