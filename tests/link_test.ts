/** A far end that has fallen silent: found, and left behind, before a session is put on it. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { descendants, signal } from "./support/processes.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const PATIENCE = { deadline: 60_000 };

Deno.test("the sleeper withdraws the mark, the next call connects anew, and the old session lives on", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  Object.assign(sandbox.env, { SSHS_LOOK: "1", SSHS_LINGER: "600" });
  const args = (command: string) => ["-F", sshd.config, "host", command];
  const child = sandbox.spawnSshs(args("echo up; cat"));
  const reader = child.stdout.getReader();
  await reader.read();
  const mark = `${sandbox.stateDir}/${sandbox.files().find((file) => file.endsWith(".verified"))}`;
  await eventually("the sleeper holds it", () => sandbox.sleepers().length === 1, PATIENCE);

  // Only this connection: its server is stopped as by a link that swallows all, and new ones work.
  const frozen = sshd.children().flatMap((pid) => [pid, ...descendants(pid)]);
  signal(frozen, "SIGSTOP");
  try {
    await eventually("the mark is withdrawn", () => !exists(mark), PATIENCE);
    const { code, stdout, stderr } = await sandbox.sshs(args("echo new"));
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "new\n", stderr: "" });
    assert.equal(sshd.logins(), 2);
    // Retired: nobody waits for it a second time.
    assert.equal((await sandbox.sshs(args("echo again"))).stdout, "again\n");
    assert.equal(sshd.logins(), 2);
  } finally {
    signal(frozen, "SIGCONT");
  }
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("still here\n"));
  const { value } = await reader.read();
  assert.equal(new TextDecoder().decode(value), "still here\n");
  await writer.close();
  while (!(await reader.read()).done);
  await child.stderr.cancel();
  assert.equal((await child.status).code, 0);
});

Deno.test("without a sleeper the call itself finds out", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  Object.assign(sandbox.env, { SSHS_LOOK: "20", SSHS_LINGER: "600" });
  const call = ["-F", sshd.config, "host", "echo answer"];
  assert.equal((await sandbox.sshs(call)).stdout, "answer\n");
  await eventually("there is a sleeper to end", () => sandbox.sleepers().length === 1, PATIENCE);
  for (const { pid } of sandbox.sleepers()) Deno.kill(pid, "SIGKILL");
  const mark = `${sandbox.stateDir}/${sandbox.files().find((file) => file.endsWith(".verified"))}`;
  // As it is 20 s later.
  Deno.utimeSync(mark, 1, 1);
  const frozen = sshd.children().flatMap((pid) => [pid, ...descendants(pid)]);
  signal(frozen, "SIGSTOP");
  try {
    const { code, stdout, stderr } = await sandbox.sshs(call);
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "answer\n", stderr: "" });
    assert.equal(sshd.logins(), 2);
  } finally {
    signal(frozen, "SIGCONT");
  }
  await eventually(
    "the idle master on the dead link is gone",
    () => sandbox.masters().length === 1,
    PATIENCE,
  );
});

Deno.test("a sleeper that was stopped doubts all marks when it goes on", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  Object.assign(sandbox.env, { SSHS_LOOK: "1", SSHS_LINGER: "600" });
  assert.equal((await sandbox.sshs(["-F", sshd.config, "host", "true"])).code, 0);
  const log = () => {
    const file = sandbox.files().find((name) => name === "sleeper.log");
    return file ? Deno.readTextFileSync(`${sandbox.stateDir}/${file}`) : "";
  };
  await eventually("it holds the lane", () => log().includes("holding"), PATIENCE);
  const [{ pid }] = sandbox.sleepers();
  Deno.kill(pid, "SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, 6000));
  Deno.kill(pid, "SIGCONT");
  await eventually("it is in doubt", () => /doubt/.test(log()), PATIENCE);
  assert.equal((await sandbox.sshs(["-F", sshd.config, "host", "echo hello"])).stdout, "hello\n");
  assert.equal(sshd.logins(), 1, "and finds the lane well");
});

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
