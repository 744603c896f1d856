/** `sshs --list --watch` on a terminal. */
import assert from "node:assert/strict";
import { DEADLINE, expect, openScene, sshs } from "./support/commands.ts";

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
});

Deno.test("--list --watch needs a terminal", async () => {
  await using scene = await openScene();
  expect(await sshs(scene, ["--list", "--watch"]), {
    code: 1,
    stdout: "",
    stderr: "sshs: --watch needs a terminal\nsshs: hint: sshs --list --json\n",
  });
});
