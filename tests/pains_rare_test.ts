/**
 * The problems of pains_common_test.ts from the ninth on, which are less common. 15 is in commands_test.ts and
 * commands_why_test.ts: the stock pair has nothing to compare with.
 */
import assert from "node:assert/strict";
import { assertQuiet } from "./support/assert_quiet.ts";
import { eventually, pause } from "./support/eventually.ts";
import { Fleet } from "./support/fleet.ts";
import { isThere } from "./support/is_there.ts";
import { endAll, isAlive, signal } from "./support/processes.ts";
import { needProgram } from "./support/programs.ts";
import type { Pty } from "./support/pty.ts";
import { Scene, type SceneOptions } from "./support/scene.ts";
import { Session } from "./support/session.ts";
import { StockPair } from "./support/stock_pair.ts";

const LINGERING = { env: { SSHS_LINGER: "60" } };

Deno.test("9: a home that takes no sockets does not prevent sharing", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  const hello = ["host", "echo hello"];
  const { dir } = scene.sandbox;
  const { stderr } = await stock.run(["-S", "/proc/self/socket", ...hello]);
  assert.match(stderr, /cannot bind to path/, "a file system that takes no socket");

  const env = { HOME: `${dir}/nowhere`, XDG_CONFIG_HOME: undefined, SSHS_DIR: undefined };
  for (const name of ["XDG_RUNTIME_DIR", "TMPDIR"]) {
    const before = scene.logins();
    const call = () => scene.ssh(hello, { env: { ...env, [name]: `${dir}/${name}` } });
    await Deno.mkdir(`${dir}/${name}`);
    for (let i = 0; i < 2; i++) assertQuiet(await call(), "hello\n");
    assert.equal(scene.logins() - before, 1);
  }
  // The scene does not recognize what is outside its state directory as its own.
  await endAll(scene.strays().map(({ pid }) => pid));
});

Deno.test("10: no call is lost in the gap when the linger ends", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "1", SSHS_LOOK: "0.1" } });
  await using stock = new StockPair(scene);
  // The stock pair's master exits while its client connects. A listener that hangs up stands in for it: the
  // gap is some microseconds wide, and no number of calls hits it each time.
  using leaving = Deno.listen({ transport: "unix", path: stock.socket });
  const closing = (async () => {
    for await (const connection of leaving) connection.close();
  })();
  const { code, stderr } = await stock.run(["host", "echo hello"]);
  assert.ok(code !== 0 || stderr !== "");
  leaving.close();
  await closing;

  const start = performance.now();
  const before = scene.logins();
  let calls = 0;
  for (; performance.now() - start < 9_000; calls++) {
    assertQuiet(await scene.ssh(["host", `echo ${calls}`]), `${calls}\n`);
    // Spread over the moment at which the sleeper lets go, and the grace after it.
    await pause(900 + 75 * (calls % 8));
  }
  const logins = scene.logins() - before;
  assert.ok(logins > 1 && logins < calls, `${logins} logins for ${calls} calls`);
});

Deno.test("11: a stale socket leaks no master", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  // ssh holds the output of such a call until it ends.
  const start = ["sh", "-c", '"$@" >/dev/null 2>&1', "sh", ...stock.argv("-MNf", "host")];
  const running = () => scene.processes().filter(({ args }) => args.includes("-MNf"));

  assert.equal((await scene.run(start)).code, 0);
  signal(running().map(({ pid }) => pid), "SIGKILL");
  await eventually("the stock master is gone", () => running().length === 0);
  assert.ok(isThere(stock.socket), "nobody listens there");
  for (let i = 0; i < 3; i++) await scene.run(start);
  assert.equal(running().length, 3, "each without a socket, for ever");
  await stock.end();

  for (let i = 0; i < 3; i++) {
    const { code, stdout } = await scene.ssh(["host", "echo hello"]);
    assert.deepEqual([code, stdout], [0, "hello\n"]);
    await scene.held();
    // A connection that ends with its first session twice in a row is blamed on the server.
    assertQuiet(await scene.ssh(["host", "echo again"]), "again\n");
    const [master, ...others] = scene.sandbox.masters();
    assert.deepEqual([others, scene.strays()], [[], []]);
    // The last time with the sleeper, so that nothing removes the socket.
    const sleepers = i === 2 ? scene.sandbox.sleepers() : [];
    signal([master, ...sleepers].map(({ pid }) => pid), "SIGKILL");
    await eventually("the master is gone", () => !isAlive(master.pid));
    // Until the sleeper knows, a call may become plain ssh, and leave no lane to be held.
    if (i < 2) await eventually("so is the lane", () => scene.lanes().length === 0);
  }
  assert.ok(scene.sandbox.files().some((file) => file.endsWith(".sock")));
  assert.equal((await scene.ssh(["host", "echo hello"])).stdout, "hello\n");
  assert.deepEqual(scene.strays(), []);
});

/** How the server is reached, and the masters for that. */
const WAYS: readonly [way: string, options: SceneOptions, words: string[], masters: number][] = [
  ["directly", {}, [], 1],
  ["through a ProxyCommand", { proxy: true }, [], 1],
  ["through a jump host", { client: { aliases: ["jump"] } }, ["-J", "jump"], 2],
];

for (const [way, options, words, masters] of WAYS) {
  Deno.test(`12: ${way}, neither Ctrl-C nor a closed terminal reaches the master or other sessions`, async () => {
    await using scene = await Scene.open({ ...LINGERING, ...options });
    const call = [...words, "host", "echo up; cat"];
    /** Ends a session from its terminal. */
    const leave = async (argv: readonly string[], end: (pty: Pty) => void) => {
      await using pty = await scene.pty(argv);
      await pty.waitFor("up");
      end(pty);
      await pty.status;
    };
    const interrupt = (pty: Pty) => pty.write("\x03");
    if (masters > 1) {
      await using stock = new StockPair(scene);
      await leave(stock.argv(...call), interrupt);
      await eventually("the stock master is gone", () => !isThere(stock.socket));
    }

    const argv = ["ssh", "-F", scene.config, ...words, "host"];
    await using session = await Session.open(scene, argv);
    const kept = scene.sandbox.masters().map(({ pid }) => pid);
    const before = scene.logins();
    assert.equal(kept.length, masters);
    for (const end of [interrupt, (pty: Pty) => pty.hangup()]) {
      await leave(["ssh", "-F", scene.config, ...call], end);
    }
    await session.finish();
    assert.deepEqual(kept.filter(isAlive), kept);
    assertQuiet(await scene.ssh([...words, "host", "echo after"]), "after\n");
    assert.equal(scene.logins(), before);
  });
}

Deno.test("13: messages of a jump host are shown", async (t) => {
  const call = ["t", "true"];
  for (const way of ["ProxyJump", "ProxyCommand"]) {
    await t.step(way, async () => {
      await using fleet = await Fleet.open({ banner: "Ask the bastion's keeper\n" });
      await using stock = new StockPair(fleet.scene);
      if (way === "ProxyCommand") {
        // By its path, or the stock pair would use ours too.
        const lines = [`ProxyCommand ${needProgram("ssh")} -F ${fleet.scene.config} -W %h:%p b`];
        await fleet.write({ t: { server: fleet.target, lines } });
      }
      // LogLevel ERROR hides banners.
      const config = await Deno.readTextFile(fleet.scene.config);
      await Deno.writeTextFile(fleet.scene.config, config.replaceAll("ERROR", "INFO"));

      const plain = await stock.run(call);
      assert.equal(plain.code, 0, plain.stderr);
      assert.doesNotMatch(plain.stderr, /keeper/);
      await stock.end();

      const ours = await fleet.scene.ssh(call);
      assert.equal(ours.code, 0, ours.stderr);
      assert.match(ours.stderr, /keeper/);
    });
  }
});

Deno.test("14: scp and sftp start a connection that is shared", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  // What scp and sftp pass since OpenSSH 10.0.
  const fromScp = ["-o", "ControlMaster=no"];
  for (let i = 0; i < 2; i++) {
    await scene.plainSsh(["-S", stock.socket, ...fromScp, "host", "true"]);
  }
  assert.equal(scene.logins(), 2);

  const before = scene.logins();
  await Deno.writeTextFile(`${scene.sandbox.home}/file`, "hello\n");
  const options = ["-F", scene.config, ...fromScp];
  assertQuiet(await scene.run(["scp", "-q", ...options, "file", "host:copied"]), "");
  const stdin = "rm copied\n";
  const sftp = await scene.run(["sftp", ...options, "-b", "-", "host"], { stdin });
  assert.equal(sftp.code, 0, sftp.stderr);
  assertQuiet(await scene.ssh(["host", "echo hello"]), "hello\n");
  assert.equal(scene.logins() - before, 1);
});
