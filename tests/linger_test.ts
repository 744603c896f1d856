/** How long lanes stay, and what the sleeper does and does not do. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { install, watchStarts } from "./support/installed.ts";
import { isAlive } from "./support/processes.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

/** The machine that runs the tests may be slow. */
const PATIENCE = { deadline: 30_000 };

interface Stage extends AsyncDisposable {
  readonly sshd: Sshd;
  readonly sandbox: Sandbox;
  /** Runs a command and expects its output, status 0 and not a word on stderr. */
  echo(word: string, ...options: string[]): Promise<void>;
  /** Likewise by the launcher, once it is installed. */
  launch(word: string, ...options: string[]): Promise<void>;
}

async function stage(linger: string, look = "1", config: string[] = []): Promise<Stage> {
  const sshd = await Sshd.start({ client: { config: ["LogLevel ERROR", ...config] } });
  const sandbox = await Sandbox.create();
  Object.assign(sandbox.env, { SSHS_LOOK: look, SSHS_LINGER: linger });
  const echo = async (ssh: string[], word: string, options: string[]) => {
    const call = [...ssh, "-F", sshd.config, ...options, "host", `echo ${word}`];
    const { code, stdout, stderr } = await sandbox.run(call);
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: `${word}\n`, stderr: "" });
  };
  return {
    sshd,
    sandbox,
    echo: (word, ...options) => echo(sandbox.argv([]), word, options),
    launch: (word, ...options) => echo(["ssh"], word, options),
    async [Symbol.asyncDispose]() {
      await sandbox[Symbol.asyncDispose]();
      await sshd[Symbol.asyncDispose]();
    },
  };
}

function isOpen(sandbox: Sandbox): boolean {
  return sandbox.files().some((file) => file.endsWith(".leases/"));
}

function log(sandbox: Sandbox): string {
  try {
    return Deno.readTextFileSync(`${sandbox.stateDir}/sleeper.log`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

Deno.test("a lane stays for its linger, never goes under a session, and leaves nothing", async () => {
  await using it = await stage("3");
  const child = it.sandbox.spawnSshs(["-F", it.sshd.config, "host", "echo up; cat"]);
  const reader = child.stdout.getReader();
  await reader.read();
  // Longer than the linger: the session alone keeps it.
  await new Promise((resolve) => setTimeout(resolve, 6000));
  assert.equal(isOpen(it.sandbox), true, log(it.sandbox));
  await child.stdin.close();
  while (!(await reader.read()).done);
  await child.stderr.cancel();
  assert.equal((await child.status).code, 0);
  const ended = performance.now();
  await eventually("the lane goes", () => !isOpen(it.sandbox), PATIENCE);
  // Not before its linger, less what the poll and the file's time are coarse by.
  assert.ok(performance.now() - ended > 2500, log(it.sandbox));
  await it.sandbox.assertClean(PATIENCE);
  assert.equal(it.sshd.logins(), 1);
});

Deno.test("calls at the moment of expiry get an answer and no noise, 200 times", async () => {
  await using it = await stage("1", "0.5");
  await install(it.sandbox);
  const starts = await watchStarts(it.sandbox);
  await it.echo("first");
  it.sshd.ageConfigs();
  // Eight identities, so that each has its own expiry to hit; every other call by the launcher, whose
  // look at lease and mark is another one than the program's.
  const workers = Array.from({ length: 8 }, async (_, worker) => {
    const options = ["-o", `ServerAliveInterval=${100 + worker}`];
    for (let i = 0; i < 25; i++) {
      await ((worker + i) % 2 ? it.launch : it.echo)(`${worker}-${i}`, ...options);
      await new Promise((resolve) => setTimeout(resolve, 700 + Math.random() * 700));
    }
  });
  await Promise.all(workers);
  assert.ok(it.sshd.logins() > 9, "some came too late, and logged in anew");
  assert.ok(starts() < 100, "some of the launcher's did without Deno");
  await it.sandbox.assertClean(PATIENCE);
});

Deno.test("a sleeper that is killed is replaced by the next call; without one masters go after their grace", async () => {
  await using it = await stage("600");
  await it.echo("one");
  await eventually("it is awake", () => /holding/.test(log(it.sandbox)), PATIENCE);
  const [first] = it.sandbox.sleepers();
  Deno.kill(first.pid, "SIGKILL");
  await it.echo("two");
  await eventually("another is awake", () => {
    const [sleeper] = it.sandbox.sleepers();
    return sleeper !== undefined && sleeper.pid !== first.pid;
  }, PATIENCE);
  const [second] = it.sandbox.sleepers();
  await eventually("it has the lock", () => log(it.sandbox).split("holding").length > 2, PATIENCE);
  Deno.kill(second.pid, "SIGKILL");
  // Three looks of 1 s after its last client, which was the sleeper. The rest is for a slow machine.
  await eventually("the masters are gone", () => it.sandbox.masters().length === 0, {
    deadline: 10_000,
  });
  await it.echo("three");
});

Deno.test("the mark of a master that was killed goes at once, and not at the sleeper's next look", async () => {
  await using it = await stage("600", "60");
  await it.echo("one");
  await eventually("it is held", () => /holding/.test(log(it.sandbox)), PATIENCE);
  const mark = it.sandbox.files().find((file) => file.endsWith(".verified"));
  assert.ok(mark, log(it.sandbox));
  Deno.kill(it.sandbox.masters()[0].pid, "SIGKILL");
  await eventually("the mark goes", () => !it.sandbox.files().includes(mark), PATIENCE);
  await it.echo("two");
});

Deno.test("of sleepers that are started at once one stays", async () => {
  await using it = await stage("600", "5"); // The master is there until one has it.
  await it.echo("one");
  await eventually("one is awake", () => /holding/.test(log(it.sandbox)), PATIENCE);
  const [first] = it.sandbox.sleepers();
  const start = () => it.sandbox.sshs(["--sleeper", it.sandbox.stateDir], { as: "sshs" });
  const late = await start();
  assert.deepEqual([late.code, late.stderr], [0, ""], "one that comes later goes");
  assert.deepEqual(it.sandbox.sleepers().map(({ pid }) => pid), [first.pid]);
  Deno.kill(first.pid, "SIGKILL");
  await eventually("it is gone", () => !isAlive(first.pid));

  {
    // The moment in which another has the lock and has not written its name yet.
    using file = await Deno.open(`${it.sandbox.stateDir}/sleeper`, { write: true });
    await file.lock(true);
    await file.truncate();
    const second = await start();
    assert.deepEqual([second.code, second.stderr], [0, ""], "one that comes second goes");
  }

  // Five, so that two of them are likely to be at the same step.
  const rivals = Array.from(
    { length: 5 },
    () => it.sandbox.spawnSshs(["--sleeper", it.sandbox.stateDir], { as: "sshs" }),
  );
  const ended: { pid: number; code: number; stderr: string }[] = [];
  const ends = rivals.map(async (rival) => {
    const [{ code }, stderr] = await Promise.all([
      rival.status,
      rival.stderr.text(),
      rival.stdout.cancel(),
      rival.stdin.close(),
    ]);
    ended.push({ pid: rival.pid, code, stderr });
  });
  await eventually("all but one have gone", () => ended.length === 4, PATIENCE);
  for (const { code, stderr } of ended) assert.deepEqual([code, stderr], [0, ""]);
  await eventually("it holds", () => log(it.sandbox).split("holding").length === 3, PATIENCE);
  const stays = rivals.find(({ pid }) => !ended.some((other) => other.pid === pid))!;
  const named = Deno.readTextFileSync(`${it.sandbox.stateDir}/sleeper`);
  assert.equal(named.split("\n")[0], `${stays.pid}`, "the one that the file names");
  assert.equal(it.sandbox.masters().length, 1);
  Deno.kill(stays.pid, "SIGTERM");
  await Promise.all(ends);
});

Deno.test("when the state directory goes, so do the sleeper and the idle masters", async () => {
  await using it = await stage("600");
  await it.echo("one");
  await eventually("it is awake", () => /holding/.test(log(it.sandbox)), PATIENCE);
  await Deno.remove(it.sandbox.stateDir, { recursive: true });
  await eventually("nothing is left", () => it.sandbox.processes().length === 0, PATIENCE);
  await it.echo("two");
});

Deno.test("linger 0 shares only while a session is there", async () => {
  await using it = await stage("0");
  await it.echo("one");
  await it.echo("two");
  assert.equal(it.sshd.logins(), 2, "however quick the next call");
  const child = it.sandbox.spawnSshs(["-F", it.sshd.config, "host", "echo up; cat"]);
  const reader = child.stdout.getReader();
  await reader.read();
  const before = it.sshd.logins();
  await it.echo("three");
  assert.equal(it.sshd.logins(), before, "it rides with the session");
  await child.stdin.close();
  while (!(await reader.read()).done);
  await child.stderr.cancel();
  await child.status;
  await it.sandbox.assertClean(PATIENCE);
});

Deno.test("ControlPersist and config.json say how long a lane stays", async () => {
  const lingerOf = (it: Stage) => {
    // One that was stopped may still have its record, until the sleeper comes by.
    const open = it.sandbox.files().find((file) => file.endsWith(".leases/"))!;
    const record = open.replace(/leases\/$/, "lane");
    return JSON.parse(Deno.readTextFileSync(`${it.sandbox.stateDir}/${record}`)).linger;
  };
  await using persistent = await stage("9", "1", ["ControlPersist yes"]);
  await persistent.echo("one");
  assert.equal(lingerOf(persistent), null);
  await using timed = await stage("9", "1", ["ControlPersist 1h30m"]);
  await timed.echo("one");
  assert.equal(lingerOf(timed), 5400);
  await Deno.mkdir(`${timed.sandbox.env.XDG_CONFIG_HOME}/sshs`, { recursive: true });
  const settings = `{ "hosts": [{ "host": "h*t !hut", "linger": "7m" }] }`;
  await Deno.writeTextFile(`${timed.sandbox.env.XDG_CONFIG_HOME}/sshs/config.json`, settings);
  assert.equal((await timed.sandbox.sshs(["--stop", "--all", "--now"], { as: "sshs" })).code, 0);
  await timed.echo("two");
  assert.equal(lingerOf(timed), 420);
});

Deno.test("a master that can forward an agent does not linger unless told to", async () => {
  await using it = await stage("600");
  delete it.sandbox.env.SSHS_LINGER;
  await it.echo("one", "-A");
  await it.sandbox.assertClean(PATIENCE);
});

Deno.test(
  "the sleeper is small, with 50 lanes too",
  { ignore: Deno.build.os !== "linux" },
  async () => {
    await using it = await stage("600", "2");
    let lanes = 0;
    for (const wanted of [1, 50]) {
      // Not all at once: sshd turns away more than ten that have not logged in (MaxStartups).
      while (lanes < wanted) {
        const batch = Array.from({ length: Math.min(8, wanted - lanes) }, () => lanes++);
        await Promise.all(
          batch.map((i) => it.echo(`${i}`, "-o", `ServerAliveInterval=${100 + i}`)),
        );
      }
      await eventually(
        `it holds ${wanted}`,
        () => log(it.sandbox).split("holding").length > wanted,
        PATIENCE,
      );
      assert.equal(it.sandbox.masters().length, wanted);
      const [sleeper, ...others] = it.sandbox.sleepers();
      assert.deepEqual(others, []);
      const kilobytes = (name: string) => {
        const rollup = Deno.readTextFileSync(`/proc/${sleeper.pid}/smaps_rollup`);
        return Number(new RegExp(`${name}:\\s+(\\d+)`).exec(rollup)?.[1]);
      };
      // Within some looks it has given back what taking them needed.
      await eventually(
        `it is small with ${wanted}`,
        () => kilobytes("Rss") <= 45 * 1024 && kilobytes("Private_Dirty") <= 16 * 1024,
        PATIENCE,
      );
    }
  },
);
