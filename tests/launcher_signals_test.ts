/** Signals to a launcher at any moment: the call ends by them, and leaves nothing. */
import assert from "node:assert/strict";
import { eventually, pause } from "./support/eventually.ts";
import { isAlive, signal } from "./support/processes.ts";
import { Scene } from "./support/scene.ts";
import { SHELLS } from "./support/shells.ts";

/** Starts a call, which leads a process group of its own as one of a terminal's jobs does. */
function start(scene: Scene): Deno.ChildProcess {
  return scene.spawnSsh(["host", "true"]);
}

async function close(call: Deno.ChildProcess): Promise<void> {
  await call.stdin.close().catch(() => {});
  await Promise.all([call.stdout.cancel(), call.stderr.cancel()]);
}

for (const [name, argv] of SHELLS.filter(([name]) => name !== "zsh")) {
  Deno.test(`a SIGINT soon after the start ends a call and its login (${name} as /bin/sh)`, async () => {
    await using scene = await Scene.open({ relay: {} });
    const path = `${scene.bin}/ssh`;
    const text = Deno.readTextFileSync(path).replace(/^#!.*/, `#!${argv.join(" ")}`);
    Deno.writeTextFileSync(path, text);
    await scene.ssh(["host", "true"]);
    await eventually("no lane is left", () => scene.lanes().length === 0);
    scene.relay.cut();
    for (let i = 0; i < 12; i++) {
      const call = start(scene);
      // Whatever it does by then: the moments differ from run to run, which is what is wanted.
      await pause(5 + 7 * i);
      Deno.kill(i % 2 === 0 ? call.pid : -call.pid, "SIGINT");
      const ended = await Promise.race([call.status, pause(10_000)]);
      if (!ended) signal([call.pid], "SIGKILL");
      await close(call);
      assert.ok(ended, `after ${5 + 7 * i} ms`);
    }
    await eventually("no login is left", () => scene.sandbox.masters().length === 0);
  });
}

Deno.test("Ctrl-C ends a call while a Match exec runs", async () => {
  await using scene = await Scene.open();
  const config = await Deno.readTextFile(scene.config);
  await Deno.writeTextFile(scene.config, `Match exec "sleep 8"\n${config}`);
  await using pty = await scene.pty(["ssh", ...scene.args("true")]);
  const isAsking = () => scene.processes().some(({ args }) => args.join(" ") === "sleep 8");
  await eventually("it runs", isAsking);
  pty.write("\x03");
  assert.equal((await pty.status).signal, "SIGINT");
  assert.ok(isAsking() || scene.processes().length === 0, "it did not wait for it");
  await eventually("nothing is left", () => scene.processes().length === 0);
});

Deno.test("a signal in the moment of the probe for nohup ends the call", async () => {
  await using scene = await Scene.open();
  const path = `${scene.library}/launcher.sh`;
  // As if it came between the launcher's own.
  const text = Deno.readTextFileSync(path);
  const probe = '    kill "-$sshs_word" $$\n';
  assert.ok(text.includes(probe));
  Deno.writeTextFileSync(path, text.replace(probe, () => probe + probe));
  const call = start(scene);
  assert.equal((await call.status).signal, "SIGTERM");
  await close(call);
  assert.equal(isAlive(call.pid), false);
  assert.equal(scene.logins(), 0);
});
