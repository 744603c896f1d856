/** Unusual calls that ssh accepts: what the caller has open, where messages go, what is missing. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { run } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

const LINGERING = { env: { SSHS_LINGER: "60" } };

Deno.test("no descriptor of the caller is kept open, however high its number", async () => {
  await using scene = await Scene.open(LINGERING);
  const call = 'ssh -F "$1" host "echo out; echo err >&2"';
  await scene.ssh(["host", "true"]); // for the plan
  // bash does not wait for `>(...)`, but whoever reads its output does.
  const script = `exec 200>"$HOME/lock"; ${call} > >(cat) 2> >(cat >&2)`;
  await scene.sshs(["--stop", "--all"]);
  await eventually("the sleeper is gone", () => scene.sandbox.sleepers().length === 0);
  // Once it works, the sleeper itself closes all that it was given. The call must not wait for that.
  const release = await scene.holdDeno();
  const { code, stdout, stderr } = await scene.run(["bash", "-c", script, "bash", scene.config]);
  assert.deepEqual([code, stdout, stderr], [0, "out\n", "err\n"]);
  assert.equal(scene.lanes().length, 1);
  const [sleeper] = await eventually("a sleeper starts", () => {
    const found = scene.sandbox.sleepers();
    return found.length > 0 && found;
  });
  assert.equal(scene.sandbox.masters().length, 1);
  for (const { pid } of [sleeper, ...scene.sandbox.masters()]) {
    assert.doesNotMatch(await run("ls", ["-l", `/proc/${pid}/fd`]), /lock|pipe:/);
  }
  await release();
  await scene.held();
  assert.doesNotMatch(await run("ls", ["-l", `/proc/${sleeper.pid}/fd`]), /lock|pipe:/);
});

for (const option of ["-E", "-y"]) {
  Deno.test(`a failed login prints its error where ${option} sends it`, async () => {
    await using scene = await Scene.open({ client: { config: ["PubkeyAuthentication no"] } });
    const log = `${scene.sandbox.dir}/words`;
    const words = [...option === "-E" ? ["-E", log] : ["-y"], "-oBatchMode=yes", "host", "true"];
    for (let i = 0; i < 2; i++) {
      const { code, stderr } = await scene.ssh(words);
      assert.deepEqual([code, stderr], [255, ""]);
      if (option === "-E") assert.match(Deno.readTextFileSync(log), /Permission denied/);
    }
    assert.deepEqual(scene.lanes(), []);
  });
}

Deno.test("a forced terminal without a local one has the modes that plain ssh gives it", async () => {
  await using scene = await Scene.open(LINGERING);
  await scene.ssh(["host", "true"]);
  for (const words of [["-tt"], ["-t", "-t"], ["-oRequestTTY=force"]]) {
    const call = [...words, "host", "stty -a"];
    const { code, stdout } = await scene.ssh(call);
    assert.deepEqual([code, stdout], [0, (await scene.plainSsh(call)).stdout], `${words}`);
    assert.match(stdout, /^isig icanon .*\r$/m);
  }
});

Deno.test("a plan watches the configuration in the home directory that ssh uses, whatever HOME is", async () => {
  await using scene = await Scene.open();
  const home = (await run("sh", ["-c", "getent passwd $(id -u)"])).split(":")[5];
  const { code } = await scene.run(["ssh", "-p", `${scene.port}`, "-oBatchMode=yes", "127.0.0.1"]);
  assert.equal(code, 255);
  const plan = scene.sandbox.files().find((file) => /^plans\/.*127\.0\.0\.1$/.test(file));
  assert.ok(plan);
  const text = Deno.readTextFileSync(`${scene.sandbox.stateDir}/${plan}`);
  assert.ok(text.includes(`'${home}/.ssh/config'`));
});

Deno.test("a warning of ssh about its arguments is shown once, even if the login fails", async () => {
  await using scene = await Scene.open(LINGERING);
  const warned = ["-i", "/nowhere/key"];
  for (const words of [[], [], ["-oPubkeyAuthentication=no", "-oBatchMode=yes"]]) {
    const call = [...words, ...warned, "host", "echo hello"];
    const [ours, plain] = [await scene.ssh(call), await scene.plainSsh(call)];
    assert.match(plain.stderr, /not accessible/);
    const lines = ({ stderr }: { stderr: string }) => stderr.split("\n").sort();
    assert.deepEqual([ours.code, ours.stdout, lines(ours)], [
      plain.code,
      plain.stdout,
      lines(plain),
    ]);
  }
  assert.equal(scene.lanes().length, 1);
});
