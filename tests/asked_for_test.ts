/** What users asked for: a transcript of each, against a real sshd. */
import assert from "node:assert/strict";
import { DEADLINE, expect, listed, openScene, sshs, writeSettings } from "./support/commands.ts";
import { eventually, pause } from "./support/eventually.ts";
import { Session } from "./support/session.ts";

Deno.test("SSHS=only uses an open connection or fails, and never logs in", async () => {
  await using scene = await openScene();
  const only = { env: { SSHS: "only" } };
  for (let i = 0; i < 2; i++) { // With a plan too.
    const { code, stdout, stderr } = await scene.ssh(["host", "echo hi"], only);
    assert.deepEqual([code, stdout], [255, ""]);
    assert.match(stderr, /^sshs: [^\n]+\n$/);
  }
  assert.equal(scene.sshd.connections(), 0);
  await scene.ssh(["host", "true"]);
  expect(await scene.ssh(["host", "echo hi"], only), { code: 0, stdout: "hi\n", stderr: "" });
  assert.equal(scene.logins(), 1);
});

Deno.test("maxAge: an old connection takes no new sessions, and --hold keeps none beyond it", async () => {
  await using scene = await openScene({ env: { SSHS_LOOK: "0.5" } });
  await writeSettings(scene, { maxAge: "6s" });
  await using session = await Session.open(scene);
  const [lane] = await listed(scene);
  assert.deepEqual([lane.maxAge, lane.goesIn], [6, null]);
  const { stdout } = await sshs(scene, ["--list"]);
  assert.match(stdout, /^ {2}\S+ \(at most 6s old\)$/m);
  const held = await sshs(scene, ["--hold", "1h", "-F", scene.config, "host"]);
  assert.match(
    held.stdout,
    /^host: held until \S+ \S+, the end of its maximum age or certificate\n$/,
  );
  await eventually("it takes no new sessions", async () => {
    return (await listed(scene)).some(({ pid, state }) => pid === lane.pid && state === "retired");
  }, DEADLINE);
  await scene.ssh(["host", "true"]);
  assert.equal(scene.logins(), 2);
  assert.equal(await session.end(), 0, "its session went on");
  await eventually("it is closed", () => {
    return scene.sandbox.masters().every(({ pid }) => pid !== lane.pid);
  }, DEADLINE);
});

Deno.test("--socket prints the socket of an open connection, which a lease keeps open", async () => {
  await using scene = await openScene({ env: { SSHS_LINGER: "3", SSHS_LOOK: "0.5" } });
  const call = ["-F", scene.config, "host"];
  expect(await sshs(scene, ["--socket", ...call]), {
    code: 1,
    stdout: "",
    stderr: `sshs: no connection is open\nsshs: hint: sshs --warm ${call.join(" ")}\n`,
  });
  await sshs(scene, ["--warm", ...call]);
  const { code, stdout } = await sshs(scene, ["--socket", ...call]);
  const socket = stdout.trim();
  assert.deepEqual([code, Deno.lstatSync(socket).isSocket], [0, true]);
  const lease = `${socket.replace(/\.sock$/, ".leases")}/${Deno.pid}`;
  await Deno.writeTextFile(lease, "");
  await pause(5000); // Longer than the linger.
  expect(await scene.run(["/usr/bin/env", "ssh", "-S", socket, "host", "echo hi"]), {
    code: 0,
    stdout: "hi\n",
    stderr: "",
  });
  assert.equal(scene.logins(), 1);
  await Deno.remove(lease);
  await eventually("it closes", () => scene.sandbox.masters().length === 0, DEADLINE);
});

Deno.test('"share": "always" is for -S too', async () => {
  await using scene = await openScene();
  await writeSettings(scene, { share: "always" });
  for (let i = 0; i < 2; i++) {
    const call = ["-S", `${scene.sandbox.dir}/own`, "host", "echo hi"];
    expect(await scene.ssh(call), { code: 0, stdout: "hi\n", stderr: "" });
  }
  assert.equal(scene.logins(), 1);
});

Deno.test('"copies": "apart" gives scp, sftp and rsync connections of their own', async () => {
  await using scene = await openScene();
  await writeSettings(scene, { copies: "apart" });
  await using session = await Session.open(scene);
  await Deno.writeTextFile(`${scene.sandbox.dir}/file`, "text");
  for (const name of ["a", "b"]) {
    const to = `host:${name}`;
    expect(await scene.run(["scp", "-F", scene.config, `${scene.sandbox.dir}/file`, to]), {
      code: 0,
      stderr: "",
    });
  }
  await scene.ssh(["host", "true"]);
  assert.equal(scene.logins(), 2, "one for the shells, one for the copies");
  assert.equal(await session.end(), 0);
});

Deno.test("--doctor HOST tells what was learned of the server, until --fresh", async () => {
  await using scene = await openScene();
  const call = ["-F", scene.config, "host"];
  await scene.ssh(["host", "true"]);
  const [{ identity }] = await listed(scene);
  const home = `${scene.sandbox.stateDir}/${identity}`;
  const until = Math.floor(Date.now() / 1000) + 3600;
  await Deno.writeTextFile(`${home}/sessions`, "2\n");
  await Deno.utime(`${home}/sessions`, until, until);
  const learned =
    /^ok +learned of its server: .*bears 2 sessions on a connection \(to forget it: sshs --fresh -F \S+ host\)$/m;
  assert.match((await sshs(scene, ["--doctor", ...call])).stdout, learned);
  expect(await sshs(scene, ["--fresh", ...call, "true"]), { code: 0 });
  assert.doesNotMatch((await sshs(scene, ["--doctor", ...call])).stdout, learned);
});

Deno.test("ps shows a shared call with the user's own words last and whole", async () => {
  await using scene = await openScene();
  await using session = await Session.open(scene);
  const words = Deno.readTextFileSync(`/proc/${session.pid}/cmdline`).split("\0");
  const at = words.indexOf("-F");
  assert.deepEqual(words.slice(1, at).map((word) => word.replace(/.*\//, "")), [
    "-S",
    "1.sock",
    "-o",
    "ControlMaster=no",
  ]);
  assert.deepEqual(words.slice(at, at + 3), ["-F", scene.config, "host"]);
});
