/**
 * Many calls to a few destinations while sleepers, masters and callers are killed at random. Short
 * among the other tests; the whole of it:
 *
 *     SSHS_SOAK=1000 sh deno.sh test --allow-all tests/soak_test.ts
 */
import assert from "node:assert/strict";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const CALLS = Number(Deno.env.get("SSHS_SOAK") ?? 150);
const DESTINATIONS = 5;
const WORKERS = 6;

Deno.test(`${CALLS} calls get the right answer while others are killed, and nothing is left`, async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  Object.assign(sandbox.env, { SSHS_LOOK: "1", SSHS_LINGER: "3" });
  let next = 0;
  let done = false;
  const wrong: string[] = [];
  const kills = { sleeper: 0, master: 0, caller: 0 };

  async function call(i: number): Promise<void> {
    const identity = ["-o", `ServerAliveInterval=${100 + i % DESTINATIONS}`];
    const args = ["-F", sshd.config, ...identity, "host", `echo ${i}; exit ${i % 7}`];
    const { code, stdout, stderr } = await sandbox.sshs(args, { timeout: 90_000 });
    // A master that is killed under a session takes it along, as the connection of a plain ssh would.
    const cut = code === 255 && kills.master > 0 && stdout !== `${i}\n`;
    if (!cut && (code !== i % 7 || stdout !== `${i}\n`)) {
      wrong.push(`${i}: ${code} ${JSON.stringify({ stdout, stderr })}`);
    }
  }

  async function work(): Promise<void> {
    while (next < CALLS) await call(next++);
  }

  async function kill(): Promise<void> {
    while (!done) {
      await new Promise((resolve) => setTimeout(resolve, 500 + Math.random() * 1500));
      const dice = Math.random();
      const victims = dice < 0.4 ? sandbox.sleepers() : dice < 0.5 ? sandbox.masters() : [];
      if (victims.length > 0) {
        const { pid } = victims[Math.floor(Math.random() * victims.length)];
        kills[dice < 0.4 ? "sleeper" : "master"]++;
        end(pid);
      } else if (dice > 0.5) {
        kills.caller++;
        await killedCall(sshd, sandbox);
      }
    }
  }

  const killing = kill();
  await Promise.all(Array.from({ length: WORKERS }, work));
  done = true;
  await killing;
  assert.deepEqual(wrong, []);
  assert.ok(kills.sleeper + kills.master + kills.caller > 0, JSON.stringify(kills));
  await sandbox.assertClean({ deadline: 60_000 }).catch(async (error) => {
    // Where the last sleeper was killed after the last call, the next call's clears away.
    await call(0);
    await sandbox.assertClean({ deadline: 60_000 }).catch(() => assert.fail(error));
  });
});

/** A call that is killed at some point of its way. */
async function killedCall(sshd: Sshd, sandbox: Sandbox): Promise<void> {
  const identity = `ServerAliveInterval=${100 + Math.floor(Math.random() * DESTINATIONS)}`;
  const child = sandbox.spawnSshs(["-F", sshd.config, "-o", identity, "host", "sleep 1"]);
  const ended = Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
  await new Promise((resolve) => setTimeout(resolve, Math.random() * 1200));
  end(child.pid);
  await ended;
  await child.stdin.close().catch(() => {}); // Its reader is gone.
}

function end(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
