/** A link that silently drops everything (Relay): new calls leave it, and open sessions survive it. */
import assert from "node:assert/strict";
import { durationOf, eventually, pause } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { isAlive } from "./support/processes.ts";
import { Scene } from "./support/scene.ts";
import { Session } from "./support/session.ts";

const PATIENCE = { deadline: 60_000 };
/** How long a call may take on a link that is dead, ms, apart from logins. */
const OUT_WITHIN = 6_000;
/** At most ssh's message when its master ends before its session is open. */
const RESCUED = /^(mux_client_request_session: [^\n]*\n)?$/;

/** Opens a scene whose server is known to answer pings: only such a one is asked while a session is open. */
async function open(): Promise<Scene> {
  const scene = await Scene.open({ relay: {}, env: { SSHS_LINGER: "600", SSHS_LOOK: "1" } });
  await scene.ssh(["host", "true"]);
  await scene.held();
  return scene;
}

/** The same, with a lane to a server that has answered in an idle moment. */
async function openKnown(): Promise<Scene> {
  const scene = await open();
  await scene.ssh(["host", "true"]);
  await eventually(
    "it is known",
    () => scene.sandbox.files().some((file) => /pings$/.test(file)),
    PATIENCE,
  );
  return scene;
}

/** Asserts that a call works: on a connection of its own, in time, and only once. */
async function assertGetsOut(scene: Scene, noise: RegExp = RESCUED): Promise<void> {
  const { sessions, logins } = { sessions: scene.sshd.sessions(), logins: scene.logins() };
  const runs = `${scene.user.home}/runs`;
  const started = performance.now();
  const { code, stdout, stderr } = await scene.ssh([
    "host",
    `echo run >>${runs}; cat; exit 3`,
  ], { stdin: "input" });
  const took = performance.now() - started;
  assert.deepEqual([code, stdout], [3, "input"], stderr);
  assert.match(stderr, noise);
  assert.equal(await Deno.readTextFile(runs), "run\n");
  assert.equal(scene.sshd.sessions() - sessions, 1);
  assert.equal(scene.logins() - logins, 1);
  await Deno.remove(runs);
  // A login now shows how slow the machine is.
  const login = await durationOf(scene.plainSsh(["host", "true"]));
  const limit = OUT_WITHIN + 5 * login;
  assert.ok(took < limit, `after ${took} ms, not ${limit}: ${scene.sleeperLog()}`);
}

/** How long before a call its idle link died: nobody can know yet, or the sleeper knows. */
const DIED: Readonly<Record<string, (scene: Scene, mark: string) => Promise<unknown>>> = {
  "just before it": () => Promise.resolve(),
  "before the sleeper noticed": (_, mark) =>
    eventually("the mark is withdrawn", () => !isThere(mark), PATIENCE),
};

for (const [when, wait] of Object.entries(DIED)) {
  Deno.test(`a call whose idle link died ${when} works within 6 s`, async () => {
    await using scene = await open();
    const mark = scene.fileOf(".verified");
    scene.relay.cutOpen();
    await wait(scene, mark);
    await assertGetsOut(scene);
    // The next call works at once.
    const { stdout, stderr } = await scene.ssh(["host", "echo next"]);
    assert.deepEqual([stdout, stderr], ["next\n", ""]);
  });
}

Deno.test("calls leave a silent link with an open session once it is noticed, and the session continues when it is back", async () => {
  await using scene = await openKnown();
  await using session = await Session.open(scene);
  await scene.held();
  const mark = scene.fileOf(".verified");
  scene.relay.cutOpen();
  // No session is ended for the sake of another. The far end is asked every 15 s.
  await eventually("the mark is withdrawn", () => !isThere(mark), PATIENCE);
  await assertGetsOut(scene, /^$/);
  scene.relay.restore();
  await session.finish();
});

Deno.test("a session survives a link that is dead for longer than an answer may take", async () => {
  await using scene = await open();
  const go = `${scene.user.home}/go`;
  const call = scene.ssh(["host", `until [ -e ${go} ]; do sleep 0.1; done; echo slept; exit 3`]);
  await eventually("it runs", () => scene.sshd.sessions() === 2, PATIENCE);
  scene.relay.cut();
  const isSilent = () => /no answer/.test(scene.sleeperLog());
  await eventually("there is no answer", isSilent, PATIENCE);
  await Deno.writeTextFile(go, "");
  scene.relay.restore();
  const { code, stdout, stderr } = await call;
  assert.deepEqual([code, stdout, stderr], [3, "slept\n", ""]);
  await Deno.remove(go);
});

Deno.test("an upload that fills the link's buffers survives, and does not retire the lane", async () => {
  // The 2 MB that ssh sends ahead (CHAN_SES_WINDOW_DEFAULT) wait there for 5 s, and every ping behind them.
  await using scene = await Scene.open({
    relay: { bytesPerSecond: 400 << 10 },
    env: { SSHS_LINGER: "600", SSHS_LOOK: "1" },
  });
  await scene.ssh(["host", "true"]);
  await scene.held();
  const size = 8 << 20;
  const { code, stdout, stderr } = await scene.run(
    ["sh", "-c", 'head -c "$1" /dev/zero | ssh -F "$0" host "wc -c"', scene.config, `${size}`],
    { timeout: 120_000 },
  );
  assert.deepEqual([code, stdout.trim(), stderr], [0, `${size}`, ""]);
  assert.match(scene.sleeperLog(), /no answer/, "it was late");
  const { stdout: next } = await scene.ssh(["host", "echo next"]);
  assert.equal(next, "next\n");
  assert.equal(scene.logins(), 1);
});

Deno.test("a sleeper that continues after a stop withdraws the mark at once", async () => {
  await using scene = await openKnown();
  await using session = await Session.open(scene);
  await scene.held();
  const mark = scene.fileOf(".verified");
  const [{ pid }] = scene.sandbox.sleepers();
  scene.relay.cutOpen();
  Deno.kill(pid, "SIGSTOP");
  await pause(4000); // Long enough to be noticed.
  assert.equal(isThere(mark), true);
  Deno.kill(pid, "SIGCONT");
  await eventually("the mark is withdrawn", () => !isThere(mark), PATIENCE);
  // Not for an answer that it has missed: it would wait 3 s for that.
  assert.match(scene.sleeperLog(), /in doubt: time has passed unseen\n(?![^]*no answer)/);
  await assertGetsOut(scene, /^$/);
  scene.relay.restore();
  await session.finish();
});

Deno.test("with the sleeper dead the call itself detects a dead link", async () => {
  await using scene = await open();
  await using session = await Session.open(scene);
  await scene.held();
  const mark = scene.fileOf(".verified");
  const [{ pid }] = scene.sandbox.sleepers();
  Deno.kill(pid, "SIGKILL");
  await eventually("it is dead", () => !isAlive(pid));
  scene.relay.cutOpen();
  Deno.utimeSync(mark, 1, 1); // As if 20 s had passed.
  await assertGetsOut(scene, /^$/);
  scene.relay.restore();
  await session.finish();
});
