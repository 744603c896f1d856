/** `ssh -O ...` without a control socket of the caller's own reaches the shared connections. */
import assert from "node:assert/strict";
import { expect, listed, openScene } from "./support/commands.ts";
import { eventually } from "./support/eventually.ts";
import { needProgram } from "./support/programs.ts";
import { Session } from "./support/session.ts";
import { freePort } from "./support/sshd.ts";

Deno.test("ssh -O check and exit have ssh's messages and statuses, and the next call logs in again", async () => {
  await using scene = await openScene();
  await scene.ssh(["host", "true"]);
  const [{ pid }] = scene.sandbox.masters();
  expect(await scene.ssh(["-O", "check", "host"]), {
    code: 0,
    stderr: `Master running (pid=${pid})\r\n`,
  });
  expect(await scene.ssh(["host", "-Oexit"]), { code: 0, stderr: "Exit request sent.\r\n" });
  expect(await scene.ssh(["host", "echo new"]), { code: 0, stdout: "new\n", stderr: "" });
  assert.equal(scene.logins(), 2);
  await eventually("the old master is gone", () => {
    const masters = scene.sandbox.masters();
    return masters.length === 1 && masters[0].pid !== pid;
  });
});

Deno.test("ssh -O without a shared connection fails as plain ssh does", async () => {
  await using scene = await openScene();
  for (const command of ["check", "exit", "stop", "nonsense"]) {
    const ours = await scene.ssh(["-O", command, "host"]);
    const plain = await scene.plainSsh(["-O", command, "host"]);
    expect(ours, { code: plain.code, stdout: plain.stdout, stderr: plain.stderr });
  }
});

Deno.test("ssh -O stop and exit apply to all connections of the identity", async () => {
  await using scene = await openScene({ env: { SSHS_MAX_SESSIONS: "1" } });
  const sessions = [await Session.open(scene), await Session.open(scene)];
  assert.equal(scene.logins(), 2);
  expect(await scene.ssh(["-O", "stop", "host"]), {
    code: 0,
    stderr: "Stop listening request sent.\r\n",
  });
  assert.deepEqual((await listed(scene)).map(({ state }) => state), ["retired", "retired"]);
  expect(await scene.ssh(["host", "echo new"]), { code: 0, stdout: "new\n" });
  assert.equal(scene.logins(), 3);
  for (const session of sessions) assert.equal(await session.end(), 0, "it went on");

  const others = [await Session.open(scene), await Session.open(scene)];
  expect(await scene.ssh(["-O", "exit", "host"]), { code: 0 });
  for (const session of others) assert.equal(await session.end(), 255);
  await eventually("no master is left", () => scene.sandbox.masters().length === 0);
});

Deno.test("ssh -O forward and cancel open and close a forward on the shared connection", async () => {
  await using scene = await openScene();
  await scene.ssh(["host", "true"]);
  const port = freePort();
  const forward = `${port}:127.0.0.1:${scene.sshd.port}`;
  expect(await scene.ssh(["-O", "forward", "-L", forward, "host"]), { code: 0, stderr: "" });
  const answer = new Uint8Array(4);
  {
    using conn = await Deno.connect({ hostname: "127.0.0.1", port });
    await conn.read(answer);
  }
  assert.equal(new TextDecoder().decode(answer), "SSH-");
  expect(await scene.ssh(["-L", forward, "-O", "cancel", "host"]), { code: 0 });
  await assert.rejects(
    Deno.connect({ hostname: "127.0.0.1", port }),
    Deno.errors.ConnectionRefused,
  );
});

Deno.test("ssh -O proxy carries a session over the shared connection", async () => {
  await using scene = await openScene();
  await scene.ssh(["host", "true"]);
  const child = scene.spawnSsh(["-O", "proxy", "host"]);
  await eventually("it is a lease", async () => {
    const [lane] = await listed(scene);
    return lane.sessions === 1;
  });
  await child.stdin.close();
  await Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
});

Deno.test("a control socket of the caller's own takes precedence", async () => {
  await using scene = await openScene();
  const own = `${scene.sandbox.dir}/own`;
  const real = needProgram("ssh");
  await scene.ssh(["host", "true"]);
  expect(await scene.ssh(["-S", own, "-O", "check", "host"]), { code: 255 });
  expect(await scene.ssh(["-o", `ControlPath=${own}`, "-O", "check", "host"]), { code: 255 });
  // One from the configuration does so only once its socket exists.
  await Deno.writeTextFile(
    `${scene.sandbox.dir}/config`,
    `Host *\nControlPath ${own}\nInclude ${scene.config}\n`,
  );
  const config = ["-F", `${scene.sandbox.dir}/config`];
  const [ours] = scene.sandbox.masters();
  const check = () => scene.run(["ssh", ...config, "-O", "check", "host"]);
  expect(await check(), { code: 0, stderr: `Master running (pid=${ours.pid})\r\n` });
  await scene.run([real, ...config, "-M", "-N", "-f", "host"]);
  try {
    const theirs = await check();
    assert.equal(theirs.code, 0);
    assert.notEqual(theirs.stderr, `Master running (pid=${ours.pid})\r\n`);
  } finally {
    await scene.run([real, ...config, "-O", "exit", "host"]);
  }
});
