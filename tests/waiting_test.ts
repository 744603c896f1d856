/** The sleeper hands out places to calls that wait, each in a read from a pipe of its own. */
import assert from "node:assert/strict";
import { exists } from "../lib/os/files.ts";
import { isOpen } from "../lib/lane/lane.ts";
import type { Lane } from "../lib/lane/layout.ts";
import { noteRefusal } from "../lib/lane/learned.ts";
import { realSystem } from "../lib/os/system.ts";
import { eventually, pause } from "./support/eventually.ts";
import { deadPid } from "./support/lanes.ts";
import { isAlive } from "./support/processes.ts";
import { SleeperStage } from "./support/sleeper_stage.ts";

const PATIENCE = { deadline: 30_000 };

/** A process that waits as the launcher does, and leaves as soon as it is woken, or told to. */
class Call implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  readonly pipe: string;
  /** The line that woke it, and when. */
  readonly woken: Promise<string>;
  word = "";

  constructor(child: Deno.ChildProcess, dir: string, identity: string) {
    this.child = child;
    this.pipe = `${dir}/${identity}.${child.pid}`;
    this.woken = new Response(child.stdout).text().then((text) => this.word = text.trim());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended.
    }
    await Promise.all([this.woken, this.child.status]);
  }
}

/** What a call does when it is woken. */
const LEAVE = 'rm -f "$0/$1.$$"';

/** Starts a call that waits for the stage's identity. */
async function call(stage: SleeperStage, wakes: string = LEAVE): Promise<Call> {
  const dir = `${stage.sandbox.stateDir}/waiting`;
  const identity = stage.dir.slice(-16);
  Deno.mkdirSync(dir, { recursive: true });
  const script =
    `mkfifo -m 600 "$0/$1.$$"; exec 8<>"$0/$1.$$"; : >"$0/../used"; read -r word <&8; ${wakes}; echo "$word"`;
  const child = new Deno.Command("sh", {
    args: ["-c", script, dir, identity],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const waiter = new Call(child, dir, identity);
  await eventually("it waits", () => exists(waiter.pipe) || waiter.word !== "");
  return waiter;
}

/** Opens a lane that is full, and old enough for the sleeper to hand out its places. */
async function fullLane(stage: SleeperStage, sessions = 10): Promise<[Lane, Deno.ChildProcess[]]> {
  const lane = await stage.open({ lease: null });
  const children = Array.from(
    { length: sessions },
    () => new Deno.Command("sleep", { args: ["100"] }).spawn(),
  );
  for (const { pid } of children) stage.lease(lane, pid);
  return [lane, children];
}

async function end(children: readonly Deno.ChildProcess[]): Promise<void> {
  for (const child of children) {
    child.kill("SIGKILL");
    await child.status;
  }
}

Deno.test("calls get places in the order in which they came, as sessions end", async () => {
  await using stage = await SleeperStage.create();
  const [lane, sessions] = await fullLane(stage);
  await using stack = new AsyncDisposableStack();
  // They were there before the sleeper, which serves them at once.
  const calls: Call[] = [];
  // Each takes its place before it leaves, as in the launcher: in between nobody else is woken for it.
  const take = `: >"${lane.leases}/$$"; ${LEAVE}; echo "$word"; exec sleep 100 >/dev/null`;
  for (let i = 0; i < 4; i++) calls.push(stack.use(await call(stage, take)));
  Deno.writeTextFileSync(`${stage.dir}/starter.2`, `${Deno.pid}\n`); // Somebody logs in.
  await stage.hold(lane);
  await pause(300);
  assert.deepEqual(calls.map(({ word }) => word), ["", "", "", ""]);
  for (const [i, waiter] of calls.entries()) {
    const start = performance.now();
    await end([sessions.pop()!]);
    assert.equal(await waiter.woken, "place");
    assert.ok(performance.now() - start < 1000, "soon, and not at the next look");
    assert.deepEqual(calls.slice(i + 1).map(({ word }) => word), calls.slice(i + 1).map(() => ""));
  }
  await end(sessions);
});

Deno.test("one call logs in if all lanes are full and no place becomes free", async () => {
  await using stage = await SleeperStage.create();
  const [lane, sessions] = await fullLane(stage);
  await stage.hold(lane);
  const starter = `${stage.dir}/starter.2`;
  await using first = await call(stage, `${LEAVE}; echo ${Deno.pid} >${starter}`);
  await using second = await call(stage);
  assert.equal(await first.woken, "login");
  await pause(500);
  assert.equal(second.word, "", "one at a time");
  Deno.writeTextFileSync(starter, `${Deno.pid}\nfailed\n`);
  assert.equal(await second.woken, "login");
  await end(sessions);
});

Deno.test("a call takes up a login whose starter was killed, and its ssh is ended", async () => {
  await using stage = await SleeperStage.create();
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const socket = `${stage.dir}/1.sock`;
  const ssh = new Deno.Command("ssh", {
    args: ["-p", `${silent.addr.port}`, "-M", "-N", "-S", socket, "127.0.0.1"],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  Deno.mkdirSync(`${stage.dir}/1.leases`);
  const starter = new Deno.Command("sleep", { args: ["100"] }).spawn();
  const birth = (await realSystem.births([starter.pid])).get(starter.pid);
  Deno.writeTextFileSync(`${stage.dir}/starter.1`, `${starter.pid} ${birth}\n`);
  await using waiter = await call(stage);
  stage.wake();
  await pause(500);
  assert.equal(waiter.word, "", "somebody logs in");
  await end([starter]);
  assert.equal(await waiter.woken, "login");
  assert.equal((await ssh.status).signal, "SIGTERM");
  await eventually("its files are gone", () => !exists(`${stage.dir}/1.leases`));
  assert.equal(exists(`${stage.dir}/starter.1`), true, "no number is used twice");
});

Deno.test("a starter's pid that another process has now is no login", async () => {
  await using stage = await SleeperStage.create();
  Deno.writeTextFileSync(`${stage.dir}/starter.1`, `${Deno.pid} 99999999999\n`);
  stage.wake();
  assert.equal(await stage.gone(), 0, "the sleeper does not stay for it");
});

Deno.test("a lane in doubt is asked for a call that waits: answered, the call gets a place", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  await stage.hold(lane);
  await pause(200);
  Deno.removeSync(lane.verified);
  await using waiter = await call(stage);
  assert.equal(await waiter.woken, "place");
  assert.equal(exists(lane.verified), true);
  assert.equal(stage.sshd.logins(), 1);
});

Deno.test("a lane in doubt is asked for a call that waits: silent, it is retired and the call logs in", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  await using session = await stage.openSession(lane);
  await stage.hold(lane);
  stage.relay.cut();
  Deno.removeSync(lane.verified);
  const start = performance.now();
  await using waiter = await call(stage);
  assert.equal(await waiter.woken, "login");
  assert.ok(performance.now() - start < 10_000, "after the deadline of a ping");
  assert.equal(isOpen(lane), false);
  stage.relay.restore();
  await session.finish();
});

Deno.test("a lane whose master is stopped is retired for a call that waits", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  const [master] = stage.sandbox.masters();
  Deno.writeTextFileSync(lane.master, ""); // It does not count as just logged in.
  Deno.kill(master.pid, "SIGSTOP");
  await using waiter = await call(stage);
  stage.wake();
  assert.equal(await waiter.woken, "login");
  assert.equal(isOpen(lane), false);
  Deno.kill(master.pid, "SIGCONT");
});

Deno.test("a stopped call holds up nobody, and pipes of dead calls and other files go or do no harm", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  const dir = `${stage.sandbox.stateDir}/waiting`;
  await using stopped = await call(stage, "exec sleep 60 >/dev/null");
  const dead = `${dir}/${stage.dir.slice(-16)}.${await deadPid()}`;
  await new Deno.Command("mkfifo", { args: [dead] }).output();
  const file = `${dir}/${stage.dir.slice(-16)}.1`;
  Deno.writeTextFileSync(file, "mine");
  Deno.symlinkSync(file, `${dir}/${stage.dir.slice(-16)}.2`);
  const record = JSON.parse(Deno.readTextFileSync(lane.record));
  Deno.writeTextFileSync(lane.record, JSON.stringify({ ...record, maxSessions: 1 }));
  await using later = await call(stage);
  stage.wake();
  assert.equal(await later.woken, "place");
  await eventually("the dead one's is removed", () => !exists(dead), PATIENCE);
  assert.equal(Deno.readTextFileSync(file), "mine");
  assert.equal(isAlive(stopped.child.pid), true);
});

Deno.test("no more calls are woken than the server bears sessions", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  noteRefusal(stage.dir, 2, Date.now());
  const sessions = [1, 2].map(() => new Deno.Command("sleep", { args: ["100"] }).spawn());
  for (const { pid } of sessions) stage.lease(lane, pid);
  await stage.hold(lane);
  await using waiter = await call(stage);
  assert.equal(await waiter.woken, "login", "two is full");
  await end(sessions);
});

Deno.test("the next lane's leases are made in advance", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open({ lease: null });
  await stage.hold(lane);
  assert.equal(Deno.statSync(`${stage.dir}/2.leases`).mode! & 0o777, 0o700);
});
