/** What servers show of themselves: which sessions they bear, and whether they answer pings. */
import assert from "node:assert/strict";
import { exists, readText, statOf } from "../lib/os/files.ts";
import { isOpen, isVerified } from "../lib/lane/lane.ts";
import { type Lane, laneAt } from "../lib/lane/layout.ts";
import {
  forgetLearned,
  noteAnswer,
  noteNoAnswer,
  noteRefusal,
  pingsOf,
  sessionsOf,
} from "../lib/lane/learned.ts";
import {
  encode,
  MUX_C_ALIVE_CHECK,
  MUX_C_OPEN_FWD,
  MUX_S_ALIVE,
  MUX_S_FAILURE,
  MUX_S_OK,
} from "../lib/lane/mux_protocol.ts";
import { readRecord } from "../lib/lane/record.ts";
import { Sessions } from "../lib/sleeper/sessions.ts";
import { eventually, pause } from "./support/eventually.ts";
import { answering, FakeMaster, type Request } from "./support/fake_master.ts";
import { SleeperStage } from "./support/sleeper_stage.ts";

const PATIENCE = { deadline: 30_000 };
const DAY = 24 * 3600_000;

async function inTempDir(test: (dir: string) => void | Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await test(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("what was learned counts for a day, a number of sessions seen once for ten minutes", () =>
  inTempDir((dir) => {
    const now = Date.now();
    assert.equal(sessionsOf(dir, now), undefined);
    noteRefusal(dir, 0, now);
    assert.equal(sessionsOf(dir, now), undefined, "killed clients' sessions say nothing");
    noteRefusal(dir, 2, now);
    assert.deepEqual([sessionsOf(dir, now), sessionsOf(dir, now + 601_000)], [2, undefined]);
    noteRefusal(dir, 2, now);
    assert.deepEqual([sessionsOf(dir, now + 601_000), sessionsOf(dir, now + DAY)], [2, undefined]);
    assert.equal(pingsOf(dir, now), undefined);
    noteNoAnswer(dir, now);
    assert.equal(pingsOf(dir, now), "once");
    noteNoAnswer(dir, now);
    assert.equal(pingsOf(dir, now), "mute");
    noteAnswer(dir, now);
    noteNoAnswer(dir, now);
    assert.deepEqual([pingsOf(dir, now), pingsOf(dir, now + DAY)], ["answers", undefined]);
    forgetLearned(dir);
    assert.deepEqual([...Deno.readDirSync(dir)], []);
  }));

Deno.test("a server is not blamed for a master that its own ControlPersist ended", async () => {
  // In a master's life the sleeper may come too late: with a linger of 0 the grace is 2 s.
  for (
    const [age, isBlamed] of [[500, true], [1200, false], [1900, false], [2500, false]] as const
  ) {
    await inTempDir((dir) => {
      const lane = laneAt(dir, "1");
      Deno.writeTextFileSync(lane.record, '{"destination":"host","maxSessions":10,"grace":2}');
      Deno.utimeSync(lane.record, 1000, 1000);
      const clocks = { now: () => 1_000_000 + age, steady: () => 0 };
      const system = { ...clocks, catches: () => undefined };
      const sessions = new Sessions(lane, readRecord(lane)!, system);
      sessions.note({ live: [], begun: 1, ended: [] });
      sessions.noteEnd(false);
      assert.equal(exists(`${dir}/ended-early`), isBlamed, `${age} ms`);
    });
  }
});

/** For sshd_config: a connection ends as its second session begins. */
function endsWithSecond(dir: string): string {
  return `ForceCommand if mkdir ${dir}/$PPID; then sh -c "$SSH_ORIGINAL_COMMAND"; ` +
    `rmdir ${dir}/$PPID; else kill $PPID; fi`;
}

Deno.test("a server whose second session ends the first gets one session a connection", async () => {
  await inTempDir(async (dir) => {
    Deno.chmodSync(dir, 0o777);
    await using stage = await SleeperStage.create({ config: [endsWithSecond(dir)] });
    const lane = await stage.open({ lease: null });
    await stage.hold(lane);
    const first = stage.sandbox.run(stage.argv(lane, "echo up; sleep 30"));
    await eventually("it is on it", () => stage.sshd.sessions() === 1, PATIENCE);
    await pause(300);
    await stage.call(lane, "true");
    assert.equal((await first).code, 255);
    await eventually("it is learned", () => sessionsOf(stage.dir, Date.now()) === 1, PATIENCE);
    assert.equal(sessionsOf(stage.dir, Date.now() + DAY / 2), 1, "for a day");
  });
});

Deno.test("a server that bears two sessions at once is not blamed for a lost connection", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  await using one = await stage.openSession(lane);
  const two = stage.sandbox.run(stage.argv(lane, "sleep 30"));
  await stage.hold(lane);
  await eventually("it is noted", () => exists(`${stage.dir}/several`), PATIENCE);
  const three = stage.sandbox.run(stage.argv(lane, "sleep 30"));
  await eventually("it is on it", () => stage.sshd.sessions() === 3, PATIENCE);
  Deno.kill(stage.sandbox.masters()[0].pid, "SIGKILL");
  await eventually("the lane is gone", () => !exists(lane.record), PATIENCE);
  assert.equal(sessionsOf(stage.dir, Date.now()), undefined);
  await Promise.all([two, three, one.finish().catch(() => {})]);
});

Deno.test("MaxSessions is learned from the session that the server refuses", async () => {
  await using stage = await SleeperStage.create({ config: ["MaxSessions 2"] });
  const lane = await stage.open({ lease: null });
  await stage.hold(lane);
  const calls = [];
  for (let i = 1; i <= 3; i++) {
    calls.push(stage.sandbox.run(stage.argv(lane, "sleep 3")));
    await eventually("it has begun", () => stage.sshd.sessions() === i, PATIENCE);
  }
  await eventually("it is learned", () => sessionsOf(stage.dir, Date.now()) === 2, PATIENCE);
  assert.equal(isOpen(lane), false, "killed clients' sessions might keep their places");
  assert.deepEqual((await Promise.all(calls)).map(({ code }) => code), [0, 0, 0]);
});

/** What answers in a master's place, as if a server did something with a ping: nothing at all, or the end. */
class FakeServer extends FakeMaster {
  pings = 0;
  readonly process = new Deno.Command("sleep", { args: ["100"] }).spawn();

  constructor(lane: Lane, readonly onPing: "answers" | "ends" | "ignores") {
    super(lane.socket, answering((request) => this.#answer(request)));
  }

  #answer({ type, id }: Request): Uint8Array | undefined {
    if (type === MUX_C_ALIVE_CHECK) return encode(MUX_S_ALIVE, id, this.process.pid);
    if (type !== MUX_C_OPEN_FWD) return encode(MUX_S_OK, id);
    this.pings++;
    if (this.onPing === "answers") return encode(MUX_S_FAILURE, id, "no");
    if (this.onPing === "ends") this.#end();
  }

  #end(): void {
    this.hangUp();
    try {
      this.process.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended.
    }
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
    await super[Symbol.asyncDispose]();
    await this.process.status;
  }
}

/** Lets time pass for the sleeper, in steps that it does not take for a suspend. */
async function pass(stage: SleeperStage, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 1500) {
    const before = stage.looks;
    stage.ahead += 1500;
    stage.offset += 1500;
    Deno.writeTextFileSync(`${stage.sandbox.stateDir}/used`, "");
    await eventually("it has looked", () => stage.looks > before, PATIENCE);
  }
}

/** Makes the files of a lane whose master is not real. */
function fakeLane(stage: SleeperStage, name: string): Lane {
  const lane = laneAt(stage.dir, name);
  Deno.mkdirSync(lane.leases, { recursive: true });
  Deno.writeTextFileSync(`${stage.dir}/starter.${name}`, `${Deno.pid}\nup\n`);
  const record = { destination: "host", resolved: "me@host:22", linger: 600, maxSessions: 10 };
  const more = { grace: 30, forwards: false, agent: null };
  Deno.writeTextFileSync(lane.record, JSON.stringify({ ...record, ...more }));
  return lane;
}

Deno.test("an unknown server is pinged only once no session is open, and then is known", async () => {
  await using stage = await SleeperStage.create({}, false);
  const lane = fakeLane(stage, "1");
  await using master = new FakeServer(lane, "answers");
  stage.lease(lane, Deno.pid);
  stage.wake();
  await eventually("it is held", () => exists(lane.master), PATIENCE);
  await pass(stage, 21_000);
  await eventually("its mark is renewed", () => isVerified(lane, stage.system.now()), PATIENCE);
  assert.equal(master.pings, 0);
  Deno.removeSync(`${lane.leases}/${Deno.pid}`);
  await pass(stage, 15_000);
  await eventually("it is asked", () => master.pings > 0, PATIENCE);
  assert.equal(pingsOf(stage.dir, stage.system.now()), "answers");
  stage.lease(lane, Deno.pid);
  const before = master.pings;
  await pass(stage, 6000);
  await eventually("it is asked with a session too", () => master.pings > before, PATIENCE);
});

Deno.test("a server that ends the connection for a ping is pinged on two idle connections, and no more", async () => {
  await using stage = await SleeperStage.create({}, false);
  for (const [name, known] of [["1", "once"], ["2", "mute"]]) {
    const lane = fakeLane(stage, name);
    await using master = new FakeServer(lane, "ends");
    stage.wake();
    await eventually("the lane is gone", () => !exists(lane.record), PATIENCE);
    assert.equal(master.pings, 1);
    assert.equal(pingsOf(stage.dir, Date.now()), known);
    assert.equal(await stage.gone(), 0);
  }
  const lane = fakeLane(stage, "3");
  await using master = new FakeServer(lane, "ends");
  stage.wake();
  await eventually("it is held", () => exists(lane.verified), PATIENCE);
  const mark = () => statOf(lane.verified)?.mtime?.getTime() ?? 0;
  const before = mark();
  await pass(stage, 16_000);
  await eventually("its mark is renewed all the same", () => mark() > before, PATIENCE);
  assert.deepEqual([master.pings, isOpen(lane)], [0, true]);
});

Deno.test("a ping that was never answered proves nothing: the lane stays, and its mark", async () => {
  await using stage = await SleeperStage.create({}, false);
  const lane = fakeLane(stage, "1");
  await using master = new FakeServer(lane, "ignores");
  stage.wake();
  await eventually("it is asked", () => master.pings === 1, PATIENCE);
  await eventually("it is noted", () => pingsOf(stage.dir, Date.now()) === "once", PATIENCE);
  stage.lease(lane, Deno.pid);
  await pass(stage, 21_000);
  await eventually("its mark is renewed", () => isVerified(lane, stage.system.now()), PATIENCE);
  assert.equal(isOpen(lane), true);
  assert.equal(master.pings, 1);
  assert.equal(readText(`${stage.dir}/pings`), "once\n");
});
