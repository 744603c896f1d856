/** The sleeper with a clock, a network, a server and a state directory that misbehave. */
import assert from "node:assert/strict";
import { exists } from "../lib/os/files.ts";
import { isOpen, isVerified, readMaster, retire, roundTripOf } from "../lib/lane/lane.ts";
import { directOf, noteEarlyEnd } from "../lib/lane/learned.ts";
import { realSystem } from "../lib/os/system.ts";
import { durationOf, eventually, pause } from "./support/eventually.ts";
import { isAlive } from "./support/processes.ts";
import { deadPid } from "./support/lanes.ts";
import { SleeperStage } from "./support/sleeper_stage.ts";
import { ONE_SESSION_A_CONNECTION } from "./support/sshd.ts";

const PATIENCE = { deadline: 30_000 };

/** Waits until the sleeper has begun and ended at least `count` looks. */
async function looks(stage: SleeperStage, count: number): Promise<void> {
  const before = stage.looks;
  await eventually(`${count} looks later`, () => stage.looks > before + count, PATIENCE);
}

Deno.test("Sleeper takes a lane: it records the master and renews the mark", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open();
  await stage.hold(lane);
  const [master] = stage.sandbox.masters();
  assert.equal(readMaster(lane)?.pid, master.pid);
  assert.ok(readMaster(lane)?.birth);
  assert.equal(isVerified(lane, Date.now()), true);
  assert.match(stage.log(), /host-1: holding master \d+/);
});

const DOUBTS: Record<string, (stage: SleeperStage) => void> = {
  "the wall clock is set ahead": (stage) => stage.offset = 3_600_000,
  "the wall clock is set back": (stage) => stage.offset = -3_600_000,
  "a local address vanishes": (stage) => stage.addresses.pop(),
};

for (const [what, happen] of Object.entries(DOUBTS)) {
  Deno.test(`Sleeper withdraws the marks before it asks when ${what}`, async () => {
    await using stage = await SleeperStage.create();
    const lane = await stage.open({ lease: null });
    await stage.hold(lane);
    stage.relay.cut();
    happen(stage);
    await eventually("the mark is withdrawn", () => !exists(lane.verified), PATIENCE);
    stage.relay.restore();
    const now = () => Date.now() + stage.offset;
    await eventually("the answer counts", () => isVerified(lane, now()), PATIENCE);
    assert.match(stage.log(), /in doubt/);
    assert.equal(isOpen(lane), true);
  });
}

Deno.test("Sleeper asks until 10 minutes after a session began, open or not, and then waits for a call", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ linger: null });
  stage.wake({ catches: () => undefined }); // The leases' processes are no ssh.
  await stage.held(lane);
  for (let minute = 1; minute < 10; minute++) {
    Deno.removeSync(lane.verified);
    stage.ahead = minute * 60_000;
    await eventually(`it asks in minute ${minute}`, () => exists(lane.verified), PATIENCE);
  }
  Deno.removeSync(`${lane.leases}/${Deno.pid}`);
  stage.ahead = 15 * 60_000;
  Deno.removeSync(lane.verified);
  let last = -1;
  await eventually("it looks no more", () => {
    const before = last;
    last = stage.looks;
    return before === last;
  }, { deadline: 30_000, interval: 500 });
  assert.equal(exists(lane.verified), false);
  stage.lease(lane, Deno.ppid);
  await eventually("it asks again", () => exists(lane.verified), PATIENCE);
});

Deno.test("Sleeper closes an idle lane at most a look and 2 s after its linger, whatever its grace", async () => {
  await using stage = await SleeperStage.create();
  stage.look = "1";
  const lane = await stage.open({ lease: null, linger: 60 });
  const [master] = stage.sandbox.masters();
  await stage.hold(lane);
  await stage.call(lane, "true");
  await looks(stage, 2); // By then the call counts as gone.
  assert.equal(isOpen(lane), true);
  stage.ahead = 60_000;
  const before = stage.looks;
  await eventually("it is closed", () => !isOpen(lane), PATIENCE);
  // One may have been under way.
  assert.ok(stage.looks <= before + 2, `after ${stage.looks - before} looks`);
  // Two seconds on an idle machine; its grace is 30 s.
  await eventually("the master is gone", () => !isAlive(master.pid), { deadline: 15_000 });
  assert.equal(await stage.gone(), 0, "and the sleeper with it");
  assert.deepEqual(stage.sandbox.files().filter((file) => /^[0-9a-f]+\/./.test(file)), [
    "0123456789abcdef/2.leases/",
    "0123456789abcdef/pings",
    "0123456789abcdef/starter.1",
  ]);
});

Deno.test("Sleeper keeps a lane past its linger while a session is on it, or --hold keeps it", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: Deno.pid, linger: 0 });
  await stage.hold(lane);
  Deno.writeTextFileSync(lane.keep, "forever\n");
  Deno.removeSync(`${lane.leases}/${Deno.pid}`);
  await looks(stage, 5);
  assert.equal(isOpen(lane), true);
  Deno.writeTextFileSync(lane.keep, `${Math.floor(Date.now() / 1000) - 1}\n`);
  stage.lease(lane, await deadPid());
  await eventually("it is let go", () => !isOpen(lane), PATIENCE);
});

Deno.test("Sleeper removes a lane whose master is gone, and a retired one that it never held", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  const retired = await stage.open({ name: "2", lease: null });
  retire(retired);
  await stage.hold(lane);
  for (const { pid } of stage.sandbox.masters()) Deno.kill(pid, "SIGKILL");
  await eventually(
    "both are gone",
    () => !exists(lane.record) && !exists(retired.record),
    PATIENCE,
  );
  assert.equal(await stage.gone(), 0);
});

for (const cut of [0, 20, 40, 60]) {
  Deno.test(
    `Sleeper frees a call within 6 s if the link is lost ${cut} ms after its start`,
    {
      ignore: Deno.build.os !== "linux",
    },
    async () => {
      await using stage = await SleeperStage.create();
      stage.look = "1";
      stage.relay.delayMs = 30; // So that a session takes 60 ms to open.
      const lane = await stage.open({ lease: null });
      await stage.hold(lane);
      const [master] = stage.sandbox.masters();
      const started = performance.now();
      if (cut === 0) stage.relay.cutOpen();
      const call = stage.call(lane, "echo hello; exit 3");
      if (cut > 0) setTimeout(() => stage.relay.cutOpen(), cut);
      const { code, stdout, stderr } = await call;
      const took = performance.now() - started;
      assert.deepEqual([code, stdout], [3, "hello\n"], stderr);
      assert.match(stderr, /^mux_client_request_session: .*\r?\n$/);
      assert.equal(stage.sshd.sessions(), 1, "nothing has run twice");
      assert.equal(isAlive(master.pid), false);
      await eventually("the lane is gone", () => !exists(lane.record), PATIENCE);
      // A login now shows how slow the machine is.
      const login = await durationOf(stage.call(lane, "true"));
      assert.ok(took < 6000 + 5 * login, `after ${took} ms, with ${login} ms for a login`);
    },
  );
}

Deno.test("Sleeper without knowledge of signal handlers ends nothing: it retires the lane", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  stage.wake({ catches: () => undefined });
  await stage.held(lane);
  await pause(1200); // A lease counts as new for this long.
  stage.relay.cut();
  const call = stage.call(lane, "echo hello");
  await eventually("it is retired", () => !isOpen(lane), PATIENCE);
  stage.relay.restore();
  assert.equal((await call).stdout, "hello\n");
  assert.equal(stage.sshd.logins(), 1);
});

Deno.test("Sleeper never ends a lane with an open session: a late answer counts, and the known round trip stays", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  await using session = await stage.openSession(lane);
  await stage.hold(lane);
  const known = roundTripOf(lane)!;
  stage.relay.cut();
  // This new call waits, as the open session may be a large upload.
  const call = stage.call(lane, "echo hello");
  await eventually("there is no answer", () => /no answer/.test(stage.log()), PATIENCE);
  assert.equal(exists(lane.verified), false);
  await looks(stage, 5);
  assert.equal(isOpen(lane), true, stage.log());
  stage.relay.restore();
  assert.equal((await call).stdout, "hello\n");
  await eventually("the late answer counts", () => isVerified(lane, Date.now()), PATIENCE);
  assert.ok(roundTripOf(lane)! < known + 1000, `${roundTripOf(lane)} ms`);
  await session.finish();
});

Deno.test("Sleeper retires a lane whose server is silent for a minute, and its sessions live on", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  await using session = await stage.openSession(lane);
  await stage.hold(lane);
  stage.relay.cut();
  stage.ahead += 20_000;
  await eventually("there is no answer", () => /no answer/.test(stage.log()), PATIENCE);
  stage.ahead += 61_000;
  await eventually("it is retired", () => !isOpen(lane), PATIENCE);
  assert.equal(exists(lane.retired), true);
  stage.relay.restore();
  await session.finish();
  await eventually("its master goes with it", () => !exists(lane.record), PATIENCE);
});

Deno.test("Sleeper keeps an idle lane through a gap in its link", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  await stage.hold(lane);
  stage.relay.cut();
  stage.ahead += 20_000;
  await eventually("the mark is withdrawn", () => !exists(lane.verified), PATIENCE);
  stage.relay.restore();
  await eventually("the late answer counts", () => isVerified(lane, Date.now()), PATIENCE);
  assert.equal((await stage.call(lane, "echo hello")).stdout, "hello\n");
  assert.equal(stage.sshd.logins(), 1);
});

Deno.test("Sleeper logs a fault of one lane, and still looks after the others", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  const faulty = await stage.open({ name: "2", lease: Deno.ppid });
  stage.wake({
    births(pids) {
      if (pids.includes(Deno.ppid)) throw new Error("No space left");
      return realSystem.births(pids);
    },
  });
  await stage.held(lane);
  await eventually("it is logged", () => /host-2: No space left/.test(stage.log()), PATIENCE);
  assert.equal(isVerified(faulty, Date.now()), false);
  stage.ahead += 20_000;
  Deno.removeSync(lane.verified);
  await eventually("the other is verified anew", () => isVerified(lane, Date.now()), PATIENCE);
  assert.equal(stage.log().split("No space left").length, 2, "once");
});

Deno.test("Sleeper does not take a lane of another pid namespace, or stay for it", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  const theirs = await stage.open({ name: "2", lease: await deadPid(), pids: "pid:[1]" });
  await stage.hold(lane);
  assert.equal(exists(theirs.master), false);
  assert.equal([...Deno.readDirSync(theirs.leases)].length, 1);
  Deno.kill(readMaster(lane)!.pid, "SIGTERM");
  assert.equal(await stage.gone(), 0);
});

Deno.test("Sleeper retires a lane as soon as its agent has other keys", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ agent: "/an/agent" });
  await stage.hold(lane);
  assert.equal(Deno.readTextFileSync(lane.agent), "ssh-key AAAAAAAAAAAAAAAA\n");
  const asked = stage.asked;
  await eventually("it asks on", () => stage.asked > asked + 3, PATIENCE);
  assert.equal(isOpen(lane), true);
  stage.keys = ["BBBBBBBBBBBBBBBB"];
  await eventually("it is retired", () => !isOpen(lane), PATIENCE);
});

Deno.test("Sleeper asks another agent than OpenSSH's once a call, and no more once it was late", async () => {
  await using stage = await SleeperStage.create();
  stage.isOwnAgent = false;
  const lane = await stage.open({ agent: "/an/agent" });
  await stage.hold(lane);
  await looks(stage, 5);
  const before = stage.asked;
  assert.ok(before <= 2, `${before} times for one login and one call`);
  const calls = [1, 2].map(() => new Deno.Command("sleep", { args: ["60"] }).spawn());
  stage.keys = "silent";
  stage.lease(lane, calls[0].pid);
  await eventually("it is asked", () => stage.asked > before, PATIENCE);
  stage.keys = ["BBBBBBBBBBBBBBBB"];
  stage.lease(lane, calls[1].pid);
  await looks(stage, 5);
  assert.equal(stage.asked, before + 1);
  assert.equal(isOpen(lane), true);
  for (const call of calls) {
    call.kill();
    await call.status;
  }
});

Deno.test("Sleeper makes an identity direct for a day if its server twice ends the connection with the first session", async () => {
  await using stage = await SleeperStage.create({ config: ONE_SESSION_A_CONNECTION });
  const early = `${stage.dir}/ended-early`;
  for (const name of ["1", "2"]) {
    const lane = await stage.open({ name, lease: null });
    await stage.hold(lane);
    assert.equal(directOf(stage.dir, Date.now()), undefined);
    assert.equal((await stage.call(lane, "echo hello")).stdout, "hello\n");
    await eventually("the lane is gone", () => !exists(lane.record), PATIENCE);
    assert.equal(exists(early), name === "1", stage.log());
    assert.equal(await stage.gone(), 0);
  }
  const direct = directOf(stage.dir, Date.now());
  assert.equal(direct?.why, "its server allows one session per connection");
  const hours = (direct!.until - Date.now() / 1000) / 3600;
  assert.ok(hours > 23.9 && hours <= 24, `${hours} h`);
});

Deno.test("Sleeper does not blame the server for a connection that outlives its session, or is cut off under it", async () => {
  await using stage = await SleeperStage.create();
  const early = `${stage.dir}/ended-early`;
  noteEarlyEnd(stage.dir, Date.now());
  const lane = await stage.open({ lease: null });
  await stage.hold(lane);
  await stage.call(lane, "true");
  stage.ahead += 20_000;
  await eventually("it is forgotten", () => !exists(early), PATIENCE);
  const cut = await stage.open({ name: "2", lease: null });
  const child = stage.sandbox.spawn(stage.argv(cut, "echo up; cat"));
  await stage.held(cut);
  await eventually("it is on it", () => [...Deno.readDirSync(cut.leases)].length > 0, PATIENCE);
  // Stopped, it is still there when the sleeper looks.
  Deno.kill(child.pid, "SIGSTOP");
  Deno.kill(readMaster(cut)!.pid, "SIGKILL");
  await eventually("the lane is gone", () => !exists(cut.record), PATIENCE);
  assert.equal(exists(early), false, stage.log());
  Deno.kill(child.pid, "SIGCONT");
  await Promise.all([
    child.stdout.cancel(),
    child.stderr.cancel(),
    child.stdin.close().catch(() => {}),
    child.status,
  ]);
});

Deno.test("Sleeper ends the ssh of an attempt whose starter was killed, and nobody else", async () => {
  await using stage = await SleeperStage.create();
  // A server that never sends anything.
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const ssh = (n: number) =>
    new Deno.Command("ssh", {
      args: ["-p", `${silent.addr.port}`, "-M", "-N", "-S", `${stage.dir}/${n}.sock`, "127.0.0.1"],
      stdout: "null",
      stderr: "null",
      stdin: "null",
    }).spawn();
  const [abandoned, other, running] = [ssh(1), ssh(7), ssh(3)];
  try {
    const dead = await deadPid();
    // One is dead, and the pid of another is another process's now.
    Deno.writeTextFileSync(`${stage.dir}/starter.1`, `${dead} 17\n`);
    Deno.writeTextFileSync(`${stage.dir}/starter.2`, `${Deno.pid} 99999999999\n`);
    Deno.writeTextFileSync(`${stage.dir}/starter.3`, `${Deno.pid}\n`);
    stage.wake();
    assert.equal((await abandoned.status).signal, "SIGTERM");
    await looks(stage, 3); // It waits for who logs in.
    assert.ok(isAlive(other.pid) && isAlive(running.pid));
    Deno.writeTextFileSync(`${stage.dir}/starter.3`, `${Deno.pid}\nfailed\n`);
    assert.equal(await stage.gone(), 0);
    assert.deepEqual(stage.sandbox.files().filter((file) => /starter|sock/.test(file)), [
      "0123456789abcdef/starter.3",
    ]);
  } finally {
    for (const child of [other, running]) {
      child.kill();
      await child.status;
    }
  }
});

Deno.test("Sleeper removes identities unused for a day and plans unused for two, and no others", async () => {
  await using stage = await SleeperStage.create();
  const state = stage.sandbox.stateDir;
  const day = 24 * 3600;
  const now = Date.now() / 1000;
  const identities: [name: string, age: number, files: Record<string, string>, stays: boolean][] = [
    ["000000000000000a", 1.1, { about: "host", "starter.1": "1 0\nup\n" }, false],
    ["000000000000000b", 0.9, { about: "host" }, true],
    ["000000000000000c", 1.1, { direct: `${Math.floor(now) + day}\nwhy\n` }, true],
    ["000000000000000d", 1.1, { direct: `${Math.floor(now) - 1}\nwhy\n` }, false],
  ];
  for (const [name, age, files] of identities) {
    Deno.mkdirSync(`${state}/${name}`);
    for (const file in files) Deno.writeTextFileSync(`${state}/${name}/${file}`, files[file]);
    const until = parseInt(files.direct ?? "0");
    if (until) Deno.utimeSync(`${state}/${name}/direct`, until, until);
    Deno.utimeSync(`${state}/${name}`, now - age * day, now - age * day);
  }
  Deno.mkdirSync(`${state}/plans`);
  for (const [plan, age] of [["old", 2.1], ["young", 1.9]] as const) {
    Deno.writeTextFileSync(`${state}/plans/${plan}`, "");
    Deno.utimeSync(`${state}/plans/${plan}`, now - age * day, now - age * day);
  }
  stage.wake();
  assert.equal(await stage.gone(), 0);
  for (const [name, , , stays] of identities) assert.equal(exists(`${state}/${name}`), stays, name);
  assert.deepEqual([...Deno.readDirSync(`${state}/plans`)].map(({ name }) => name), ["young"]);
});
