/** How often the far end is asked, and what becomes of a lane whose link is in doubt. */
import assert from "node:assert/strict";
import { exists, statOf } from "../lib/os/files.ts";
import { isOpen, readMaster } from "../lib/lane/lane.ts";
import { type Evidence, verdictOn } from "../lib/sleeper/verdict.ts";
import { durationOf, eventually, pause } from "./support/eventually.ts";
import { isAlive } from "./support/processes.ts";
import { SleeperStage } from "./support/sleeper_stage.ts";

const PATIENCE = { deadline: 30_000 };

const CALM: Evidence = {
  sessions: [],
  isAwaited: false,
  isProven: true,
  silentFor: 0,
  answeredAgo: 5000,
  isUnknowable: false,
  addressGoneFor: 0,
};
const open = (age = 60_000) => ({ isOpen: true, age });
const opening = (age = 100) => ({ isOpen: false, age });
const unknown = (age = 100) => ({ isOpen: undefined, age });

Deno.test("verdictOn ends a master only if no session is open, or nothing can come back", () => {
  const rows: [what: string, evidence: Partial<Evidence>, kind: "end" | "retire" | undefined][] = [
    ["all is well", { sessions: [open()] }, undefined],
    ["silent and idle", { silentFor: 70_000 }, undefined],
    ["silent and idle, and a call waits", { silentFor: 3000, isAwaited: true }, "retire"],
    ["silent, a session is opening", { silentFor: 3000, sessions: [opening()] }, "end"],
    ["silent, one is open", { silentFor: 3000, sessions: [open(), opening()] }, undefined],
    ["the same for a minute", { silentFor: 61_000, sessions: [open(), opening()] }, "retire"],
    [
      "the same, and a call waits",
      { silentFor: 3000, sessions: [open()], isAwaited: true },
      "retire",
    ],
    ["silent, the system does not say", { silentFor: 3000, sessions: [unknown()] }, "retire"],
    ["the same, from before the answer", { silentFor: 3000, sessions: [unknown(9000)] }, undefined],
    ["never answered", { isProven: false, silentFor: 70_000, sessions: [open()] }, undefined],
    ["never answered, one is opening", { isProven: false, sessions: [opening(9000)] }, undefined],
    ["the same for 10 s", { isProven: false, sessions: [opening(11_000)] }, "end"],
    [
      "the same beside an open one",
      { isProven: false, sessions: [open(), opening(11_000)] },
      "retire",
    ],
    ["no address for 9 s", { addressGoneFor: 9000, sessions: [open(), opening()] }, undefined],
    ["no address for 10 s", { addressGoneFor: 10_000, sessions: [open(), opening()] }, "end"],
    ["the same, none waits", { addressGoneFor: 10_000, sessions: [open()] }, undefined],
    ["must not be asked", { isUnknowable: true, sessions: [open()] }, undefined],
    ["the same, and a call waits", { isUnknowable: true, isAwaited: true }, "retire"],
  ];
  for (const [what, evidence, kind] of rows) {
    assert.equal(verdictOn({ ...CALM, ...evidence })?.kind, kind, what);
  }
});

Deno.test("with an open session a lane is asked every 5 s, and its mark lasts 8 s; idle 15 and 20", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  await stage.hold(lane);
  const left = () => ((statOf(lane.verified)?.mtime?.getTime() ?? 0) - Date.now()) / 1000;
  await eventually("the idle lane's mark", () => left() > 18 && left() <= 20, PATIENCE);
  const session = await stage.openSession(lane);
  await eventually("the mark is shorter", () => left() > 6 && left() <= 8, PATIENCE);
  await pause(2000); // By then the answers cover the session.
  await eventually("an answer", () => left() > 7.5, PATIENCE);
  Deno.removeSync(lane.verified);
  const took = await durationOf(eventually("the next one", () => exists(lane.verified), PATIENCE));
  assert.ok(took > 3000 && took < 10_000, `after ${took} ms`);
  await session.finish();
});

Deno.test("a call gets out of a lane whose local address is gone, though a session is open on it", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  const open = stage.sandbox.spawn(stage.argv(lane, "echo up; cat"));
  const reader = open.stdout.getReader();
  await reader.read();
  await stage.hold(lane);
  const master = readMaster(lane)!.pid;
  stage.relay.cutOpen();
  stage.addresses.shift();
  const call = stage.call(lane, "echo hello");
  await eventually("it is on it", () => [...Deno.readDirSync(lane.leases)].length > 1, PATIENCE);
  await eventually("the mark is withdrawn", () => !exists(lane.verified), PATIENCE);
  assert.equal(isAlive(master), true);
  stage.ahead += 10_000;
  assert.equal((await call).stdout, "hello\n");
  assert.equal(isOpen(lane), false);
  assert.equal(isAlive(master), false);
  await reader.cancel();
  await Promise.all([open.stderr.cancel(), open.stdin.close().catch(() => {}), open.status]);
});

Deno.test("a lane is retired when its certificate expires, or it has its age, whatever keeps it", async () => {
  for (const end of [{ until: Date.now() / 1000 + 60 }, { maxAge: 60 }]) {
    await using stage = await SleeperStage.create();
    const lane = await stage.open({ lease: null, ...end });
    Deno.writeTextFileSync(lane.keep, "forever\n");
    await using session = await stage.openSession(lane);
    await stage.hold(lane);
    assert.equal(isOpen(lane), true);
    stage.offset = 61_000;
    await eventually("it is retired", () => !isOpen(lane), PATIENCE);
    await session.finish();
    await eventually("it goes with its session", () => !exists(lane.record), PATIENCE);
  }
});

Deno.test("the socket of a retired lane stays while an `ssh -O` is about to use it", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  await stage.hold(lane);
  Deno.writeTextFileSync(`${lane.leases}/${Deno.pid}.via`, "");
  await Deno.rename(lane.leases, lane.retired);
  Deno.writeTextFileSync(`${stage.sandbox.stateDir}/used`, "");
  const before = stage.looks;
  await eventually("it has looked", () => stage.looks > before + 5, PATIENCE);
  assert.equal(exists(lane.socket), true);
  Deno.removeSync(`${lane.retired}/${Deno.pid}.via`);
  await eventually("it is let go", () => !exists(lane.socket), PATIENCE);
});
