/**
 * Calls at the same moment, of which all but one wait: what happens if a process that they depend on is
 * killed or stopped, or if the system lacks what they wait with.
 */
import assert from "node:assert/strict";
import { readText } from "../lib/os/files.ts";
import { durationOf, eventually, pause } from "./support/eventually.ts";
import { isAlive } from "./support/processes.ts";
import { findProgram, needProgram } from "./support/programs.ts";
import { Scene, type SceneOptions } from "./support/scene.ts";

/** For what takes as long as the machine does. */
const PATIENCE = { deadline: 60_000 };

/** How long a call waits at most, s: for a plan, and for a login or a place under BatchMode. */
const LIMITS = { plan: 10, lane: 3 };
/** What a busy machine may take beyond that for 30 plain logins, s. */
const SLACK = 30;

/**
 * Closes what the tests were started with, which the launcher takes for the caller's; then makes `$2` calls at
 * once, each of which leaves its output and its status in `$1`.
 */
const BURST = `for fd in /proc/self/fd/??*; do eval "exec \${fd##*/}>&-"; done 2>/dev/null
  dir=$1 count=$2; shift 2; mkdir "$dir"
  for i in $(seq "$count"); do
    { "$@" "echo $i; exit $i" >"$dir/$i" 2>&1; echo "status $?" >>"$dir/$i"; } &
  done; wait`;

/** Calls that were made at the same moment. */
class Burst {
  readonly scene: Scene;
  readonly count: number;
  readonly #dir = Deno.makeTempDirSync({ prefix: "burst-" });
  readonly end: Promise<unknown>;

  constructor(scene: Scene, count: number, args: readonly string[] = [], before: string[] = []) {
    this.scene = scene;
    this.count = count;
    const call = ["ssh", ...args, "-F", scene.config, "host"];
    const argv = [
      needProgram("bash"),
      "-c",
      BURST,
      "bash",
      `${this.#dir}/out`,
      `${count}`,
      ...call,
    ];
    this.end = scene.run([...before, ...argv], { timeout: 120_000 });
  }

  /** What each call that has ended gave, and its status. */
  results(): string[] {
    const texts = Array.from({ length: this.count }, (_, i) => {
      return readText(`${this.#dir}/out/${i + 1}`) ?? "";
    });
    return texts.filter((text) => /status \d+\n$/.test(text));
  }

  /** Waits for the end, and asserts that all but `lost` calls, which were killed, did what they should. */
  async assertWorks(what: string, lost = 0): Promise<void> {
    await this.end;
    const expected = Array.from({ length: this.count }, (_, i) => `${i + 1}\nstatus ${i + 1}\n`);
    const others = this.results().filter((result) => !expected.includes(result));
    assert.equal(this.results().length, this.count, what);
    assert.deepEqual(others, Array(lost).fill("status 137\n"), what);
    await eventually(`${what}: no pipe and no process is left`, () => {
      // A killed ticker leaves its file to the next.
      const pipes = this.scene.sandbox.files().filter((file) => /^waiting\/.*\./.test(file));
      return pipes.length === 0 && this.scene.strays().length === 0;
    }, PATIENCE);
    Deno.removeSync(this.#dir, { recursive: true });
  }
}

/** When a call has got so far that something happens to it: the others wait, or take places. */
const MOMENTS = {
  plan: (scene: Scene) => scene.waiting("plan").length === 29,
  login: (scene: Scene) => scene.waiting("lane").length === 29,
  places: (scene: Scene) => scene.lanes().some(({ open, leases }) => open && leases.length > 0),
};

/** The pids of the processes on which the calls depend; NaN if there is none yet. */
const VICTIMS = {
  "the call that asks": (scene: Scene) =>
    Number(/ --decide (\d+) /.exec(scene.starts().at(-1) ?? "")?.[1]),
  "the program": (scene: Scene) =>
    Number(scene.processes().find(({ args }) => /^\S*sh .* --decide /.test(args.join(" ")))?.pid),
  "the call that logs in": (scene: Scene) =>
    Number(pidsIn(scene, /\/starter\.\d+$/).find((pid) => isAlive(pid))),
  "its ssh": (scene: Scene) =>
    Number(scene.sandbox.masters().find(({ pid, sid }) => pid !== sid)?.pid),
  "the sleeper": (scene: Scene) => Number(scene.sandbox.sleepers()[0]?.pid),
  "the ticker": (scene: Scene) => Number(pidsIn(scene, /^waiting\/ticker$/)[0]),
  "a session": (scene: Scene) => parseInt(scene.lanes().flatMap(({ leases }) => leases)[0]),
};

/** The pids with which the files in the state directory begin whose names match. */
function pidsIn({ sandbox }: Scene, name: RegExp): number[] {
  return sandbox.files().filter((file) => name.test(file))
    .map((file) => parseInt(readText(`${sandbox.stateDir}/${file}`) ?? ""));
}

/** Who is killed or stopped when; `apart` are the signals after which the others may log in by themselves. */
const FAULTS: readonly [
  moment: keyof typeof MOMENTS,
  victim: keyof typeof VICTIMS,
  apart: readonly Deno.Signal[],
][] = [
  ["plan", "the call that asks", []],
  ["plan", "the program", ["SIGKILL", "SIGSTOP"]],
  ["plan", "the ticker", []],
  ["login", "the call that logs in", ["SIGSTOP"]],
  ["login", "its ssh", ["SIGSTOP"]],
  ["login", "the sleeper", ["SIGSTOP"]], // a look a second, for three
  ["login", "the ticker", []],
  ["places", "the sleeper", ["SIGSTOP"]],
  ["places", "the ticker", []],
  ["places", "a session", []],
];

Deno.test("30 calls work whoever is killed or stopped among those that they depend on", async () => {
  await Promise.all((["SIGKILL", "SIGSTOP"] as const).map(async (signal) => {
    await using scene = await Scene.open({ config: ["MaxStartups 200"], relay: {} });
    for (const [row, [moment, victim, apart]] of FAULTS.entries()) {
      const what = `${moment}: ${signal} for ${victim}`;
      const goOn = moment === "plan" ? await scene.holdDeno() : () => {};
      if (moment === "login") scene.relay.cut();
      const before = scene.connections();
      // A connection of its own for each row.
      const burst = new Burst(scene, 30, [
        "-oBatchMode=yes",
        `-oServerAliveInterval=${100 + row}`,
      ]);
      const pid = await eventually(what, () => {
        return MOMENTS[moment](scene) && VICTIMS[victim](scene);
      }, PATIENCE);
      Deno.kill(pid, signal);
      await goOn();
      scene.relay.restore();
      const isCall = /^the call|session/.test(victim);
      const others = isCall || victim === "its ssh" ? 29 : 30;
      const took = await durationOf(
        eventually(what, () => burst.results().length >= others, PATIENCE),
      );
      if (signal === "SIGSTOP" && isAlive(pid)) Deno.kill(pid, "SIGCONT");
      await burst.assertWorks(what, isCall && signal === "SIGKILL" ? 1 : 0);
      const limit = moment === "plan" ? LIMITS.plan : LIMITS.lane;
      assert.ok(took < (limit + SLACK) * 1000, `${what}: ${took} ms`);
      const logins = scene.connections() - before;
      assert.ok(apart.includes(signal) || logins <= 15, `${what}: ${logins} logins`);
    }
    await Deno.remove(`${scene.sandbox.stateDir}/waiting/ticker`).catch(() => {});
    await scene.assertClean();
  }));
});

/** What a system lacks, or the calls have, and what is put before them. */
const BURSTS: readonly [what: string, options: SceneOptions, lacks: string, args: string[]][] = [
  ["named pipes", {}, "mkfifo", []],
  ["named pipes, by a proxy", { proxy: true }, "mkfifo", []],
  ["nothing, and long words", {}, "", [`-oUserKnownHostsFile=~/${"long/".repeat(60)}`]],
];

Deno.test("30 calls share where the system lacks named pipes, and with long words", async () => {
  await Promise.all(BURSTS.map(async ([what, options, lacks, args]) => {
    await using scene = await Scene.open({ ...options, config: ["MaxStartups 200"] });
    if (lacks) await scene.sandbox.addProgram(lacks, "exit 1");
    const words = args.map((arg) => arg.replace("=", `=${scene.config}.known_hosts `));
    await new Burst(scene, 30, words).assertWorks(what);
    await new Burst(scene, 30, words).assertWorks(what);
    assert.ok(scene.logins() <= 15, `${what}: ${scene.logins()} logins`);
    const asked = scene.starts().filter((start) => start.includes(" --decide ")).length;
    assert.ok(asked <= 4, `${what}: asked ${asked} times`);
    await scene.assertClean();
  }));
});

Deno.test("10 calls start a Deno that never answers once, and are plain soon after", async () => {
  await using scene = await Scene.open({ config: ["MaxStartups 200"] });
  const { sandbox } = scene;
  await sandbox.addProgram("deno", `echo "$*" >>'${sandbox.dir}/starts'; exec sleep 30`);
  const burst = new Burst(scene, 10);
  assert.ok(await durationOf(burst.end) < 25_000);
  await burst.assertWorks("all plain");
  assert.deepEqual([scene.starts().length, scene.logins()], [1, 10]);
  await scene.assertClean();
});

Deno.test("each call has its own patience with a login that does not go on", async () => {
  await using scene = await Scene.open({ relay: {} });
  scene.relay.cut();
  const first = new Burst(scene, 1);
  const starter = await eventually("it logs in", () => {
    return VICTIMS["the call that logs in"](scene);
  }, PATIENCE);
  Deno.kill(starter, "SIGSTOP");
  const args = [["-oBatchMode=yes"], ["-oConnectTimeout=9"], []];
  const bursts = args.map((args) => new Burst(scene, 1, args));
  await eventually("they wait", () => scene.waiting("lane").length === 3, PATIENCE);
  scene.relay.restore();
  await Promise.all([bursts[0].end, bursts[1].end]);
  await pause(3000);
  assert.equal(scene.waiting("lane").length, 1, "two minutes");
  Deno.kill(starter, "SIGCONT");
  await Promise.all([first, bursts[2]].map((burst) => burst.end));
  for (const burst of [first, ...bursts]) await burst.assertWorks("in the end");
  assert.equal(scene.logins(), 3);
});

/** Where there is no strace the test is skipped. */
const STRACE = findProgram("strace");

Deno.test({
  name: "a call that waits starts at most eight programs",
  ignore: !STRACE,
  fn: async () => {
    await using scene = await Scene.open({ relay: {} });
    assert.equal((await scene.ssh(["host", "true"])).code, 0);
    await eventually("no lane is left", () => scene.lanes().length === 0, PATIENCE);
    scene.relay.cut();
    const trace = `${scene.sandbox.dir}/trace`;
    const burst = new Burst(scene, 10, [], [STRACE!, "-f", "-qq", "-eexecve", "-z", "-o", trace]);
    await eventually("all but one wait", () => scene.waiting("lane").length === 9, PATIENCE);
    await pause(3000);
    scene.relay.restore();
    await burst.assertWorks("traced");
    // Less what makes the burst, the ticker's, which is one for all, and the sleeper.
    const other = /"bash"|"seq"|"sleep", "1"|--sleeper/;
    const starts = Deno.readTextFileSync(trace).split("\n")
      .filter((line) => line.includes("execve(") && !other.test(line));
    assert.ok(starts.length <= 10 * 8, `${starts.length} programs:\n${starts.join("\n")}`);
  },
});
