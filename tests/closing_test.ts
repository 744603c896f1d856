/** How a lane is closed. */
import assert from "node:assert/strict";
import { isOpen } from "../lib/lane/lane.ts";
import { closeLane } from "../lib/lane/master.ts";
import { writeProcess } from "../lib/lane/process.ts";
import { exists } from "../lib/os/files.ts";
import { realSystem } from "../lib/os/system.ts";
import { eventually } from "./support/eventually.ts";
import { Lanes } from "./support/lanes.ts";
import { isAlive } from "./support/processes.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

async function stage(): Promise<Lanes> {
  const sshd = await Sshd.start();
  return new Lanes(await Sandbox.create(), sshd);
}

Deno.test("closeLane keeps the sessions on a lane, and its master exits with them", async () => {
  await using lanes = await stage();
  const lane = await lanes.open({ lease: null });
  const [master] = lanes.sandbox.masters();
  await using session = await lanes.openSession(lane);
  await closeLane(lane, realSystem);
  assert.equal(isOpen(lane), false);
  await session.finish();
  await eventually("the master is gone", () => !isAlive(master.pid), { deadline: 10_000 });
});

Deno.test("closeLane ends the master of an idle lane, or with now of any lane, even on a dead link", async () => {
  await using lanes = await stage();
  for (const now of [false, true]) {
    const lane = await lanes.open({ name: now ? "2" : "1", lease: now ? Deno.pid : null });
    const [master] = lanes.sandbox.masters();
    lanes.relay.cut();
    await closeLane(lane, realSystem, { now });
    await eventually("the master is gone", () => !isAlive(master.pid), { deadline: 10_000 });
    lanes.relay.restore();
  }
});

Deno.test("closeLane ends a stopped master by its pid, if that is still the master's", async () => {
  await using lanes = await stage();
  const births = await realSystem.births([Deno.pid]);
  for (const isIts of [true, false]) {
    const lane = await lanes.open({ name: isIts ? "1" : "2", lease: null });
    const [master] = lanes.sandbox.masters();
    const birth = (await realSystem.births([master.pid])).get(master.pid);
    writeProcess(lane.master, { pid: master.pid, birth: isIts ? birth : births.get(Deno.pid) });
    Deno.kill(master.pid, "SIGSTOP");
    await closeLane(lane, realSystem);
    assert.equal(exists(lane.socket), false);
    if (isIts) await eventually("it is gone", () => !isAlive(master.pid));
    else assert.equal(isAlive(master.pid), true);
  }
});
