/** --list, --list --watch, --stop and what all commands have in common, against a real sshd. */
import assert from "node:assert/strict";
import { assertEnded, DEADLINE, expect, listed, openScene, sshs } from "./support/commands.ts";
import { eventually, pause } from "./support/eventually.ts";
import { isAlive } from "./support/processes.ts";
import { Session } from "./support/session.ts";

Deno.test("--list tells of each connection, in columns and as JSON", async () => {
  await using scene = await openScene();
  expect(await sshs(scene, ["--list"]), { code: 0, stdout: "nothing is shared\n", stderr: "" });
  expect(await sshs(scene, ["--list", "--json"]), { code: 0, stdout: "[]\n", stderr: "" });
  assert.deepEqual(scene.sandbox.files(), ["plans/", "waiting/"], "looking makes no more");
  await using session = await Session.open(scene);
  const [lane] = await listed(scene);
  assert.deepEqual(
    Object.keys(lane).join(" "),
    [
      "destination resolved identity lane socket pid state sessions maxSessions forwards",
      "age idle linger maxAge goesIn held roundTrip note",
    ].join(" "),
  );
  assert.equal(lane.destination, "host");
  assert.equal(lane.resolved, `${scene.user.name}@127.0.0.1:${scene.port}`);
  assert.equal(lane.pid, scene.sandbox.masters()[0].pid);
  assert.deepEqual([lane.sessions, lane.idle, lane.goesIn], [1, null, null]);
  assert.equal(Deno.lstatSync(lane.socket).isSocket, true);
  await pause(2500); // It was not idle meanwhile.
  await session.end();
  const [idle] = await listed(scene);
  assert.deepEqual([idle.sessions, idle.linger], [0, 600]);
  assert.ok(idle.idle <= 1, `${idle.idle}`);
  assert.ok(idle.goesIn > 500 && idle.goesIn <= 600, `${idle.goesIn}`);
  const { stdout } = await sshs(scene, ["--list"]);
  assert.match(
    stdout,
    /^HOST +STATE +PID +IN USE +AGE +IDLE +CLOSES IN +PING\nhost +\w+ +\d+ +0\/10 /,
  );
  assert.ok(!stdout.includes("\x1b"), "no colour without a terminal");
});

Deno.test("--list shows who logs in, and what was learned", async () => {
  await using scene = await openScene();
  const go = `${scene.sandbox.dir}/go`;
  await scene.breakSsh("-M", `until [ -e ${go} ]; do sleep 0.05; done`);
  const child = scene.spawnSsh(["host", "true"]);
  const [login] = await eventually("the login shows", async () => {
    const all = await listed(scene);
    return all.length > 0 && all;
  }, DEADLINE) || [];
  assert.deepEqual([login.state, login.lane, login.pid], ["logging-in", "1", child.pid]);
  assert.equal(login.resolved, `${scene.user.name}@127.0.0.1:${scene.port}`);
  await eventually("the table has it too", async () => {
    return /^\S+ +logging in +\d+ +- /m.test((await sshs(scene, ["--list"])).stdout);
  }, DEADLINE);
  await Deno.writeTextFile(go, "");
  await Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
  const home = `${scene.sandbox.stateDir}/${login.identity}`;
  const until = Math.floor(Date.now() / 1000) + 3600;
  await Deno.writeTextFile(`${home}/direct`, `${until}\none session a connection\n`);
  await Deno.utime(`${home}/direct`, until, until);
  const direct = (await listed(scene)).find(({ state }) => state === "direct");
  assert.match(direct.note, /^not shared until \S+ \S+: one session a connection$/);
  assert.equal(direct.identity, login.identity);
});

Deno.test("--list has colours on a terminal, but not under NO_COLOR", async () => {
  await using scene = await openScene();
  await scene.ssh(["host", "true"]);
  const rows = [[{}, true], [{ NO_COLOR: "1" }, false], [{ TERM: "dumb" }, false]] as const;
  for (const [env, coloured] of rows) {
    await using pty = await scene.pty(["sshs", "--list"], { env });
    assert.equal((await pty.status).code, 0);
    assert.match(pty.output, /0\/10/);
    assert.equal(pty.output.includes("\x1b["), coloured, pty.output);
  }
});

Deno.test("--list cuts a name on a terminal only, and --stop knows it as it is shown", async () => {
  const long = `${"a-very-long-name-".repeat(6)}end`;
  await using scene = await openScene({ client: { aliases: [long] } });
  await scene.ssh([long, "true"]);
  assert.match((await sshs(scene, ["--list"])).stdout, new RegExp(`^${long} `, "m"));
  await using pty = await scene.pty(["sshs", "--list"], { columns: 72, env: { NO_COLOR: "1" } });
  assert.equal((await pty.status).code, 0);
  // Before it may stand what Deno says of a cache that another one holds.
  const table = pty.output.slice(pty.output.indexOf("HOST"));
  for (const line of table.split("\r\n")) assert.ok(line.length <= 72, line);
  const shown = /^(\S+…) /m.exec(pty.output)?.[1];
  assert.ok(shown, pty.output);
  expect(await sshs(scene, ["--stop", shown]), { code: 0, stdout: `${long}: stopped\n` });
});

Deno.test("--list --watch stays current, and Ctrl-C or the terminal's end ends it", async () => {
  await using scene = await openScene({ client: { aliases: ["later"] } });
  const watch = () => scene.pty(["sshs", "--list", "--watch"], { env: { NO_COLOR: "1" } });
  await using pty = await watch();
  await pty.waitFor("nothing is shared", DEADLINE);
  await scene.ssh(["later", "true"]);
  await pty.waitFor(/later +\S+ +\d+ +0\/10[^]*Ctrl-C to quit/, DEADLINE);
  assert.ok(pty.output.includes("\x1b[HHOST"), "at the top");
  pty.write("\x03");
  assert.equal((await pty.status).code, 130);
  await using other = await watch();
  await other.waitFor("Ctrl-C to quit", DEADLINE);
  other.hangup();
  assert.equal((await other.status).success, false);
  expect(await sshs(scene, ["--list", "--watch"]), {
    code: 1,
    stdout: "",
    stderr: "sshs: --watch needs a terminal\nsshs: hint: sshs --list --json\n",
  });
});

Deno.test("--list and --stop see what calls without XDG_RUNTIME_DIR have opened", async () => {
  await using scene = await openScene({ client: { aliases: ["a", "b"] } });
  const { dir, env } = scene.sandbox;
  for (const name of ["runtime", "tmp"]) await Deno.mkdir(`${dir}/${name}`, { mode: 0o700 });
  delete env.SSHS_DIR;
  env.TMPDIR = `${dir}/tmp`;
  env.XDG_RUNTIME_DIR = `${dir}/runtime`;
  await scene.ssh(["a", "true"]);
  await scene.ssh(["b", "true"], { env: { XDG_RUNTIME_DIR: undefined } });
  const ours = (await listed(scene)).filter(({ socket }) => socket.startsWith(dir));
  assert.deepEqual(ours.map(({ destination }) => destination), ["a", "b"]);
  const name = `${scene.user.name}@127.0.0.1`;
  const stopped = await sshs(scene, ["--stop", name, "--now"]);
  assert.equal(stopped.code, 0, stopped.stderr);
  assert.deepEqual(stopped.stdout.split("\n").sort(), ["", "a: stopped", "b: stopped"]);
});

Deno.test("--stop lets live sessions finish, and --now does not", async () => {
  await using scene = await openScene();
  await using session = await Session.open(scene);
  expect(await sshs(scene, ["--stop", "host"]), {
    code: 0,
    stdout: "host: accepts no new sessions; closes after the last one (1 session)\n",
    stderr: "",
  });
  const [lane] = await listed(scene);
  assert.deepEqual([lane.state, lane.sessions], ["retired", 1]);
  expect(await scene.ssh(["host", "echo new"]), { code: 0, stdout: "new\n" });
  assert.equal(scene.logins(), 2);
  assert.equal(await session.end(), 0, "the session went on");
  await eventually("it is closed", async () => (await listed(scene)).length === 1, DEADLINE);

  await using other = await Session.open(scene);
  const hard = await sshs(scene, ["--stop", "host", "--now"]);
  expect(hard, { code: 0, stderr: "", stdout: "host: stopped, with 1 session\n" });
  assert.equal(await other.end(), 255);
  assert.deepEqual(scene.sandbox.masters(), []);
});

Deno.test("--stop knows a connection by other names, and says what there is", async () => {
  await using scene = await openScene({ client: { aliases: ["other"] } });
  expect(await sshs(scene, ["--stop", "nobody"]), {
    code: 1,
    stderr: 'sshs: no shared connection matches "nobody"; nothing is shared now\n',
  });
  const names = [
    ["127.0.0.1"],
    [`${scene.user.name}@127.0.0.1`],
    ["-F", scene.config, "other"],
    ["-F", scene.config, "-p", `${scene.port}`, "host"],
  ];
  for (const name of names) {
    await scene.ssh(["host", "true"]);
    expect(await sshs(scene, ["--stop", ...name]), { code: 0, stdout: "host: stopped\n" });
  }
  await scene.ssh(["host", "true"]);
  expect(await sshs(scene, ["--stop", "nobody"]), {
    code: 1,
    stderr: 'sshs: no shared connection matches "nobody"; shared now: host\n',
  });
  assert.equal(scene.sandbox.masters().length, 1);
});

Deno.test("--stop --all --now leaves nothing running, with the sleeper or without", async () => {
  await using scene = await openScene({ client: { aliases: ["a"], config: ["Compression yes"] } });
  for (const how of ["awake", "killed"]) {
    await using session = await Session.open(scene);
    await scene.ssh(["-o", "Compression=no", "-4", "a", "true"]);
    const [sleeper] = await eventually("a sleeper", () => {
      const found = scene.sandbox.sleepers();
      return found.length > 0 && found;
    }, DEADLINE) || [];
    if (how === "killed") Deno.kill(sleeper.pid, "SIGKILL");
    expect(await sshs(scene, ["--stop", "--all", "--now"]), { code: 0, stderr: "" });
    await session.end();
    await assertEnded(scene);
  }
  expect(await sshs(scene, ["--stop", "--all"]), { code: 0, stdout: "nothing is shared\n" });
});

Deno.test("--stop --now ends a master that is stopped", async () => {
  await using scene = await openScene();
  await scene.ssh(["host", "true"]);
  const [{ pid }] = scene.sandbox.masters();
  await eventually(
    "the sleeper has it",
    () => scene.sandbox.files().some((file) => file.endsWith(".master")),
    DEADLINE,
  );
  Deno.kill(pid, "SIGSTOP");
  expect(await sshs(scene, ["--stop", "host", "--now"]), { code: 0, stdout: "host: stopped\n" });
  assert.equal(isAlive(pid), false);
});

Deno.test("--help and --version are on stdout, failures on stderr, and a destination is no command", async () => {
  await using scene = await openScene();
  const help = await sshs(scene, ["--help"]);
  assert.deepEqual([help.code, help.stderr], [0, ""]);
  assert.match(help.stdout, /^sshs - ssh with/);
  const version = await sshs(scene, ["--version"]);
  assert.match(version.stdout, /^sshs \d+\.\d+\.\d+, Deno \d+\.\d+\.\d+\S*, OpenSSH_\S+/);
  expect(await sshs(scene, ["--lst", "--json"]), {
    code: 2,
    stdout: "",
    stderr: "sshs: unknown command --lst\nsshs: hint: did you mean --list?\n",
  });
  const { stateDir } = scene.sandbox;
  await Deno.chmod(stateDir, 0o755);
  expect(await sshs(scene, ["--list"]), {
    code: 1,
    stdout: "",
    stderr: `sshs: ${stateDir} can be used by others\nsshs: hint: chmod 700 ${stateDir}\n`,
  });
  await scene.sandbox.fakeSsh("exit 7");
  // `ssh --list` is for ssh to refuse.
  for (const line of ["sshs list", "sshs host --stop --all", "ssh --list"]) {
    assert.equal((await scene.run(line.split(" "))).code, 7);
    assert.deepEqual(scene.sandbox.recorded().at(-1), line.split(" ").slice(1));
  }
});
