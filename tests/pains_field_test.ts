/**
 * Problems with `ControlMaster auto` + `ControlPersist` that were found later in the field. Each test first
 * shows the problem with the stock pair, but for 26, which has plain ssh as its measure. 17, 18 and 25 are in
 * never_worse_test.ts, side by side with plain ssh, as are more cases of 19; 21 is in control_test.ts (it works
 * with the stock pair too), 22 in with_test.ts and 23 in share_always_test.ts.
 */
import assert from "node:assert/strict";
import { addAccount, Agent, useAgentAlone } from "./support/agent.ts";
import { assertQuiet } from "./support/assert_quiet.ts";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { endAll, isAlive, usersOf } from "./support/processes.ts";
import type { RunResult } from "./support/sandbox.ts";
import { Scene } from "./support/scene.ts";
import { canMakeServices, Service } from "./support/service.ts";
import { Session } from "./support/session.ts";
import { ONE_SESSION_A_CONNECTION } from "./support/sshd.ts";
import { StockPair } from "./support/stock_pair.ts";

const LINGERING = { env: { SSHS_LINGER: "60" } };

Deno.test("16: another key under the same name is another account", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  const { home } = scene.sandbox;
  for (const name of ["ann", "bob"]) await addAccount(scene, `${home}/${name}`, name);
  const call = ["-T", "-i", "key", "host"];

  await Deno.copyFile(`${home}/ann`, `${home}/key`);
  assert.equal((await stock.run(call)).stdout, "ann\n");
  const before = scene.logins();
  for (let i = 0; i < 2; i++) assertQuiet(await scene.ssh(call), "ann\n");
  await Deno.copyFile(`${home}/bob`, `${home}/key`);
  assert.equal((await stock.run(call)).stdout, "ann\n", "wrongly, and in silence");
  assertQuiet(await scene.ssh(call), "bob\n");
  assert.equal(scene.logins() - before, 2);
});

Deno.test("16: other keys in the same agent are another account", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  const { home } = scene.sandbox;
  for (const name of ["ann", "bob"]) await addAccount(scene, `${home}/${name}`, name);
  await using agent = await Agent.start(scene.sandbox);
  await useAgentAlone(scene);
  const call = ["-T", "host"];

  await agent.hold(`${home}/ann`);
  assert.equal((await stock.run(call)).stdout, "ann\n");
  assertQuiet(await scene.ssh(call), "ann\n");
  await scene.held();
  await agent.hold(`${home}/bob`);
  assert.equal((await stock.run(call)).stdout, "ann\n", "wrongly, and in silence");
  // The sleeper asks the agent at each look.
  await eventually("the lane is retired", () => !scene.lanes().some(({ open }) => open));
  assertQuiet(await scene.ssh(call), "bob\n");
});

Deno.test("19: no directory is kept busy", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  const cwd = `${scene.sandbox.home}/busy`;
  await Deno.mkdir(cwd);

  await stock.run(["host", "true"], { cwd });
  assert.equal(usersOf(cwd).length, 1);
  await stock.end();
  assertQuiet(await scene.ssh(["host", "true"], { cwd }), "");
  assert.deepEqual([usersOf(cwd).length, scene.sandbox.masters().length], [0, 1]);
});

Deno.test({
  name: "20: the end of the service that called first ends no other call",
  ignore: !canMakeServices,
  fn: async () => {
    await using scene = await Scene.open(LINGERING);
    await using stock = new StockPair(scene);
    for (const call of [stock.argv("host"), ["ssh", "-F", scene.config, "host"]]) {
      await using service = new Service();
      const first = await scene.run(service.argv([...call, "true"]));
      assert.equal(first.code, 0, first.stderr);
      await using session = await Session.open(scene, call);
      await service.stop();
      if (call[0] !== "ssh") await eventually("it is cut off", () => !isAlive(session.pid));
      else await session.finish();
    }
  },
});

Deno.test("31: the end of the build that called first ends no other call", async () => {
  await using scene = await Scene.open(LINGERING);
  // Jenkins ends what carries its cookie.
  const env = { JENKINS_NODE_COOKIE: "build-7" };
  assertQuiet(await scene.ssh(["host", "true"], { env }), "");
  const build = scene.processes().filter(({ environ }) => environ.includes("build-7"));
  assert.notEqual(build.length, 0, "its master, at least");
  await using session = await Session.open(scene);
  await endAll(build.map(({ pid }) => pid));
  await session.finish();
});

Deno.test("24: a server that allows one session per connection is remembered", async () => {
  await using scene = await Scene.open({ config: ONE_SESSION_A_CONNECTION, ...LINGERING });
  await using stock = new StockPair(scene);
  const short = ["host", "true"];

  await using cut = await Session.open(scene, stock.argv("host"));
  await stock.run(short);
  await eventually("the stock pair's session is cut off", () => !isAlive(cut.pid));

  const why = () => scene.run(["sshs", "--why", "-F", scene.config, "host"]);
  const learned = /^direct .*its server allows one session per connection/m;
  // Two in a row that end with their session are enough, unless a busy machine sees the end late.
  for (let i = 0; i < 8 && !learned.test((await why()).stdout); i++) {
    assertQuiet(await scene.ssh(short), "");
    await eventually("the lane is gone", () => scene.lanes().length === 0);
  }
  await using session = await Session.open(scene);
  assertQuiet(await scene.ssh(short), "");
  await session.finish();
  assert.deepEqual(scene.sandbox.masters(), []);
  assert.match((await why()).stdout, learned);
});

Deno.test("26: a slow Match exec runs no more often than necessary", async () => {
  await using scene = await Scene.open(LINGERING);
  const runs = `${scene.sandbox.dir}/runs`;
  const config = await Deno.readTextFile(scene.config);
  await Deno.writeTextFile(
    scene.config,
    `Match exec "echo run >>${runs}; sleep 0.5"\n${config}`,
  );
  const count = () => Deno.readTextFileSync(runs).split("\n").length - 1;
  const call = async () => {
    const before = isThere(runs) ? count() : 0;
    assertQuiet(await scene.ssh(["host", "true"]), "");
    return count() - before;
  };
  await scene.plainSsh(["host", "true"]);
  assert.equal(count(), 1);
  // Once to see that it is slow, and once as plain ssh. A shared call would need one more run.
  assert.deepEqual([await call(), await call()], [2, 2]);
  const why = await scene.run(["sshs", "--why", "-F", scene.config, "host"]);
  assert.match(why.stdout, /^direct .*Match exec takes/m);
});

Deno.test("27: untrusted X11 has a connection of its own, as it ends after a time", async () => {
  await using scene = await Scene.open(LINGERING);
  await using stock = new StockPair(scene);
  // A display needs only a cookie until something is drawn on it.
  const xauth = await scene.sandbox.addProgram(
    "xauth",
    `echo ':99 MIT-MAGIC-COOKIE-1 ${"5a".repeat(16)}'`,
  );
  const options = [`-oXAuthLocation=${xauth}`, "-oForwardX11Trusted=no", "-X", "host", "true"];
  const env = { DISPLAY: ":99" };
  const logins = async (call: () => Promise<RunResult>) => {
    const before = scene.logins();
    for (let i = 0; i < 2; i++) assert.equal((await call()).code, 0);
    return scene.logins() - before;
  };
  assert.equal(await logins(() => stock.run(options, { env })), 1);
  assert.equal(await logins(() => scene.ssh(options, { env })), 2);
  assert.deepEqual(scene.lanes(), []);
});
