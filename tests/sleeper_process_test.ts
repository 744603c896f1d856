/** The sleeper as a process: one at a time, detached from what started it, idle until it is woken. */
import assert from "node:assert/strict";
import { cutLog, logLine } from "../lib/os/log.ts";
import { watchFile } from "../lib/os/watch_file.ts";
import { isOpen } from "../lib/lane/lane.ts";
import { Alarm } from "../lib/sleeper/alarm.ts";
import { Sleeper } from "../lib/sleeper/sleeper.ts";
import { isOlder, sleeperPid, takeSleeperFile, tellSleeper } from "../lib/sleeper/sleeper_file.ts";
import { realSystem } from "../lib/os/system.ts";
import { VERSION } from "../lib/os/program.ts";
import { eventually, pause } from "./support/eventually.ts";
import { processes } from "./support/processes.ts";
import { Sandbox } from "./support/sandbox.ts";
import { SleeperStage } from "./support/sleeper_stage.ts";

const PATIENCE = { deadline: 30_000 };

Deno.test("only one of the sleepers started at once stays; a newer version takes over", async () => {
  await using stage = await SleeperStage.create();
  const lane = await stage.open();
  const file = `${stage.sandbox.stateDir}/sleeper`;
  await stage.hold(lane);
  const given = { stateDir: stage.sandbox.stateDir, spaces: "" };
  const rival = () => new Sleeper(given, stage.system).run();
  assert.deepEqual(await Promise.all([rival(), rival()]), [0, 0]);
  assert.equal(sleeperPid(stage.sandbox.stateDir, realSystem), Deno.pid);
  Deno.writeTextFileSync(file, `${Deno.pid}\n0.0.9\n\n\n`);
  const old = stage.gone();
  stage.wake();
  assert.equal(await old, 0, "it goes at once, though nothing is to be done");
  const [pid, version, descriptor] = Deno.readTextFileSync(file).split("\n");
  assert.deepEqual([pid, version], [`${Deno.pid}`, VERSION]);
  assert.equal(Deno.readLinkSync(`/proc/${pid}/fd/${descriptor}`), Deno.realPathSync(file));
  assert.equal(isOpen(lane), true);
  await eventually("it is held", () => stage.log().split("holding").length === 3, PATIENCE);
});

Deno.test("sleeperPid is that of the sleeper that is awake, or else being started", async () => {
  const dir = await Deno.makeTempDir();
  try {
    assert.equal(sleeperPid(dir, realSystem), undefined);
    Deno.writeTextFileSync(`${dir}/sleeper`, `${Deno.pid}\n${VERSION}\n\n\n`);
    assert.equal(sleeperPid(dir, realSystem), undefined, "its pid is another's now");
    Deno.writeTextFileSync(`${dir}/sleeper.start`, `${Deno.ppid} 17\n`);
    assert.equal(sleeperPid(dir, realSystem), Deno.ppid);
    using file = takeSleeperFile({ stateDir: dir, spaces: "" }, { pid: Deno.pid });
    assert.equal(sleeperPid(dir, realSystem), Deno.pid);
    assert.equal(file?.isMine(), true);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("tellSleeper writes to the file that it watches, and has the launcher start it", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const runs: unknown[] = [];
    const run = (...call: unknown[]) => {
      runs.push(call);
      return Promise.reject(Object.assign(new Error("Cannot fork"), { code: "EAGAIN" }));
    };
    await tellSleeper(dir, { library: "/lib/sshs" }, { run });
    assert.deepEqual(runs, [
      ["/bin/sh", ["/lib/sshs/bin/ssh"], { env: { SSHS_TASK: "wake", SSHS_DIR: dir } }],
    ]);
    assert.equal(Deno.readTextFileSync(`${dir}/used`), "\n");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test(
  "detach leaves the session, the directory and the open files of the caller",
  {
    ignore: Deno.build.os !== "linux",
  },
  async () => {
    await using sandbox = await Sandbox.create();
    const libc = new URL("../lib/os/libc.ts", import.meta.url).href;
    const program = `${sandbox.dir}/detached.ts`;
    const lines = [
      `import { detach } from "${libc}";`,
      "detach();",
      "console.log(Deno.pid);",
      "await Deno.stdin.read(new Uint8Array(1));",
    ];
    await Deno.writeTextFile(program, lines.join("\n"));
    const deno = [Deno.execPath(), "run", "--quiet", "--no-check", "--no-config", "--allow-all"];
    const script = '(exec 9>"$HOME/held"; exec "$@") & wait';
    const child = sandbox.spawn([
      "sh",
      "-c",
      `exec 8<&0; ${script.replace("&", "<&8 &")}`,
      "sh",
      ...deno,
      program,
    ]);
    const reader = child.stdout.getReader();
    const pid = parseInt(new TextDecoder().decode((await reader.read()).value));
    assert.equal(processes().find((process) => process.pid === pid)?.sid, pid);
    assert.equal(Deno.readLinkSync(`/proc/${pid}/cwd`), "/");
    const open = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) =>
      Deno.readLinkSync(`/proc/${pid}/fd/${name}`)
    );
    assert.equal(open.includes(`${sandbox.home}/held`), false, open.join(" "));
    await child.stdin.close();
    while (!(await reader.read()).done);
    assert.equal(await child.stderr.text(), "");
    assert.equal((await child.status).code, 0);
  },
);

Deno.test("isOlder compares number by number", () => {
  for (const [version, other] of [["0.1.0", "0.1.1"], ["0.9.0", "0.10.0"], ["", "0.1.0"]]) {
    assert.equal(isOlder(version, other), true, `${version} ${other}`);
    assert.equal(isOlder(other, version), false, `${other} ${version}`);
  }
  assert.equal(isOlder("1.0.0", "1.0.0"), false);
});

Deno.test("Alarm rings when it is due, and no later than it is told", async () => {
  const alarm = new Alarm();
  const wait = async (ms: number) => {
    const start = performance.now();
    await alarm.wait(ms);
    return performance.now() - start;
  };
  assert.ok(await wait(30) >= 29);
  alarm.within(10);
  assert.ok(await wait(Infinity) < 10_000, "told before");
  setTimeout(() => alarm.within(10), 10);
  assert.ok(await wait(60_000) < 10_000, "told meanwhile");
  setTimeout(() => alarm.within(60_000), 10);
  assert.ok(await wait(50) < 10_000, "and never later than it was due");
});

for (const isThere of [true, false]) {
  const name = isThere ? "reports" : "polls if it cannot be watched, and reports";
  Deno.test(`watchFile ${name} a write by sh, a removal, and a new file after it`, async () => {
    const dir = await Deno.makeTempDir();
    const path = `${dir}/used`;
    let told = 0;
    const tells = async (what: string) => {
      await eventually(what, () => told > 0, PATIENCE);
      await pause(50); // For the rest of the same change.
      told = 0;
    };
    if (isThere) await Deno.writeTextFile(path, "");
    {
      using _watch = watchFile(path, () => told++);
      await pause(50);
      await new Deno.Command("sh", { args: ["-c", 'true >"$0"', path] }).output();
      await tells("the write");
      await Deno.remove(path);
      await tells("the removal");
      await Deno.writeTextFile(path, "");
      await tells("its successor");
    }
    await Deno.remove(dir, { recursive: true });
  });
}

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
