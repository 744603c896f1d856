/** The files of a lane: its leases, its mark, and the login attempt that made it. */
import assert from "node:assert/strict";
import { realSystem } from "../lib/os/system.ts";
import { exists } from "../lib/os/files.ts";
import {
  isOpen,
  isVerified,
  readMaster,
  removeLane,
  retire,
  roundTripOf,
  unverify,
  VERIFIED_FOR,
  verify,
  withdraw,
} from "../lib/lane/lane.ts";
import { type Lane, laneAt, lanesOf } from "../lib/lane/layout.ts";
import { freePlaces, type Lease, LeaseWatch, liveLeases } from "../lib/lane/lease.ts";
import { writeProcess } from "../lib/lane/process.ts";
import { endOf, keptUntil, readRecord } from "../lib/lane/record.ts";
import { isRunning, startersOf } from "../lib/lane/starter.ts";
import { deadPid } from "./support/lanes.ts";

const RECORD = {
  destination: "host",
  resolved: "user@host:22",
  linger: 600,
  maxSessions: 10,
  grace: 15,
  forwards: false,
  agent: null,
};

/** Runs `body` with an open lane as the launcher leaves it, with a lease of this process. */
async function withLane(body: (lane: Lane) => void | Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "lane-" });
  try {
    const lane = laneAt(dir, "1");
    Deno.writeTextFileSync(lane.record, JSON.stringify(RECORD));
    Deno.mkdirSync(lane.leases);
    take(lane, Deno.pid);
    await body(lane);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

function take(lane: Lane, pid: number, ending = ""): void {
  Deno.writeTextFileSync(`${lane.leases}/${pid}${ending}`, "");
}

function drop(lane: Lane, pid: number): void {
  Deno.removeSync(`${lane.leases}/${pid}`);
}

Deno.test("withdraw closes an idle lane, and no other", () =>
  withLane((lane) => {
    assert.equal(withdraw(lane, realSystem), false);
    assert.equal(isOpen(lane), true);
    drop(lane, Deno.pid);
    verify(lane, 1, Date.now());
    assert.equal(withdraw(lane, realSystem), true);
    assert.equal(isOpen(lane), false);
    assert.throws(() => take(lane, 1), Deno.errors.NotFound, "whoever comes later finds it closed");
    assert.equal(exists(lane.verified), false);
    assert.equal(withdraw(lane, realSystem), true, "once more does no harm");
  }));

Deno.test("withdraw does not count the leases of dead processes", () =>
  withLane(async (lane) => {
    drop(lane, Deno.pid);
    take(lane, await deadPid());
    assert.equal(withdraw(lane, realSystem), true);
  }));

Deno.test("retire closes a lane and keeps the sessions that are on it", () =>
  withLane((lane) => {
    retire(lane);
    assert.equal(isOpen(lane), false);
    assert.deepEqual(liveLeases(lane, realSystem), [{ pid: Deno.pid, kind: "running" }]);
    retire(lane); // As if another process was faster.
    assert.deepEqual(lanesOf(lane.dir), [lane]);
  }));

Deno.test("removeLane removes all files of the lane, and none of other lanes", () =>
  withLane((lane) => {
    for (const file of [lane.socket, lane.log, lane.agent]) Deno.writeTextFileSync(file, "");
    const other = laneAt(lane.dir, "11");
    Deno.writeTextFileSync(other.record, "");
    removeLane(lane);
    assert.deepEqual([...Deno.readDirSync(lane.dir)].map(({ name }) => name), ["11.lane"]);
  }));

Deno.test("removeLane removes a retired lane too", () =>
  withLane((lane) => {
    retire(lane);
    removeLane(lane);
    assert.deepEqual([...Deno.readDirSync(lane.dir)], []);
  }));

Deno.test("readRecord treats a damaged record as missing", () =>
  withLane((lane) => {
    assert.deepEqual(readRecord(lane), RECORD);
    for (const text of ["", "{", "null", '{"destination":"host"}', '{"maxSessions":10}']) {
      Deno.writeTextFileSync(lane.record, text);
      assert.equal(readRecord(lane), undefined, text);
    }
  }));

Deno.test("readMaster reads what writeProcess wrote, but no pid that must not be signalled", () =>
  withLane((lane) => {
    for (const master of [{ pid: 12, birth: "Thu Oct  2 1" }, { pid: 12, birth: undefined }]) {
      writeProcess(lane.master, master);
      assert.deepEqual(readMaster(lane), master);
    }
    for (const text of ["", "0 1\n", "1 1\n", "-5 1\n", "x\n", "12"]) {
      Deno.writeTextFileSync(lane.master, text);
      assert.equal(readMaster(lane), undefined, text);
    }
  }));

Deno.test("isVerified goes by the mark or, until the sleeper has come, by the login", () =>
  withLane((lane) => {
    const now = Date.now();
    assert.equal(isVerified(lane, now), true, "it has just logged in");
    assert.equal(isVerified(lane, now + VERIFIED_FOR), false, "no sleeper came");
    unverify(lane);
    assert.equal(isVerified(lane, now), false, "and no answer");
    verify(lane, 12.34, now);
    writeProcess(lane.master, { pid: 12 });
    assert.equal(roundTripOf(lane), 12.3);
    verify(lane, 7, now);
    assert.equal(roundTripOf(lane), 7);
    assert.equal(isVerified(lane, now), true);
    assert.equal(isVerified(lane, now + VERIFIED_FOR), false, "too old");
    assert.equal(isVerified(lane, now - 3_600_000), false, "from before the clock was set back");
  }));

Deno.test("keptUntil reads seconds or forever", () =>
  withLane((lane) => {
    assert.equal(keptUntil(lane), 0);
    for (const [text, until] of [["100\n", 100_000], ["forever\n", Infinity], ["", 0]] as const) {
      Deno.writeTextFileSync(lane.keep, text);
      assert.equal(keptUntil(lane), until);
    }
  }));

function lease(name: string): Lease[] {
  if (name === "") return [];
  return [{ pid: parseInt(name), kind: name.endsWith(".via") ? "via" : "running" }];
}

Deno.test("freePlaces counts sessions, and a lane without a linger only while it is used or kept", () => {
  const rows: [names: string, linger: number, isKept: boolean, free: number][] = [
    ["", 600, false, 3],
    ["1 2", 600, false, 1],
    ["1 2 3 4", 600, false, 0],
    ["1 2 3.via", 600, false, 1],
    ["", 0, false, 0],
    ["", 0, true, 3],
    ["1.via", 0, false, 3],
  ];
  for (const [names, linger, isKept, free] of rows) {
    const leases = names.split(" ").flatMap(lease);
    assert.equal(freePlaces({ linger, maxSessions: 3 }, leases, isKept), free, names);
  }
});

Deno.test("liveLeases leaves out dead processes", () =>
  withLane(async (lane) => {
    take(lane, Deno.ppid, ".via");
    take(lane, await deadPid());
    Deno.writeTextFileSync(`${lane.leases}/what`, "");
    const live = liveLeases(lane, realSystem).sort((a, b) => a.kind < b.kind ? -1 : 1);
    assert.deepEqual(live, [
      { pid: Deno.pid, kind: "running" },
      { pid: Deno.ppid, kind: "via" },
    ]);
  }));

Deno.test("LeaseWatch reports what came and went since the last look", () =>
  withLane(async (lane) => {
    const watch = new LeaseWatch(lane);
    const look = async () => {
      const { live, begun, ended } = await watch.sweep(realSystem);
      return [live.length, begun, ended.length];
    };
    assert.deepEqual(await look(), [1, 1, 0]);
    assert.deepEqual(await look(), [1, 0, 0]);
    drop(lane, Deno.pid);
    assert.deepEqual(await look(), [0, 0, 1]);
    // A session that came and went between two looks.
    take(lane, await deadPid());
    assert.deepEqual(await look(), [0, 1, 1]);
    assert.deepEqual(await look(), [0, 0, 0]);
    take(lane, Deno.pid);
    retire(lane);
    assert.deepEqual(await look(), [1, 1, 0]);
  }));

Deno.test("LeaseWatch removes what is not a lease, and writes through no link", () =>
  withLane(async (lane) => {
    const victim = `${lane.dir}/victim`;
    Deno.writeTextFileSync(victim, "");
    Deno.symlinkSync(victim, `${lane.leases}/${Deno.ppid}`);
    Deno.writeTextFileSync(`${lane.leases}/what`, "");
    const { live, begun } = await new LeaseWatch(lane).sweep(realSystem);
    assert.deepEqual([live.length, begun], [1, 1]);
    assert.deepEqual([...Deno.readDirSync(lane.leases)].map(({ name }) => name), [`${Deno.pid}`]);
    assert.equal(Deno.readTextFileSync(victim), "");
  }));

Deno.test("endOf is when the certificate expires, or the lane is too old", () =>
  withLane((lane) => {
    Deno.utimeSync(lane.record, 1000, 1000);
    const rows: [until: number | undefined, maxAge: number | null | undefined, end: number][] = [
      [undefined, undefined, Infinity],
      [undefined, null, Infinity],
      [1500, null, 1500_000],
      [undefined, 60, 1060_000],
      [1500, 60, 1060_000],
    ];
    for (const [until, maxAge, end] of rows) {
      assert.equal(endOf(lane, { ...RECORD, until, maxAge }), end, `${until} ${maxAge}`);
    }
  }));

Deno.test("LeaseWatch asks for a birth once, and again when in doubt", () =>
  withLane(async (lane) => {
    let asked = 0;
    const system = {
      ...realSystem,
      births: (pids: readonly number[]) => {
        asked++;
        return realSystem.births(pids);
      },
    };
    const file = `${lane.leases}/${Deno.pid}`;
    Deno.utimeSync(file, 1000, 1000);
    const watch = new LeaseWatch(lane);
    for (let i = 0; i < 3; i++) await watch.sweep(system);
    assert.equal(asked, 1);
    assert.match(Deno.readTextFileSync(file), /\d/, "it is noted");
    assert.equal(Deno.statSync(file).mtime!.getTime(), 1000_000, "it says still when it was taken");
    // Another process has the pid now, as after a long sleep of ours.
    Deno.writeTextFileSync(file, "another birth");
    assert.equal((await watch.sweep(system)).live.length, 1);
    watch.doubt();
    assert.equal((await watch.sweep(system)).live.length, 0);
    assert.deepEqual(liveLeases(lane, realSystem), []);
  }));

Deno.test("births leaves out processes that are gone", async () => {
  const gone = await deadPid();
  const births = await realSystem.births([Deno.pid, gone]);
  assert.deepEqual([...births.keys()], [Deno.pid]);
});

Deno.test("a login attempt is running, over or broken off, and the highest number counts", async () => {
  const dir = await Deno.makeTempDir({ prefix: "lane-" });
  try {
    const gone = await deadPid();
    const files: [string, string][] = [
      [`${gone} 0\n`, "broken off"],
      [`${gone} 17\nfailed\n`, "failed"],
      [`${Deno.pid} 17\nup\n`, "up"],
      ["", "running"], // Only just created.
      [`${gone} 17\n`, "up"], // It was killed once its lane was complete.
      [`${Deno.pid}\n`, "running"],
    ];
    Deno.writeTextFileSync(`${dir}/11.lane`, "");
    assert.deepEqual(startersOf(dir, realSystem), []);
    files.forEach(([text], i) => Deno.writeTextFileSync(`${dir}/starter.${i + 7}`, text));
    const starters = startersOf(dir, realSystem);
    assert.deepEqual(starters.map(({ state }) => state), files.map(([, state]) => state));
    assert.deepEqual(starters.map(({ number }) => number), [7, 8, 9, 10, 11, 12]);
    assert.deepEqual([starters[1].pid, starters[1].birth], [gone, "17"]);
    const later = { ...realSystem, now: () => Date.now() + 3600_000 };
    const states = startersOf(dir, later).map(({ state }) => state);
    assert.deepEqual([states[3], states[5]], ["broken off", "broken off"]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("isRunning tells a starter from a process that has its pid now", async () => {
  const birth = (await realSystem.births([Deno.pid])).get(Deno.pid)!;
  const rows: [birth: string, isRunning: boolean][] = [
    [birth, true],
    ["1", true], // The pid of a living process: of the ssh of 0.2.0's attempt.
    ["99999999999", false],
    ["", true],
    ["0", true],
  ];
  for (const [noted, expected] of rows) {
    const starter = { number: 1, path: "", state: "running", pid: Deno.pid, birth: noted } as const;
    assert.equal(await isRunning(starter, realSystem), expected, noted);
  }
});
