/** `sshs --list --watch` on a terminal. */
import assert from "node:assert/strict";
import { DEADLINE, expect, openScene, sshs } from "./support/commands.ts";

const ENTER = "\x1b[?1049h";
const LEAVE = "\x1b[?1049l";

Deno.test("--list --watch stays current, and q restores the terminal", async () => {
  await using scene = await openScene({ client: { aliases: ["later"] } });
  await using pty = await scene.pty(["sshs", "--list", "--watch"], { env: { NO_COLOR: "1" } });
  await pty.waitFor("nothing is shared", DEADLINE);
  assert.ok(pty.output.includes(ENTER));
  await scene.ssh(["later", "true"]);
  await pty.waitFor(/later +\S+ +\d+ +0\/10/, DEADLINE);
  pty.resize(5, 60);
  await pty.waitFor(/later/, DEADLINE);
  pty.write("xq");
  assert.equal((await pty.status).code, 0);
  assert.ok(pty.output.endsWith(LEAVE), JSON.stringify(pty.output.slice(-40)));
});

Deno.test("--list --watch restores the terminal however it ends", async () => {
  await using scene = await openScene();
  const ways: [string, (pid: number) => void, string | undefined, number][] = [
    ["Ctrl-C", () => {}, "\x03", 0],
    ["SIGTERM", (pid) => Deno.kill(pid, "SIGTERM"), undefined, 143],
    ["SIGINT", (pid) => Deno.kill(pid, "SIGINT"), undefined, 130],
  ];
  for (const [name, act, key, code] of ways) {
    await using pty = await scene.pty(["sshs", "--list", "--watch"]);
    await pty.waitFor("q to quit", DEADLINE);
    act(pty.pid);
    if (key !== undefined) pty.write(key);
    assert.equal((await pty.status).code, code, name);
    assert.ok(pty.output.endsWith(LEAVE), name);
  }
});

Deno.test("--list --watch ends with its terminal", async () => {
  await using scene = await openScene();
  await using pty = await scene.pty(["sshs", "--list", "--watch"]);
  await pty.waitFor("q to quit", DEADLINE);
  pty.hangup();
  await pty.status;
  assert.deepEqual(scene.processes(), []);
});

Deno.test("--list --watch needs a terminal", async () => {
  await using scene = await openScene();
  expect(await sshs(scene, ["--list", "--watch"]), {
    code: 1,
    stdout: "",
    stderr: "sshs: --watch needs a terminal\nsshs: hint: sshs --list --json\n",
  });
});
