import assert from "node:assert/strict";
import { Flight, hasFailedSince, heldFor, isAsking } from "../lib/lane/flight.ts";
import { eventually } from "./support/eventually.ts";
import { needProgram } from "./support/programs.ts";
import { type RunResult, Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const DEADLINE = { deadline: 40_000 };
const MANY = 20;

Deno.test("Flight.tryTake has one holder at a time, and makes the directory anew", async () => {
  const root = await Deno.makeTempDir();
  const dir = `${root}/identity`;
  try {
    {
      using first = Flight.tryTake(dir);
      assert.notEqual(first, undefined);
      assert.equal(Flight.tryTake(dir), undefined);
      await Deno.remove(dir, { recursive: true });
      // The lock on a file that is gone says nothing to who locks its successor.
      using second = Flight.tryTake(dir);
      assert.notEqual(second, undefined);
    }
    using third = Flight.tryTake(dir);
    assert.notEqual(third, undefined);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("heldFor counts from when the present holder took the lock", async () => {
  const dir = await Deno.makeTempDir();
  try {
    assert.equal(heldFor(dir, Date.now()), undefined);
    {
      using _first = Flight.tryTake(dir);
      await Deno.utime(`${dir}/lock`, new Date(), new Date(Date.now() - 60_000));
      assert.ok(heldFor(dir, Date.now())! >= 60_000);
      assert.equal(heldFor(dir, Date.now() - 3_600_000), undefined);
    }
    using _second = Flight.tryTake(dir);
    assert.ok(heldFor(dir, Date.now())! < 30_000);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("Flight tells those who wait of a question and of a failure", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const failedSince = (since: number) => hasFailedSince(dir, since, Date.now());
    const before = Date.now() - 1000;
    assert.equal(failedSince(before), false);
    assert.equal(isAsking(dir), false);
    {
      using flight = Flight.tryTake(dir)!;
      flight.asking(true);
      assert.equal(isAsking(dir), true);
      flight.asking(false);
      assert.equal(isAsking(dir), false);
      flight.asking(true);
      flight.failed();
    }
    assert.equal(failedSince(before), true);
    assert.equal(failedSince(Date.now() + 1000), false);
    // A holder that was killed at its question leaves no word of it to the next one.
    using _next = Flight.tryTake(dir);
    assert.equal(isAsking(dir), false);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

/** Calls sshs many times at the same moment. */
function callMany(
  sandbox: Sandbox,
  args: (i: number) => string[],
  env = {},
): Promise<RunResult[]> {
  return Promise.all(
    Array.from({ length: MANY }, (_, i) => sandbox.sshs(args(i), { env, timeout: 60_000 })),
  );
}

Deno.test(`${MANY} first calls at the same moment make one login, and no word is said`, async () => {
  await using sshd = await Sshd.start({ config: ["MaxSessions 100"] });
  await using sandbox = await Sandbox.create();
  Object.assign(sandbox.env, { SSHS_LOOK: "1", SSHS_LINGER: "1", SSHS_MAX_SESSIONS: "100" });
  await sandbox.ssh(["-F", sshd.config, "host", "true"]); // Which adds the host key.
  const before = sshd.connections();
  const results = await callMany(
    sandbox,
    (i) => ["-F", sshd.config, "host", `echo output ${i}; exit ${i}`],
  );
  for (const [i, { code, stdout, stderr }] of results.entries()) {
    assert.deepEqual([code, stdout, stderr], [i, `output ${i}\n`, ""]);
  }
  assert.equal(sshd.connections() - before, 1);
  // Of those that were started at the same moment all but one go at once.
  await eventually("one sleeper", () => sandbox.sleepers().length === 1, DEADLINE);
  await sandbox.assertClean(DEADLINE);
});

Deno.test(`${MANY} calls to a host that refuses each end as ssh itself does`, async () => {
  await using sshd = await Sshd.start();
  await sshd.stop();
  await using sandbox = await Sandbox.create();
  const plain = await sandbox.ssh(["-F", sshd.config, "host", "true"]);
  assert.match(plain.stderr, /Connection refused/);
  for (const result of await callMany(sandbox, () => ["-F", sshd.config, "host", "true"])) {
    assert.deepEqual(result, plain);
  }
  await eventually("no process is left", () => sandbox.processes().length === 0, DEADLINE);
});

Deno.test("who waited for an attempt that failed does not wait for another one", async () => {
  await using sandbox = await Sandbox.create();
  const real = needProgram("ssh");
  await sandbox.fakeSsh(`case " $* " in
    *" -G "*) exec ${real} "$@" ;;
    *" -M "*) until [ -e ${sandbox.dir}/go ]; do sleep 0.1; done ;;
  esac
  echo refused >&2; exit 255`);
  const calls = callMany(sandbox, () => ["-F", "none", "host"]);
  // Each has looked for a lane once, and then some.
  await eventually("all are under way", () => {
    return sandbox.recorded().filter(([word]) => word === "-G").length === MANY;
  }, DEADLINE);
  await eventually("the processes are in the wait", () => {
    const calling = sandbox.processes().filter(({ args }) => args.includes("--as=ssh"));
    return calling.length === MANY && sandbox.recorded().some(([word]) => word === "-M");
  }, DEADLINE);
  await Deno.writeTextFile(`${sandbox.dir}/go`, "");
  for (const { code, stdout, stderr } of await calls) {
    assert.deepEqual([code, stdout, stderr], [255, "", "refused\n"]);
  }
  const attempts = sandbox.recorded().filter(([word]) => word === "-M").length;
  // One, but for a call that had not yet begun to wait.
  assert.ok(attempts <= 3, `${attempts} attempts`);
  await eventually("no process is left", () => sandbox.processes().length === 0, DEADLINE);
});

Deno.test("when the call that logs in is killed another one takes over", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  const real = needProgram("ssh");
  await sandbox.fakeSsh(
    `case " $* " in *" -M "*)
      if mkdir ${sandbox.dir}/first 2>/dev/null; then exec sleep 600; fi ;;
    esac
    exec ${real} "$@"`,
  );
  const call = ["-F", sshd.config, "host", "echo in"];
  const first = sandbox.spawnSshs(call);
  await eventually(
    "the first attempt",
    () => sandbox.recorded().some(([w]) => w === "-M"),
    DEADLINE,
  );
  const second = sandbox.sshs(call);
  first.kill("SIGKILL");
  await first.stdin.close();
  await first.output();
  assert.equal((await second).stdout, "in\n");
  assert.equal(sshd.logins(), 1);
});
