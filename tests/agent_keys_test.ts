/** The keys in an agent: what it answers, and which of them ssh offers. */
import assert from "node:assert/strict";
import { agentKeys, agentOf, isOpenSshAgent, offeredKeys } from "../lib/ssh/agent.ts";
import { Agents } from "../lib/sleeper/lane_agent.ts";
import { realSystem } from "../lib/os/system.ts";
import { parseConfigDump } from "../lib/ssh/config_dump.ts";
import { parseTokens, TOKENS_PATH } from "../lib/ssh/tokens.ts";
import { Agent } from "./support/agent.ts";
import { needProgram, run } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

/** Makes a key in the sandbox; resolves to its public part, as agentKeys() writes it. */
async function makeKey(
  { dir }: Sandbox,
  name: string,
  ...options: readonly string[]
): Promise<string> {
  const file = `${dir}/${name}`;
  await run("ssh-keygen", ["-q", "-N", "", "-C", "a comment", ...options, "-f", file]);
  return keyIn(`${file}.pub`);
}

function keysOf(agent: Agent): ReturnType<typeof agentKeys> {
  return agentKeys(agent.socket, { deadline: 5000 });
}

function keyIn(path: string): string {
  return Deno.readTextFileSync(path).split(" ")[1].trim();
}

Deno.test("agentKeys lists the keys of a real agent, in its order", async () => {
  await using sandbox = await Sandbox.create();
  await using agent = await Agent.start(sandbox);
  assert.deepEqual(await keysOf(agent), []);
  const [a, b] = [
    await makeKey(sandbox, "a", "-t", "ed25519"),
    await makeKey(sandbox, "b", "-t", "rsa", "-b", "2048"),
  ];
  await run("ssh-keygen", ["-q", "-s", `${sandbox.dir}/b`, "-I", "me", `${sandbox.dir}/a.pub`]);
  await agent.add(`${sandbox.dir}/b`);
  await agent.add(`${sandbox.dir}/a`); // and its certificate
  assert.deepEqual(await keysOf(agent), [b, a, keyIn(`${sandbox.dir}/a-cert.pub`)]);
  await agent.add("-D");
  assert.deepEqual(await keysOf(agent), []);
});

Deno.test("agentKeys takes a long list", async () => {
  await using sandbox = await Sandbox.create();
  await using agent = await Agent.start(sandbox);
  const keys: string[] = [];
  for (let i = 0; i < 40; i++) keys.push(await makeKey(sandbox, `k${i}`, "-t", "ed25519"));
  await agent.add(...keys.map((_, i) => `${sandbox.dir}/k${i}`));
  assert.deepEqual(await keysOf(agent), keys);
});

/** Listens on a socket while `test` runs, and calls `serve` for each connection. */
async function withListener(
  serve: (conn: Deno.Conn) => Promise<unknown>,
  test: (socket: string) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  const listener = Deno.listen({ transport: "unix", path: `${dir}/socket` });
  const served = (async () => {
    for await (const conn of listener) {
      await serve(conn).catch(() => {}); // the other side has given up
      conn.close();
    }
  })();
  await test(`${dir}/socket`);
  listener.close();
  await served;
  await Deno.remove(dir, { recursive: true });
}

Deno.test("agentKeys waits no longer than its deadline", async () => {
  const silent = async (conn: Deno.Conn) => {
    while (await conn.read(new Uint8Array(64)) !== null);
  };
  await withListener(silent, async (socket) => {
    const start = performance.now();
    assert.equal(await agentKeys(socket, { deadline: 100 }), "silent");
    assert.ok(performance.now() - start < 10_000);
  });
});

Deno.test("agentKeys does not trust an agent's answer", async () => {
  const rows: [answer: number[], expected: unknown][] = [
    [[0, 0, 0, 1, 5], []], // refused
    [[0, 0, 0, 5, 12, 0, 0, 0, 0], []],
    [[], "silent"],
    [[0, 0, 0, 0], "silent"],
    [[255, 255, 255, 255, 12], "silent"],
    [[0, 0, 0, 1, 6], "silent"],
    [[0, 0, 0, 5, 12, 255, 255, 255, 255], "silent"],
    [[0, 0, 0, 5, 12, 0, 0, 0, 1], "silent"],
    [[0, 0, 0, 9, 12, 0, 0, 0, 1, 255, 255, 255, 255], "silent"],
    [[0, 0, 0, 9, 12, 0, 0], "silent"],
    // An empty key.
    [[0, 0, 0, 13, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], []],
  ];
  for (const [answer, expected] of rows) {
    const serve = async (conn: Deno.Conn) => {
      await conn.read(new Uint8Array(64));
      await conn.write(new Uint8Array(answer));
    };
    await withListener(serve, async (socket) => {
      assert.deepEqual(await agentKeys(socket, { deadline: 5000 }), expected, answer.join(" "));
    });
  }
});

Deno.test("agentKeys reports that there is no agent, or that no socket is to be had", async () => {
  const dir = await Deno.makeTempDir();
  await Deno.writeTextFile(`${dir}/file`, "");
  Deno.listen({ transport: "unix", path: `${dir}/left` }).close();
  for (const name of ["nowhere", "file", "left", "file/below"]) {
    assert.equal(await agentKeys(`${dir}/${name}`, { deadline: 1000 }), "absent", name);
  }
  const tooLong = `${dir}/${"x".repeat(200)}`;
  assert.equal(await agentKeys(tooLong, { deadline: 1000 }), "silent");
  await Deno.remove(dir, { recursive: true });
});

Deno.test("agentOf names the agent that ssh would ask", () => {
  const env: Record<string, string> = { SSH_AUTH_SOCK: "/agent", MINE: "/mine", REL: "x" };
  const system = { cwd: () => "/here", env: (name: string) => env[name] };
  const path = TOKENS_PATH.replace("~", "/home/ann").replace("%h", "box");
  assert.equal(parseTokens(path).get("h"), "box");
  const rows: [line: string, expected: string | undefined][] = [
    ["", "/agent"],
    ["identityagent SSH_AUTH_SOCK", "/agent"],
    ["identityagent none", undefined],
    ["identityagent $MINE", "/mine"],
    ["identityagent $NONE", undefined],
    ["identityagent $REL", "/here/x"],
    ["identityagent /a b", "/a b"],
    ["identityagent ~/a-%h", "/home/ann/a-box"],
    ["identityagent ${MINE}.2", "/mine.2"],
    ["identityagent a", "/here/a"],
    ["pubkeyauthentication no", undefined],
    ["pubkeyauthentication false", undefined],
    ["pubkeyauthentication unbound", "/agent"],
  ];
  for (const [line, expected] of rows) {
    const config = parseConfigDump(`controlpath ${path}\n${line}\n`, "");
    assert.equal(agentOf(config, system), expected, line);
  }
  const none = { ...system, env: () => undefined };
  assert.equal(agentOf(parseConfigDump("", ""), none), undefined);
});

/** Returns a key, as base64 of the usual length. */
function named(name: string): string {
  return name.repeat(16);
}

Deno.test("offeredKeys puts the keys of key files first, and offers only those under IdentitiesOnly", () => {
  const rows: [agent: string, files: string, identitiesOnly: boolean, expected: string][] = [
    ["abc", "", false, "abc"],
    ["abc", "c", false, "cab"],
    ["abc", "cb", false, "bca"],
    ["abc", "bx", true, "b"],
    ["abc", "", true, ""],
  ];
  for (const [agent, files, identitiesOnly, expected] of rows) {
    const keys = [...agent].map(named);
    const publicKeys = [...files].map((name) => `ssh-ed25519 ${named(name)}`);
    assert.deepEqual(
      offeredKeys(keys, { identitiesOnly, publicKeys }),
      [...expected].map(named),
      `${agent} ${files} ${identitiesOnly}`,
    );
  }
});

Deno.test("offeredKeys and agentKeys agree with what ssh offers", async () => {
  await using sandbox = await Sandbox.create();
  await using agent = await Agent.start(sandbox);
  for (const name of ["a", "b", "c"]) await makeKey(sandbox, name, "-t", "ed25519");
  await agent.add(...["a", "b", "c"].map((name) => `${sandbox.dir}/${name}`));
  const keys = await keysOf(agent);
  assert.ok(typeof keys !== "string");
  // ssh lists the keys that it will offer once a server has said what it accepts.
  await using sshd = await Sshd.start();
  const { stderr } = await new Deno.Command(needProgram("ssh"), {
    args: [
      ...["-v", "-F", sshd.config, "-oIdentityFile=none", `-oIdentityFile=${sandbox.dir}/c`],
      ...["-oIdentitiesOnly=no", `-oIdentityAgent=${agent.socket}`, "-oBatchMode=yes"],
      ...["-oPreferredAuthentications=publickey", "host", "true"],
    ],
    stdin: "null",
  }).output();
  const tried = [
    ...new TextDecoder().decode(stderr).matchAll(
      /Will attempt key: (\S+|a comment) .* agent/g,
    ),
  ];
  const order = offeredKeys(keys, {
    identitiesOnly: false,
    publicKeys: [`ssh-ed25519 ${keyIn(`${sandbox.dir}/c.pub`)}`],
  });
  assert.equal(order[0], keyIn(`${sandbox.dir}/c.pub`));
  assert.equal(tried.length, order.length, new TextDecoder().decode(stderr));
  assert.ok(tried[0][0].includes(`${sandbox.dir}/c`), tried[0][0]);
});

Deno.test("Agents asks no agent again that took too long, but for OpenSSH's own", async () => {
  for (const [isOwn, expected] of [[true, ["a"]], [false, undefined]] as const) {
    let answer: readonly string[] | "silent" = "silent";
    const agents = new Agents(
      realSystem,
      () => Promise.resolve(answer),
      () => Promise.resolve(isOwn),
    );
    assert.equal(await agents.keysOf("/agent"), undefined);
    answer = ["a"];
    agents.forget();
    assert.deepEqual(await agents.keysOf("/agent"), expected);
  }
});

Deno.test("isOpenSshAgent goes by the processes and by the socket's name", async () => {
  const rows: [socket: string, lines: Record<number, string>, expected: boolean][] = [
    ["/run/a", { 7: "/usr/bin/ssh-agent -D -a /run/a " }, true],
    ["/run/b", { 7: "ssh-agent -D -a /run/a " }, false],
    ["/tmp/ssh-Xy/agent.6", { 7: "ssh-agent " }, true],
    ["/tmp/ssh-Xy/agent.6", { 6: "bash ", 7: "ssh-agent bash " }, true],
    ["/tmp/ssh-Xy/agent.6", { 6: "sshd: me@pts/0 ", 7: "ssh-agent " }, false],
    ["/tmp/ssh-Xy/agent.6", { 6: "sshd-session: me ", 7: "ssh-agent " }, false],
    ["/tmp/ssh-Xy/agent.6", {}, false],
    ["/home/me/.ssh/agent/s.aB1.agent.cD2", { 7: "ssh-agent " }, true],
    ["/home/me/.ssh/agent/s.aB1.sshd.cD2", { 7: "ssh-agent " }, false],
    ["/home/me/.bitwarden-ssh-agent.sock", { 7: "ssh-agent ", 8: "bitwarden " }, false],
  ];
  for (const [socket, lines, expected] of rows) {
    const table = new Map(Object.entries(lines).map(([pid, line]) => [Number(pid), line]));
    const system = { commandLines: () => Promise.resolve(table) };
    assert.equal(await isOpenSshAgent(socket, system), expected, socket);
  }
  await using sandbox = await Sandbox.create();
  await using agent = await Agent.start(sandbox);
  assert.equal(await isOpenSshAgent(agent.socket, realSystem), true, "a real one");
});
