/** The sleeper with a clock, a network and a state directory that misbehave. */
import assert from "node:assert/strict";
import { cutLog, logLine } from "../lib/os/log.ts";
import { exists } from "../lib/os/files.ts";
import { isOpen, isVerified, type Lane, newLane, openLane, retire } from "../lib/lane/lane.ts";
import { leaseName } from "../lib/lane/lease.ts";
import { MuxConnection } from "../lib/lane/mux_client.ts";
import { shrink } from "../lib/sleeper/memory.ts";
import { Sleeper } from "../lib/sleeper/sleeper.ts";
import { realSystem } from "../lib/os/system.ts";
import { isOlder } from "../lib/sleeper/sleeper_start.ts";
import { eventually } from "./support/eventually.ts";
import { Relay } from "./support/relay.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const PATIENCE = { deadline: 30_000 };

/** A lane behind a relay, and a sleeper in this process that looks after it. */
class Stage implements AsyncDisposable {
  readonly sandbox: Sandbox;
  readonly relay: Relay;
  readonly lane: Lane;
  readonly #sshd: Sshd;
  #awake: Promise<number> = Promise.resolve(0);
  /** Added to the wall clock, ms. */
  offset = 0;
  addresses = ["127.0.0.1", "192.0.2.1"];

  private constructor(sandbox: Sandbox, sshd: Sshd, relay: Relay) {
    this.sandbox = sandbox;
    this.relay = relay;
    this.#sshd = sshd;
    this.lane = newLane(`${sandbox.stateDir}/0123456789abcdef`);
  }

  static async create(options: { linger?: number | null; lease?: number } = {}): Promise<Stage> {
    const sshd = await Sshd.start();
    const relay = Relay.start(sshd.port);
    const stage = new Stage(await Sandbox.create(), sshd, relay);
    const { lane, sandbox } = stage;
    await Deno.mkdir(lane.dir, { recursive: true, mode: 0o700 });
    const config = await sshd.writeConfig({ port: relay.port });
    const master = ["ssh", "-F", config, "-M", "-N", "-f", "-S", lane.socket];
    const script = '"$@" >/dev/null 2>&1';
    await sandbox.run(["sh", "-c", script, "sh", ...master, "-o", "ControlPersist=30", "host"]);
    using connection = await MuxConnection.connect(lane.socket);
    openLane(lane, {
      pid: await connection.alive(),
      destination: "host",
      resolved: "user@host:22",
      started: Date.now(),
      linger: options.linger === undefined ? 600 : options.linger,
      maxSessions: 10,
      forwards: false,
    }, leaseName(options.lease ?? Deno.pid, true));
    return stage;
  }

  /** Wakes the sleeper. */
  wake(): void {
    const system = {
      ...realSystem,
      env: (name: string) => name === "SSHS_LOOK" ? "0.1" : undefined,
      now: () => Date.now() + this.offset,
      addresses: () => this.addresses,
    };
    this.#awake = new Sleeper(this.sandbox.stateDir, system).run();
  }

  /** Waits until the far end has answered. */
  async answered(): Promise<void> {
    await eventually("the far end has answered", () => exists(this.lane.verified), PATIENCE);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.sandbox.stateDir, { recursive: true });
    assert.equal(await this.#awake, 0, "without its directory the sleeper goes");
    await this.sandbox[Symbol.asyncDispose]();
    await this.relay.close();
    await this.#sshd[Symbol.asyncDispose]();
  }

  log(): string {
    return Deno.readTextFileSync(`${this.sandbox.stateDir}/sleeper.log`);
  }
}

const DOUBTS: Record<string, (stage: Stage) => void> = {
  "the wall clock is set ahead": (stage) => stage.offset = 3_600_000,
  "the wall clock is set back": (stage) => stage.offset = -3_600_000,
  "a local address vanishes": (stage) => stage.addresses.pop(),
};

for (const [what, happen] of Object.entries(DOUBTS)) {
  Deno.test(`Sleeper withdraws the marks first and asks then when ${what}`, async () => {
    await using stage = await Stage.create();
    stage.wake();
    await stage.answered();
    stage.relay.cut();
    happen(stage);
    await eventually("the mark is withdrawn", () => !exists(stage.lane.verified), PATIENCE);
    stage.relay.restore();
    const now = () => Date.now() + stage.offset;
    await eventually("the answer counts", () => isVerified(stage.lane, now()), PATIENCE);
    assert.match(stage.log(), /in doubt/);
    assert.equal(isOpen(stage.lane), true);
  });
}

Deno.test("Sleeper asks no more about a lane on which no session has begun for 10 minutes", async () => {
  await using stage = await Stage.create({ linger: null });
  stage.wake();
  await stage.answered();
  const steady = performance.now;
  let ahead = 0;
  performance.now = () => steady.call(performance) + ahead;
  try {
    ahead = 15 * 60_000;
    await eventually("the mark is withdrawn", () => !exists(stage.lane.verified), PATIENCE);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    assert.equal(exists(stage.lane.verified), false);
    Deno.writeTextFileSync(`${stage.lane.leases}/${leaseName(Deno.ppid, true)}`, "");
    await stage.answered();
  } finally {
    performance.now = steady;
  }
});

Deno.test("Sleeper lets go of a lane and clears it away when the master is gone", async () => {
  const child = new Deno.Command("true").spawn();
  await child.status;
  await using stage = await Stage.create({ linger: 0, lease: child.pid });
  const [master] = stage.sandbox.masters();
  stage.wake();
  await eventually("the lane is withdrawn", () => !isOpen(stage.lane), PATIENCE);
  Deno.kill(master.pid, "SIGTERM"); // As it would by itself, after its grace.
  await eventually("its directory is gone", () => !exists(stage.lane.dir), PATIENCE);
  await eventually("all is gone", () => stage.sandbox.files().length === 0, PATIENCE);
});

Deno.test("Sleeper clears away a lane that was closed before, whose pid another process has", async () => {
  await using stage = await Stage.create();
  const [master] = stage.sandbox.masters();
  Deno.kill(master.pid, "SIGKILL");
  const record = JSON.parse(Deno.readTextFileSync(stage.lane.record));
  Deno.writeTextFileSync(stage.lane.record, JSON.stringify({ ...record, pid: Deno.pid }));
  Deno.removeSync(`${stage.lane.leases}/${Deno.pid}`);
  retire(stage.lane);
  stage.wake();
  await eventually("its directory is gone", () => !exists(stage.lane.dir), PATIENCE);
});

Deno.test("a sleeper of an older version hands over to a newer call's", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  sandbox.env.SSHS_LOOK = "0.5";
  const call = ["-F", sshd.config, "host", "true"];
  const log = () =>
    exists(`${sandbox.stateDir}/sleeper.log`)
      ? Deno.readTextFileSync(`${sandbox.stateDir}/sleeper.log`)
      : "";
  assert.equal((await sandbox.sshs(call)).code, 0);
  await eventually("it holds the lane", () => log().includes("holding"), PATIENCE);
  const [old] = sandbox.sleepers();
  Deno.writeTextFileSync(`${sandbox.stateDir}/sleeper`, `${old.pid}\n0.0.9\nawake\n`);
  assert.equal((await sandbox.sshs(call)).code, 0);
  await eventually("another has taken over", () => {
    const [sleeper, ...others] = sandbox.sleepers();
    return others.length === 0 && sleeper?.pid !== old.pid && log().split("holding").length > 2;
  }, PATIENCE);
  assert.equal((await sandbox.sshs(call)).code, 0);
  assert.deepEqual([sshd.logins(), sandbox.masters().length], [1, 1]);
});

Deno.test("isOlder compares number by number", () => {
  for (const [version, other] of [["0.1.0", "0.1.1"], ["0.9.0", "0.10.0"], ["", "0.1.0"]]) {
    assert.equal(isOlder(version, other), true, `${version} ${other}`);
    assert.equal(isOlder(other, version), false, `${other} ${version}`);
  }
  assert.equal(isOlder("1.0.0", "1.0.0"), false);
});

Deno.test("a log is emptied before it grows too large", async () => {
  const path = await Deno.makeTempFile();
  try {
    for (let i = 0; i < 3000; i++) logLine(path, 0, "a line of some words that say what was done");
    assert.ok(Deno.statSync(path).size <= 66 * 1024);
    Deno.writeTextFileSync(path, "x".repeat(65 * 1024));
    cutLog(path);
    assert.equal(Deno.statSync(path).size, 0);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("shrink makes a waiting process smaller", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  const before = Deno.memoryUsage().rss;
  await shrink();
  const after = Deno.memoryUsage().rss;
  assert.ok(before - after > 4 * 1024 * 1024, `${before} to ${after} bytes`);
});
