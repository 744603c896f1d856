import assert from "node:assert/strict";
import { agentKeys, agentOf, offeredKeys } from "../lib/ssh/keys.ts";
import { parseConfigDump, parseTokens, TOKENS_PATH } from "../lib/ssh/configuration.ts";
import { needProgram, run } from "./support/programs.ts";
import { Sshd } from "./support/sshd.ts";

/** A real agent and a directory with keys for it. */
class Agent implements AsyncDisposable {
  readonly socket: string;
  readonly #child: Deno.ChildProcess;

  private constructor(readonly dir: string) {
    this.socket = `${dir}/agent`;
    this.#child = new Deno.Command(needProgram("ssh-agent"), {
      args: ["-D", "-a", this.socket],
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  static async start(): Promise<Agent> {
    const agent = new Agent(await Deno.makeTempDir());
    for (let i = 0; (await agentKeys(agent.socket, { deadline: 1000 })) === "absent"; i++) {
      assert.ok(i < 1000, "the agent does not start");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return agent;
  }

  /** Makes a key and resolves to its public part, as agentKeys() writes it. */
  async key(name: string, ...options: string[]): Promise<string> {
    const file = `${this.dir}/${name}`;
    await run("ssh-keygen", ["-q", "-N", "", "-C", "a comment", ...options, "-f", file]);
    return keyIn(`${file}.pub`);
  }

  async add(...args: string[]): Promise<void> {
    const { success, stderr } = await new Deno.Command(needProgram("ssh-add"), {
      args: ["-q", ...args],
      env: { SSH_AUTH_SOCK: this.socket },
      stderr: "piped",
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
  }

  keys() {
    return agentKeys(this.socket, { deadline: 5000 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill();
    await this.#child.status;
    await Deno.remove(this.dir, { recursive: true });
  }
}

function keyIn(path: string): string {
  return Deno.readTextFileSync(path).split(" ").slice(0, 2).join(" ").trim();
}

Deno.test("agentKeys lists the keys of a real agent, in its order", async () => {
  await using agent = await Agent.start();
  assert.deepEqual(await agent.keys(), []);
  const [a, b] = [
    await agent.key("a", "-t", "ed25519"),
    await agent.key("b", "-t", "rsa", "-b", "2048"),
  ];
  await run("ssh-keygen", ["-q", "-s", `${agent.dir}/b`, "-I", "me", `${agent.dir}/a.pub`]);
  await agent.add(`${agent.dir}/b`);
  await agent.add(`${agent.dir}/a`); // and its certificate
  assert.deepEqual(await agent.keys(), [b, a, keyIn(`${agent.dir}/a-cert.pub`)]);
  await agent.add("-D");
  assert.deepEqual(await agent.keys(), []);
});

Deno.test("agentKeys takes a long list", async () => {
  await using agent = await Agent.start();
  const keys: string[] = [];
  for (let i = 0; i < 40; i++) keys.push(await agent.key(`k${i}`, "-t", "ed25519"));
  await agent.add(...keys.map((_, i) => `${agent.dir}/k${i}`));
  assert.deepEqual(await agent.keys(), keys);
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
    assert.ok(performance.now() - start < 2000);
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

Deno.test("agentKeys reports that there is no agent", async () => {
  const dir = await Deno.makeTempDir();
  await Deno.writeTextFile(`${dir}/file`, "");
  Deno.listen({ transport: "unix", path: `${dir}/left` }).close();
  for (const name of ["nowhere", "file", "left", "file/below", "x".repeat(200)]) {
    assert.equal(await agentKeys(`${dir}/${name}`, { deadline: 1000 }), "absent", name);
  }
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

Deno.test("offeredKeys puts the keys of key files first, and offers only those under IdentitiesOnly", () => {
  const rows: [agent: string, files: string, identitiesOnly: boolean, expected: string][] = [
    ["abc", "", false, "abc"],
    ["abc", "c", false, "cab"],
    ["abc", "cb", false, "bca"],
    ["abc", "bx", true, "b"],
    ["abc", "", true, ""],
  ];
  for (const [agent, files, identitiesOnly, expected] of rows) {
    assert.equal(
      offeredKeys([...agent], { identitiesOnly, publicKeys: [...files] }).join(""),
      expected,
      `${agent} ${files} ${identitiesOnly}`,
    );
  }
});

Deno.test("offeredKeys and agentKeys agree with what ssh offers", async () => {
  await using agent = await Agent.start();
  for (const name of ["a", "b", "c"]) await agent.key(name, "-t", "ed25519");
  await agent.add(...["a", "b", "c"].map((name) => `${agent.dir}/${name}`));
  const keys = await agent.keys();
  assert.ok(typeof keys !== "string");
  // ssh lists the keys that it will offer once a server has said what it accepts.
  await using sshd = await Sshd.start();
  const { stderr } = await new Deno.Command(needProgram("ssh"), {
    args: [
      ...["-v", "-F", sshd.config, "-oIdentityFile=none", `-oIdentityFile=${agent.dir}/c`],
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
    publicKeys: [keyIn(`${agent.dir}/c.pub`)],
  });
  assert.equal(order[0], keyIn(`${agent.dir}/c.pub`));
  assert.equal(tried.length, order.length, new TextDecoder().decode(stderr));
  assert.ok(tried[0][0].includes(`${agent.dir}/c`), tried[0][0]);
});
