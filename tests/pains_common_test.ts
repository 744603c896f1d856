/**
 * The eight most common problems with `ControlMaster auto` + `ControlPersist`, by how often they turn up in
 * public trackers. Each test first shows the problem with the stock pair. Other files test in depth.
 */
import assert from "node:assert/strict";
import { versionOf } from "../lib/ssh/config_dump.ts";
import { account, canMakeAccounts } from "./support/account.ts";
import { assertQuiet } from "./support/assert_quiet.ts";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { signal } from "./support/processes.ts";
import { run } from "./support/programs.ts";
import type { RunResult } from "./support/sandbox.ts";
import { Scene } from "./support/scene.ts";
import { Session } from "./support/session.ts";
import { freePort } from "./support/sshd.ts";
import { StockPair } from "./support/stock_pair.ts";

const LINGERING = { env: { SSHS_LINGER: "60" } };

/** Whether a promise settles within `patience` ms. */
async function settles(promise: Promise<unknown>, patience: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(resolve, patience, false);
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

for (const options of [{}, { proxy: true }] as const) {
  const through = "proxy" in options ? " and a ProxyCommand" : "";
  Deno.test(`1: no pipe of the caller is held, with -v${through}`, async () => {
    await using scene = await Scene.open({ ...options, ...LINGERING });
    await using stock = new StockPair(scene);
    const call = ["-v", "host", "true"];
    const child = scene.sandbox.spawn(stock.argv(...call));
    const output = Promise.all([child.stdout.bytes(), child.stderr.bytes(), child.stdin.close()]);
    assert.equal((await child.status).code, 0);
    assert.ok(!await settles(output, 1000), "the stock pair holds it");
    await stock.end();
    await output;

    // Each of these waits for the end of its pipes.
    assert.match((await scene.ssh(call)).stderr, /Authenticated to |Authentication succeeded/);
    assertQuiet(await scene.ssh(["host", "true"]), "");
    const { stderr } = await scene.ssh(call);
    assert.match(stderr, /mux_client_request_session: master session id/);
    assert.equal(scene.lanes().length, 1);
  });
}

Deno.test("2: simultaneous calls make one login, and no noise", async () => {
  await using scene = await Scene.open({ ...LINGERING, relay: { delayMs: 10 } });
  await using stock = new StockPair(scene);
  const calls = Array.from({ length: 8 }, (_, i) => ["host", `echo ${i}`]);

  const others = await Promise.all(calls.map((words) => stock.run(words)));
  const before = scene.logins();
  assert.ok(before > 1);
  assert.ok(others.some(({ stderr }) => /already exists, disabling multiplexing/.test(stderr)));

  const ours = await Promise.all(calls.map((words) => scene.ssh(words)));
  ours.forEach((result, i) => assertQuiet(result, `${i}\n`));
  assert.equal(scene.logins() - before, 1);
});

Deno.test("3: the eleventh session on an ordinary server finds a place, and no noise", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  await using sessions = new AsyncDisposableStack();
  const last = ["host", "echo last"];

  await stock.run(["host", "true"]);
  for (let i = 0; i < 10; i++) sessions.use(await Session.open(scene, stock.argv("host")));
  assert.match((await stock.run(last)).stderr, /Session open refused by peer/);
  let before = scene.logins();
  await stock.run(last);
  assert.equal(scene.logins() - before, 1, "a login of its own, which nobody after it can use");

  before = scene.logins();
  for (let i = 0; i < 10; i++) sessions.use(await Session.open(scene));
  for (let i = 0; i < 2; i++) assertQuiet(await scene.ssh(last), "last\n");
  assert.equal(scene.logins() - before, 2);
});

Deno.test({
  name: "4: --fresh logs in anew, and has a new group",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using scene = await Scene.open(LINGERING);
    await using stock = new StockPair(scene);
    const groups = ["host", "id -Gn"];
    const group = "games";
    const hasGroup = ({ stdout }: RunResult) => stdout.split(/\s+/).includes(group);

    assert.ok(!hasGroup(await stock.run(groups)));
    assert.ok(!hasGroup(await scene.ssh(groups)));
    await run("usermod", ["-aG", group, (await account()).name]);
    try {
      assert.ok(!hasGroup(await stock.run(groups)));
      const fresh = await scene.run(["sshs", "--fresh", "-F", scene.config, ...groups]);
      assert.ok(hasGroup(fresh), fresh.stderr);
      assert.ok(hasGroup(await scene.ssh(groups)), "who comes now has the new login too");
    } finally {
      await run("gpasswd", ["--delete", scene.user.name, group]);
    }
  },
});

Deno.test("5: two accounts with two keys on one host stay apart", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  const { sandbox, sshd } = scene;
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", `${sandbox.dir}/key`]);
  const mine = await Deno.readTextFile(`${sshd.dir}/authorized_keys`);
  const other = await Deno.readTextFile(`${sandbox.dir}/key.pub`);
  // As on a git host: the key identifies the account.
  await Deno.writeTextFile(
    `${sshd.dir}/authorized_keys`,
    `command="echo ann" ${mine.trim()}\ncommand="echo bob" ${other}`,
  );
  const asAnn = ["-T", "-i", `${sshd.dir}/user_key`, "host"];
  const asBob = ["-T", "-i", `${sandbox.dir}/key`, "host"];

  assert.equal((await stock.run(asAnn)).stdout, "ann\n");
  assert.equal((await stock.run(asBob)).stdout, "ann\n", "wrongly, and in silence");

  const before = scene.logins();
  assertQuiet(await scene.ssh(asAnn), "ann\n");
  assertQuiet(await scene.ssh(asBob), "bob\n");
  assertQuiet(await scene.ssh(asAnn), "ann\n");
  assert.equal(scene.logins() - before, 2);
});

Deno.test("6: a forwarded port is closed with the call that asked for it", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  const isBound = async (port: number) => {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return false;
      throw error;
    }
  };
  const forward = (port: number) => ["-L", `${port}:127.0.0.1:${scene.port}`, "host", "true"];
  const [first, second] = [freePort(), freePort()];

  assert.equal((await stock.run(forward(first))).code, 0);
  assert.ok(await isBound(first));

  assertQuiet(await scene.ssh(["host", "true"]), "");
  assertQuiet(await scene.ssh(forward(second)), "");
  assert.ok(!await isBound(second));
});

Deno.test("6: -f returns at once, and its session goes on", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  const [go, done] = ["go", "done"].map((name) => `${scene.user.home}/${name}`);
  const session = `until [ -e ${go} ]; do sleep 0.1; done; touch ${done}`;
  const comesBack = async (argv: readonly string[], patience: number) => {
    const script = 'exec "$@" >/dev/null 2>&1'; // The process in the background would hold them.
    const child = scene.sandbox.spawn(["sh", "-c", script, "sh", ...argv]);
    const ended = Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
    const came = await settles(ended, patience);
    await Deno.writeTextFile(go, "");
    await eventually("the session has ended", () => isThere(done));
    await ended;
    await child.stdin.close();
    await Promise.all([go, done].map((path) => Deno.remove(path)));
    return came;
  };
  await stock.run(["host", "true"]);
  const [major, minor] = versionOf((await scene.plainSsh(["-V"])).stderr);
  // Before OpenSSH 9.4, -f blocks over a master (its release notes).
  const blocks = major < 9 || (major === 9 && minor < 4);
  const argv = stock.argv("-f", "host", session);
  assert.equal(await comesBack(argv, blocks ? 2_000 : 20_000), !blocks);

  assertQuiet(await scene.ssh(["host", "true"]), "");
  assert.ok(await comesBack(["ssh", "-F", scene.config, "-f", "host", session], 20_000));
});

Deno.test("7: a missing directory, or too long a path, does not keep the command from running", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  const long = `${scene.sandbox.dir}/${"long".repeat(30)}`;
  await Deno.mkdir(long);
  const missing = `${scene.sandbox.dir}/missing/socket`;
  const hello = ["host", "echo hello"];

  const tooLong = await stock.run(["-S", `${long}/socket`, ...hello]);
  assert.deepEqual([tooLong.code, tooLong.stdout], [255, ""]);
  assert.match((await stock.run(["-S", missing, ...hello])).stderr, /No such file or directory/);

  // Missing directories are created if that is ours to do; too long a path is reported.
  assertQuiet(await scene.ssh(hello), "hello\n");
  const env = { SSHS_DIR: `${long}/s` };
  const { code, stdout, stderr } = await scene.ssh(hello, { env });
  assert.deepEqual([code, stdout], [0, "hello\n"]);
  assert.match(stderr, /^sshs: not shared: [^\n]*\nsshs: hint: [^\n]*SSHS_DIR[^\n]*\n$/);
  assertQuiet(await scene.ssh(["-q", ...hello], { env }), "hello\n");
});

Deno.test("8: a connection that died during sleep is detected and replaced", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  const hello = ["host", "echo hello"];
  /** Makes the server silent on open connections; it still answers new ones. */
  const fallSilent = () => signal(scene.sshd.children(), "SIGSTOP");

  await stock.run(hello);
  fallSilent();
  const hanging = scene.sandbox.spawn(stock.argv(...hello));
  assert.ok(!await settles(hanging.status, 1000));
  assert.match((await stock.run(["-O", "check", "host"])).stderr, /Master running/);
  await stock.end();
  await Promise.all([hanging.stdin.close(), hanging.stdout.cancel(), hanging.stderr.cancel()]);

  await scene.ssh(hello);
  await scene.held();
  fallSilent();
  const { code, stdout, stderr } = await scene.ssh(hello);
  assert.deepEqual([code, stdout], [0, "hello\n"]);
  assert.match(stderr, /^(mux_client_request_session: [^\n]*\n)?$/);
  // Lets the processes of the server end.
  scene.sshd.thaw();
});
