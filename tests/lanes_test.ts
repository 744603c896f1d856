/** More sessions than one connection takes. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

async function many(count: number, command: string, sshd: Sshd, sandbox: Sandbox): Promise<void> {
  const calls = Array.from(
    { length: count },
    (_, i) =>
      sandbox.sshs(["-F", sshd.config, "host", `${command}; echo ${i}`], { timeout: 90_000 }),
  );
  for (const [i, { code, stdout, stderr }] of (await Promise.all(calls)).entries()) {
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: `${i}\n`, stderr: "" });
  }
}

Deno.test("the eleventh simultaneous session opens a second lane, silently", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  await many(11, "sleep 6", sshd, sandbox);
  assert.equal(sshd.logins(), 2);
});

Deno.test("30 simultaneous calls to a cold host take at most three logins", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  await many(30, "sleep 2", sshd, sandbox);
  assert.ok(sshd.logins() <= 3, `${sshd.logins()} logins`);
});

Deno.test("leases of pids that have another process now hold no places", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  sandbox.env.SSHS_LOOK = "1";
  const call = ["-F", sshd.config, "host", "true"];
  assert.equal((await sandbox.sshs(call)).code, 0);
  const leases = `${sandbox.stateDir}/${sandbox.files().find((file) => file.endsWith(".leases/"))}`;
  const others = Array.from({ length: 10 }, () => sandbox.spawn(["sleep", "60"]));
  for (const { pid } of others) Deno.writeTextFileSync(`${leases}${pid}`, "another birth");
  await eventually("they are told", () => [...Deno.readDirSync(leases)].length === 0, {
    deadline: 90_000,
  });
  assert.equal((await sandbox.sshs(call)).code, 0);
  assert.equal(sshd.logins(), 1);
  for (const child of others) {
    child.kill("SIGKILL");
    await Promise.all([
      child.status,
      child.stdout.cancel(),
      child.stderr.cancel(),
      child.stdin.close(),
    ]);
  }
});
