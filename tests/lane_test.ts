/** The files of a lane: the gate, and the leases behind it. */
import assert from "node:assert/strict";
import { BirthRegister } from "../lib/os/birth_register.ts";
import { exists } from "../lib/os/files.ts";
import {
  isOpen,
  isVerified,
  type Lane,
  lanesOf,
  newLane,
  openLane,
  readRecord,
  removeLane,
  retire,
  roundTripOf,
  VERIFIED_FOR,
  verify,
  withdraw,
} from "../lib/lane/lane.ts";
import { leaseName, LeaseWatch, liveLeases, placesTaken, takeLease } from "../lib/lane/lease.ts";
import { realSystem } from "../lib/os/system.ts";

const OWN = leaseName(Deno.pid, true);

/** An open lane with a lease of this process in it. */
async function withLane(body: (lane: Lane) => void | Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "lane-" });
  try {
    const lane = newLane(dir);
    openLane(lane, {
      pid: Deno.pid,
      destination: "host",
      resolved: "user@host:22",
      started: Date.now(),
      linger: 600,
      maxSessions: 10,
      forwards: false,
    }, OWN);
    await body(lane);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** A process that has ended. */
async function deadPid(): Promise<number> {
  const child = new Deno.Command("true").spawn();
  await child.status;
  return child.pid;
}

Deno.test("withdraw closes an idle lane, and no other", () =>
  withLane((lane) => {
    assert.equal(withdraw(lane, realSystem), false);
    assert.equal(isOpen(lane), true);
    Deno.removeSync(`${lane.leases}/${OWN}`);
    verify(lane, 1, Date.now());
    assert.equal(withdraw(lane, realSystem), true);
    assert.equal(isOpen(lane), false);
    assert.equal(takeLease(lane, OWN), false, "whoever comes later finds it closed");
    assert.equal(exists(lane.verified), false);
    assert.equal(withdraw(lane, realSystem), true, "once more does no harm");
  }));

Deno.test("withdraw does not count the leases of dead processes", () =>
  withLane(async (lane) => {
    Deno.renameSync(`${lane.leases}/${OWN}`, `${lane.leases}/${await deadPid()}`);
    assert.equal(withdraw(lane, realSystem), true);
  }));

Deno.test("retire closes a lane and keeps the sessions that are on it", () =>
  withLane((lane) => {
    retire(lane);
    assert.equal(isOpen(lane), false);
    assert.equal(takeLease(lane, "1"), false);
    assert.deepEqual(liveLeases(lane, realSystem), [OWN]);
    retire(lane); // Another call was faster.
    assert.deepEqual(lanesOf(lane.dir), [lane]);
  }));

Deno.test("removeLane leaves nothing of the lane, open or retired", () =>
  withLane((lane) => {
    for (const file of [lane.socket, lane.log]) Deno.writeTextFileSync(file, "");
    removeLane(lane);
    assert.deepEqual([...Deno.readDirSync(lane.dir)], []);
  }));

Deno.test("readRecord takes a damaged record for none", () =>
  withLane((lane) => {
    assert.equal(readRecord(lane)?.pid, Deno.pid);
    for (const text of ["", "{", "null", '{"pid":-1,"maxSessions":10}']) {
      Deno.writeTextFileSync(lane.record, text);
      assert.equal(readRecord(lane), undefined, text);
    }
  }));

Deno.test("isVerified knows a mark from before the clock was set", () =>
  withLane((lane) => {
    const now = Date.now();
    verify(lane, 12.34, now);
    assert.equal(roundTripOf(lane), 12.3);
    verify(lane, 7, now);
    assert.equal(roundTripOf(lane), 7);
    assert.equal(isVerified(lane, now), true);
    assert.equal(isVerified(lane, now + VERIFIED_FOR), false, "too old");
    assert.equal(isVerified(lane, now - 3_600_000), false, "too far ahead");
  }));

Deno.test("placesTaken counts sessions, not the channels of jump hosts", () => {
  assert.equal(placesTaken(["1", leaseName(2, true), leaseName(3, false)]), 2);
});

Deno.test("LeaseWatch tells what came and went since the last look", () =>
  withLane(async (lane) => {
    const watch = new LeaseWatch(lane, new BirthRegister(realSystem));
    const look = () => watch.sweep(realSystem);
    assert.deepEqual(await look(), { open: true, busy: true, used: true, begun: true });
    assert.deepEqual(await look(), { open: true, busy: true, used: true, begun: false });
    Deno.removeSync(`${lane.leases}/${OWN}`);
    assert.deepEqual(await look(), { open: true, busy: false, used: false, begun: false });
    // A session that was there between two looks only.
    takeLease(lane, `${await deadPid()}`);
    assert.deepEqual(await look(), { open: true, busy: false, used: true, begun: true });
    assert.deepEqual(await look(), { open: true, busy: false, used: false, begun: false });
    takeLease(lane, OWN);
    retire(lane);
    assert.deepEqual(await look(), { open: false, busy: true, used: true, begun: true });
  }));

Deno.test("LeaseWatch asks for a birth once, and again when in doubt", () =>
  withLane(async (lane) => {
    let asked = 0;
    const watch = new LeaseWatch(
      lane,
      new BirthRegister({
        run: (path, args) => {
          asked++;
          return realSystem.run(path, args);
        },
      }),
    );
    for (let i = 0; i < 3; i++) await watch.sweep(realSystem);
    assert.equal(asked, 1);
    assert.match(Deno.readTextFileSync(`${lane.leases}/${OWN}`), /\d/, "it is noted");
    // The pid is used by another process now, as after a long sleep of ours.
    Deno.writeTextFileSync(`${lane.leases}/${OWN}`, "another birth");
    assert.equal((await watch.sweep(realSystem)).busy, true);
    watch.doubt();
    assert.equal((await watch.sweep(realSystem)).busy, false);
    assert.deepEqual(liveLeases(lane, realSystem), []);
  }));

Deno.test("LeaseWatch takes the launcher's line for the birth that is in it", {
  ignore: Deno.build.os !== "linux",
}, () =>
  withLane(async (lane) => {
    Deno.copyFileSync(`/proc/${Deno.pid}/stat`, `${lane.leases}/${OWN}`);
    const watch = new LeaseWatch(lane, new BirthRegister(realSystem));
    assert.equal((await watch.sweep(realSystem)).busy, true);
  }));

Deno.test("BirthRegister asks one process for all that is asked at once", async () => {
  let asked = 0;
  const register = new BirthRegister({
    run: (path, args) => {
      asked++;
      return realSystem.run(path, args);
    },
  });
  const [one, two] = await Promise.all([register.of([Deno.pid]), register.of([Deno.ppid])]);
  assert.equal(asked, 1);
  assert.ok(one.has(Deno.pid) && two.has(Deno.ppid));
  await register.of([Deno.pid]);
  assert.equal(asked, 2);
});
