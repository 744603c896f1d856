/** `"forwards": true`: sessions that forward ports share, and their forwards end with them. */
import assert from "node:assert/strict";
import { parseConfigDump } from "../lib/ssh/config_dump.ts";
import { forwardOption, forwardsOf } from "../lib/lane/forwards.ts";
import { eventually, pause } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { needProgram, run } from "./support/programs.ts";
import type { RunResult } from "./support/sandbox.ts";
import { Scene, type SceneOptions } from "./support/scene.ts";
import { Session } from "./support/session.ts";
import { freePort } from "./support/sshd.ts";

const DEADLINE = { deadline: 20_000 };
/** One look of the sleeper, 1 s, plus what a busy machine needs: less than a ping's turn and the linger, ms. */
const SOON = { deadline: 10_000 };

/** Opens a scene whose user has these settings. */
async function sceneWith(settings: unknown, options: SceneOptions = {}): Promise<Scene> {
  const scene = await Scene.open({ ...options, env: { SSHS_LINGER: "60", SSHS_LOOK: "1" } });
  await Deno.mkdir(`${scene.sandbox.home}/.config/sshs`, { recursive: true });
  const path = `${scene.sandbox.home}/.config/sshs/config.json`;
  await Deno.writeTextFile(path, JSON.stringify(settings));
  await Deno.utime(path, 0, 0);
  return scene;
}

const forwarding = (options?: SceneOptions) => sceneWith({ forwards: true }, options);

/** Whether nobody listens on a port. */
function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}

/** A server that answers each message on a connection with "hello " and the message. */
class Greeter implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open = new Set<Deno.Conn>();
  readonly #greeted: Promise<void>[] = [];
  readonly #accepted: Promise<void> = this.#accept();

  get port(): number {
    return this.#listener.addr.port;
  }

  async #accept(): Promise<void> {
    for await (const connection of this.#listener) this.#greeted.push(this.#greet(connection));
  }

  async #greet(connection: Deno.Conn): Promise<void> {
    this.#open.add(connection);
    const bytes = new Uint8Array(64);
    try {
      for (let count; (count = await connection.read(bytes)) !== null;) {
        await connection.write(new TextEncoder().encode("hello "));
        await connection.write(bytes.subarray(0, count));
      }
    } catch (error) {
      // Whoever forwards it may be killed, and we may close it first.
      if (!(error instanceof Deno.errors.ConnectionReset) && this.#open.has(connection)) {
        throw error;
      }
    } finally {
      this.#close(connection);
    }
  }

  #close(connection: Deno.Conn): void {
    if (this.#open.delete(connection)) connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#accepted;
    for (const connection of this.#open) this.#close(connection);
    await Promise.all(this.#greeted);
  }
}

/** Sends a word and asserts what comes back. */
async function say(connection: Deno.Conn, word: string, expected = `hello ${word}`): Promise<void> {
  await connection.write(new TextEncoder().encode(word));
  let answer = "";
  const bytes = new Uint8Array(64);
  while (answer.length < expected.length) {
    const count = await connection.read(bytes);
    assert.notEqual(count, null, `${answer}, and no more`);
    answer += new TextDecoder().decode(bytes.subarray(0, count!));
  }
  assert.equal(answer, expected);
}

async function greetThrough(port: number, hostname = "127.0.0.1"): Promise<void> {
  using connection = await Deno.connect({ hostname, port });
  await say(connection, "you");
}

/** Does so through a SOCKS5 proxy without authentication (RFC 1928). */
async function greetThroughSocks(proxy: number, port: number): Promise<void> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port: proxy });
  const exchange = async (words: number[], length: number) => {
    await connection.write(Uint8Array.from(words));
    const answer = new Uint8Array(length);
    for (let done = 0; done < length;) done += (await connection.read(answer.subarray(done)))!;
    assert.equal(answer[1], 0);
  };
  await exchange([5, 1, 0], 2);
  await exchange([5, 1, 0, 1, 127, 0, 0, 1, port >> 8, port & 255], 10);
  await say(connection, "you");
}

/** Opens a session with these options. */
function open(scene: Scene, options: readonly string[]): Promise<Session> {
  return Session.open(scene, ["ssh", "-F", scene.config, ...options, "host"]);
}

const FORWARDS: readonly [options: string[], shown: string[]][] = [
  [["-L", "8080:localhost:80"], ["-L 8080:localhost:80"]],
  [["-L", "[::1]:8080:[fe80::1]:80"], ["-L [::1]:8080:[fe80::1]:80"]],
  [["-L", ":8080:h:80", "-R9:h:80"], ["-L *:8080:h:80", "-R 9:h:80"]],
  [["-L", "8080:/run/x.sock"], ["-L 8080:/run/x.sock"]],
  [["-L", "/tmp/%h.sock:h:80"], ["-L /tmp/host.sock:h:80"]],
  [["-R", "/tmp/r.sock:/tmp/l.sock"], ["-R /tmp/r.sock:/tmp/l.sock"]],
  [["-R", "1080"], ["-R 1080"]],
  [["-D", "1080", "-D", "localhost:1081"], ["-D 1080", "-D localhost:1081"]],
  [["-oLocalForward=8080 h:80", "-L8080:h:80"], ["-L 8080:h:80"]],
  [["-L", "8080:h:80", "-oClearAllForwardings=yes"], []],
  [[], []],
];

for (const [options, shown] of FORWARDS) {
  Deno.test(`forwardsOf and forwardOption handle ${options.join(" ") || "none"}`, async () => {
    const dump = await run("ssh", ["-F", "none", "-G", ...options, "host"]);
    const forwards = forwardsOf(parseConfigDump(dump, ""))!;
    assert.deepEqual(forwards.map(forwardOption), shown);
  });
}

Deno.test("forwardsOf rejects a relative path, and one with a blank", async () => {
  for (const spec of ["./a.sock:h:80", "/tmp/a b:h:80", "80:./a.sock"]) {
    const dump = await run("ssh", ["-F", "none", "-G", "-L", spec, "host"]);
    assert.equal(forwardsOf(parseConfigDump(dump, "")), undefined, spec);
  }
});

Deno.test("-L, -R and -D share a login, and their ports are free after the session", async () => {
  await using scene = await forwarding();
  await using greeter = new Greeter();
  await scene.assertWorks("the first call");
  const [local, remote, socks] = [freePort(), freePort(), freePort()];
  for (const how of ["end", "kill"] as const) {
    await using session = await open(scene, [
      ...["-L", `${local}:127.0.0.1:${greeter.port}`, "-D", `${socks}`],
      ...["-R", `${remote}:127.0.0.1:${greeter.port}`],
    ]);
    await greetThrough(local);
    await greetThrough(remote);
    await greetThroughSocks(socks, greeter.port);
    await session[how]();
    await eventually("the ports are free", () => [local, remote, socks].every(isFree), SOON);
    assert.equal(await session.stderr, "");
  }
  assert.equal(scene.logins(), 1);
  assert.deepEqual(scene.sandbox.files().filter((file) => /forwards\/./.test(file)), []);
});

Deno.test("a forward of two sessions stays until the last of them ends", async () => {
  await using scene = await forwarding();
  await using greeter = new Greeter();
  const [port, own] = [freePort(), freePort()];
  await using first = await open(scene, [
    "-L",
    `${port}:127.0.0.1:${greeter.port}`,
    "-D",
    `${own}`,
  ]);
  await using second = await open(scene, ["-L", `${port}:127.0.0.1:${greeter.port}`]);
  await first.end();
  await eventually("the first one's own is free", () => isFree(own), SOON);
  await greetThrough(port);
  await second.end();
  await eventually("the port is free", () => isFree(port), SOON);
  assert.equal(scene.logins(), 1);
});

Deno.test("the next session has its forward, however soon it comes", async () => {
  await using scene = await forwarding();
  await using greeter = new Greeter();
  const words = ["-L", `${freePort()}:127.0.0.1:${greeter.port}`];
  const port = parseInt(words[1]);
  for (let i = 0; i < 8; i++) {
    await using session = await open(scene, words);
    await greetThrough(port);
    await pause(130 * i);
    await greetThrough(port);
    await session.end();
  }
  assert.equal(scene.logins(), 1);
});

Deno.test("a port that is taken fails or warns as with plain ssh, and free ports are forwarded", async () => {
  await using scene = await forwarding();
  await using greeter = new Greeter();
  await scene.assertWorks("the first call");
  const free = freePort();
  const taken = greeter.port;
  // On both addresses of localhost, since one that is free is enough.
  using _taken = Deno.listen({ hostname: "::1", port: taken });
  const results = async (words: readonly string[]): Promise<[RunResult, RunResult]> => [
    await scene.plainSsh(words, { stdin: "" }),
    await scene.ssh(words, { stdin: "" }),
  ];
  for (const exit of ["yes", "no"]) {
    for (
      const forward of [
        ["-L", `${taken}:h:80`],
        ["-L", `${free}:h:80`, "-D", `${taken}`],
        ["-R", `${taken}:h:80`, "-L", `${free}:h:80`],
      ]
    ) {
      const words = [`-oExitOnForwardFailure=${exit}`, ...forward, "host", "echo ran; exit 4"];
      const [plain, ours] = await results(words);
      assert.deepEqual(ours, plain, words.join(" "));
      assert.equal(plain.code, exit === "yes" ? 255 : 4);
      await eventually("what was free is free", () => isFree(free), SOON);
    }
  }
});

Deno.test("-R 0 is plain ssh, which prints the port", async () => {
  await using scene = await forwarding();
  const { stdout, stderr } = await scene.ssh(["-R", "0:localhost:80", "host", "echo ran"]);
  assert.equal(stdout, "ran\n");
  assert.match(stderr, /^Allocated port \d+ for remote forward to localhost:80/);
  assert.deepEqual(scene.lanes(), []);
});

Deno.test("a unix socket is forwarded and its file stays, as with plain ssh", async () => {
  await using scene = await forwarding();
  await using greeter = new Greeter();
  for (const ssh of [needProgram("ssh"), "ssh"]) {
    const path = `${scene.sandbox.dir}/${ssh.length}.sock`;
    const words = ["-F", scene.config, "-L", `${path}:127.0.0.1:${greeter.port}`, "host", "cat"];
    const child = scene.sandbox.spawn([ssh, ...words]);
    await eventually("it listens", () => isThere(path), DEADLINE);
    {
      using connection = await Deno.connect({ transport: "unix", path });
      await say(connection, "you");
    }
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
    await child.stdin.close();
    await child.output();
    const refused = () => Deno.connect({ transport: "unix", path }).then(() => false, () => true);
    await eventually("nobody listens", refused, SOON);
    assert.equal(isThere(path), true);
  }
  assert.equal(scene.logins(), 2);
});

Deno.test("GatewayPorts and -g decide where a forward listens: such calls have a login of their own", async () => {
  await using scene = await forwarding();
  await using greeter = new Greeter();
  await scene.assertWorks("the first call");
  const address =
    Deno.networkInterfaces().find(({ family, address }) =>
      family === "IPv4" && !address.startsWith("127.")
    )?.address ?? "127.0.0.2";
  const port = freePort();
  const forward = ["-L", `${port}:127.0.0.1:${greeter.port}`];
  await using narrow = await open(scene, forward);
  await assert.rejects(greetThrough(port, address), Deno.errors.ConnectionRefused);
  await narrow.end();
  await eventually("the port is free", () => isFree(port), SOON);
  assert.equal(scene.logins(), 1);
  // To ssh these two mean the same.
  for (const option of ["-g", "-oGatewayPorts=yes"]) {
    await using wide = await open(scene, [option, ...forward]);
    await greetThrough(port, address);
    await wide.end();
    await eventually("the port is free", () => isFree(port), SOON);
    assert.equal(scene.logins(), 2, option);
  }
});

Deno.test("forwards in the configuration work like those on the command line", async () => {
  await using greeter = new Greeter();
  const port = freePort();
  const config = [`LocalForward ${port} 127.0.0.1:${greeter.port}`];
  await using scene = await forwarding({ client: { config } });
  await scene.assertWorks("the first call");
  await using session = await open(scene, []);
  await greetThrough(port);
  await session.end();
  await eventually("the port is free", () => isFree(port), SOON);
  assert.equal(scene.logins(), 1);
});

Deno.test("a connection that goes through a forward outlives its session, which does not wait for it", async () => {
  await using scene = await forwarding();
  await using greeter = new Greeter();
  const port = freePort();
  await using session = await open(scene, ["-L", `${port}:127.0.0.1:${greeter.port}`]);
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await say(connection, "you");
  assert.equal(await session.end(), 0);
  await eventually("the port is free", () => isFree(port), SOON);
  await say(connection, "still");
});

Deno.test("a retired connection takes back its forwards too", async () => {
  await using scene = await forwarding();
  await using greeter = new Greeter();
  const ports = [freePort(), freePort()];
  const [one, other] = await Promise.all(
    ports.map((port) => open(scene, ["-L", `${port}:127.0.0.1:${greeter.port}`])),
  );
  await eventually(
    "the sleeper holds it",
    () => scene.sandbox.files().some((file) => file.endsWith(".master")),
    DEADLINE,
  );
  await scene.sshs(["--stop", "host"]);
  await one.end();
  await eventually("its port is free", () => isFree(ports[0]), SOON);
  await greetThrough(ports[1]);
  await other.end();
  await eventually("its master is gone", () => scene.sandbox.masters().length === 0, DEADLINE);
});

Deno.test("--list shows forwards, and --why names the setting if it would help", async () => {
  await using scene = await forwarding();
  const port = freePort();
  await using session = await open(scene, ["-L", `${port}:localhost:80`]);
  const [lane] = JSON.parse((await scene.sshs(["--list", "--json"])).stdout);
  assert.deepEqual(lane.forwards, [`-L ${port}:localhost:80`]);
  assert.match((await scene.sshs(["--list"])).stdout, new RegExp(`-L ${port}:localhost:80`));
  await session.end();
  await eventually("the port is free", () => isFree(port), SOON);
  const [after] = JSON.parse((await scene.sshs(["--list", "--json"])).stdout);
  assert.deepEqual(after.forwards, []);
  await Deno.remove(`${scene.sandbox.home}/.config/sshs/config.json`);
  for (const words of [["-D", "1080"], ["-oRemoteForward=9999 localhost:80"]]) {
    const why = await scene.sshs(["--why", "--json", "-F", scene.config, ...words, "host"]);
    const { decision, remedy } = JSON.parse(why.stdout);
    assert.equal(decision, "direct");
    assert.match(remedy, /set "forwards" to true for this host in config\.json$/);
  }
});
