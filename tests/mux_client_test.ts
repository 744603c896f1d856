import assert from "node:assert/strict";
import { masterAt } from "../lib/lane/master.ts";
import { MuxConnection } from "../lib/lane/mux_client.ts";
import { isMuxTrouble } from "../lib/lane/mux_protocol.ts";
import { canMakeAccounts } from "./support/account.ts";
import { eventually, inTime } from "./support/eventually.ts";
import { isAlive, signal } from "./support/processes.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd, type SshdOptions } from "./support/sshd.ts";

Deno.test("masterAt returns the pid of a master, unless it is gone or does not answer", async () => {
  await using server = await start();
  const { socket, pid } = await server.master();
  assert.equal(await masterAt(socket), pid);
  signal([pid], "SIGSTOP");
  // More than its backlog holds.
  const waiting = Array.from({ length: 100 }, () => masterAt(socket, 5_000));
  const impatient = Array.from({ length: 10 }, () => masterAt(socket, 100));
  assert.ok((await Promise.all(impatient)).every((found) => found === "silent"));
  signal([pid], "SIGCONT");
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set([pid]));
  signal([pid], "SIGKILL");
  await eventually("the master is gone", () => !isAlive(pid));
  assert.equal(await masterAt(socket), "gone");
  await Deno.remove(socket);
  assert.equal(await masterAt(socket), "gone");
});

Deno.test("ping makes a round trip for an ordinary user, again and again", async () => {
  await using server = await start();
  const { socket, pid } = await server.master();
  using connection = await MuxConnection.connect(socket);
  for (let count = 0; count < 20; count++) assert.ok(await connection.ping() > 0);
  assert.equal(await connection.alive(), pid);
  assert.equal(server.sshd.sessions(), 0);
});

Deno.test("ping works with a server that forwards nothing", async () => {
  await using server = await start({ config: ["DisableForwarding yes"] });
  const { socket } = await server.master("-o", "ExitOnForwardFailure=yes");
  using connection = await MuxConnection.connect(socket);
  for (let count = 0; count < 3; count++) assert.ok(await connection.ping() > 0);
});

for (const asRoot of canMakeAccounts ? [false, true] : [false]) {
  Deno.test(`ping is granted nothing and leaves no word in sshd's log (${asRoot ? "root" : "user"})`, async () => {
    await using server = await start({ asRoot, config: ["LogLevel INFO"] });
    const { socket } = await server.master();
    using connection = await MuxConnection.connect(socket);
    const before = server.sshd.log();
    for (let count = 0; count < 5; count++) assert.ok(await connection.ping() > 0);
    assert.equal(server.sshd.log(), before);
  });
}

Deno.test("ping gives up on a frozen server, and is answered when it thaws", async () => {
  await using server = await start();
  const { socket, pid } = await server.master();
  using pinging = await MuxConnection.connect(socket);
  using other = await MuxConnection.connect(socket);
  await server.freeze(socket);
  // Also on a second connection: the master must not take one request for a repeat of the other.
  for (const connection of [pinging, pinging, other]) {
    await timed(250, () => assert.rejects(connection.ping(150), { kind: "late" }));
  }
  assert.equal(await masterAt(socket), pid);
  server.sshd.thaw();
  await eventually("a ping is answered", () => answered(pinging));
  assert.equal(await pinging.alive(), pid);
  assert.equal(await server.echo(socket, "thawed"), "thawed\n");
});

Deno.test("the master survives abandoned pings, whatever comes after them", async () => {
  await using server = await start();
  const { socket, pid } = await server.master();
  await server.freeze(socket);
  for (let count = 0; count < 3; count++) {
    using connection = await MuxConnection.connect(socket);
    await assert.rejects(connection.ping(50), { kind: "late" });
  }
  // If the abandoned channels were freed, these sessions would get their numbers, and with them the
  // late answers, which kill the master ("mux_pause 0").
  using connection = await MuxConnection.connect(socket);
  const sessions = ["one", "two", "three"].map((word) => server.echo(socket, word));
  assert.equal(await connection.alive(), pid);
  server.sshd.thaw();
  assert.deepEqual(await Promise.all(sessions), ["one\n", "two\n", "three\n"]);
  assert.ok(await connection.ping() > 0);
  assert.equal(await connection.alive(), pid);
});

Deno.test("stopListening removes the socket and keeps the sessions", async () => {
  await using server = await start();
  const { socket, pid } = await server.master();
  const session = server.spawnCat(socket);
  const writer = session.stdin.getWriter();
  await eventually("the session runs", () => server.sshd.sessions() === 1);

  using connection = await MuxConnection.connect(socket);
  await connection.stopListening();
  assert.equal(await masterAt(socket), "gone");
  assert.equal(await connection.alive(), pid);
  assert.ok(await connection.ping() > 0);
  await connection.stopListening();

  await writer.write(new TextEncoder().encode("still here"));
  await writer.close();
  const { code, stdout } = await session.output();
  assert.equal(new TextDecoder().decode(stdout), "still here");
  assert.equal(code, 0);
});

Deno.test("terminate ends the master and its sessions", async () => {
  await using server = await start();
  const { socket, pid } = await server.master();
  const session = server.spawnCat(socket);
  await eventually("the session runs", () => server.sshd.sessions() === 1);

  using connection = await MuxConnection.connect(socket);
  await connection.terminate();
  await inTime("the connection is closed", connection.closed);
  await eventually("the master is gone", () => !isAlive(pid));
  assert.equal((await session.output()).code, 255);
  await session.stdin.close();
  assert.equal(await masterAt(socket), "gone");
  await assert.rejects(connection.terminate(), { kind: "closed" });
});

Deno.test("an open connection keeps a master open past its ControlPersist", async () => {
  await using server = await start();
  const held = await server.master("-o", "ControlPersist=1");
  using connection = await MuxConnection.connect(held.socket);
  const idle = await server.master("-o", "ControlPersist=1");
  // The idle one started later and exits sooner.
  await eventually("the idle master is gone", () => !isAlive(idle.pid));
  assert.equal(await connection.alive(), held.pid);
  connection.close();
  await eventually("the master that was let go is gone", () => !isAlive(held.pid));
  assert.equal(server.sshd.sessions(), 0);
});

Deno.test("closed resolves when the master is killed", async () => {
  await using server = await start();
  const { socket, pid } = await server.master();
  using connection = await MuxConnection.connect(socket);
  await server.freeze(socket);
  const ping = assert.rejects(connection.ping(), { kind: "closed" });
  signal([pid], "SIGKILL");
  await inTime("the connection is closed", connection.closed);
  await ping;
  await assert.rejects(connection.alive(), { kind: "closed" });
});

Deno.test("close ends pending requests, and may be repeated", async () => {
  await using server = await start();
  const { socket } = await server.master();
  const connection = await MuxConnection.connect(socket);
  await server.freeze(socket);
  const requests = [connection.ping(), connection.ping(), connection.alive()];
  connection.close();
  connection.close();
  for (const request of requests) await assert.rejects(request, { kind: "closed" });
  await inTime("the connection is closed", connection.closed);
});

Deno.test("simultaneous requests each get their own answer", async () => {
  await using server = await start();
  const { socket, pid } = await server.master();
  using connection = await MuxConnection.connect(socket);
  const pings = [connection.ping(), connection.ping()];
  assert.deepEqual(await Promise.all([connection.alive(), connection.alive()]), [pid, pid]);
  for (const ping of pings) assert.ok(await ping > 0);
});

/** A server, and a sandbox for masters that connect to it. */
class Server implements AsyncDisposable {
  readonly sshd: Sshd;
  readonly #sandbox: Sandbox;
  #masters = 0;

  constructor(sshd: Sshd, sandbox: Sandbox) {
    this.sshd = sshd;
    this.#sandbox = sandbox;
  }

  /** Starts a master in the background; resolves when it listens. */
  async master(...options: string[]): Promise<{ socket: string; pid: number }> {
    const socket = `${this.#sandbox.dir}/${++this.#masters}.sock`;
    const master = ["-M", "-N", "-f", "-S", socket, ...options, "-o", "ControlPersist=60"];
    const { code, stderr } = await this.#sandbox.ssh(["-F", this.sshd.config, ...master, "host"]);
    assert.equal(code, 0, stderr);
    const found = this.#sandbox.processes().filter(({ args }) => args.join(" ").includes(socket));
    assert.equal(found.length, 1, Deno.inspect(found.map(({ args }) => args)));
    return { socket, pid: found[0].pid };
  }

  /** Freezes the server, with the process that serves this master. */
  async freeze(socket: string): Promise<void> {
    // sshd forks that process after the login, which is all that `ssh -f` waits for.
    using connection = await MuxConnection.connect(socket);
    await connection.ping();
    this.sshd.freeze();
  }

  /** Runs `echo word` over that master; resolves to its output. */
  async echo(socket: string, word: string): Promise<string> {
    const { code, stdout, stderr } = await this.#sandbox.ssh([
      ...this.#over(socket),
      `echo ${word}`,
    ]);
    assert.deepEqual([code, stderr], [0, ""]);
    return stdout;
  }

  /** Starts a session over that master that runs until its stdin ends. */
  spawnCat(socket: string): Deno.ChildProcess {
    return this.#sandbox.spawn(["ssh", ...this.#over(socket), "cat"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sandbox[Symbol.asyncDispose]();
    await this.sshd[Symbol.asyncDispose]();
  }

  #over(socket: string): string[] {
    // Without the master there is no session: a direct connection has nowhere to go.
    return ["-F", "none", "-S", socket, "-o", "ProxyCommand=false", "host"];
  }
}

async function start(options?: SshdOptions): Promise<Server> {
  return new Server(await Sshd.start(options), await Sandbox.create());
}

/** Whether a ping is answered within a second. */
async function answered(connection: MuxConnection): Promise<boolean> {
  try {
    await connection.ping(1_000);
    return true;
  } catch (error) {
    if (isMuxTrouble(error, "late")) return false;
    throw error;
  }
}

/** Resolves to what `work` does, and asserts that it takes `atMost` ms plus slack for a busy machine. */
async function timed<T>(atMost: number, work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await work();
  const elapsed = performance.now() - start;
  assert.ok(elapsed < atMost + 10_000, `took ${elapsed} ms`);
  return result;
}
