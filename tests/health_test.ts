/** A link that swallows all (Relay): found by a ping, left behind, and good again for who is on it. */
import assert from "node:assert/strict";
import { exists } from "../lib/os/files.ts";
import { eventually } from "./support/eventually.ts";
import { Relay } from "./support/relay.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const PATIENCE = { deadline: 60_000 };

/** A session on a lane that the sleeper holds, over a relay. */
class Stage implements AsyncDisposable {
  #session!: Deno.ChildProcess;
  #reader!: ReadableStreamDefaultReader<Uint8Array>;

  private constructor(
    readonly sshd: Sshd,
    readonly sandbox: Sandbox,
    readonly relay: Relay,
    readonly config: string,
  ) {}

  static async create(): Promise<Stage> {
    const sshd = await Sshd.start();
    const relay = Relay.start(sshd.port);
    const config = await sshd.writeConfig({ port: relay.port, config: ["LogLevel ERROR"] });
    const stage = new Stage(sshd, await Sandbox.create(), relay, config);
    stage.sandbox.env.SSHS_LOOK = "0.5";
    stage.#session = stage.sandbox.spawnSshs(["-F", config, "host", "echo up; cat"]);
    stage.#reader = stage.#session.stdout.getReader();
    await stage.#reader.read();
    const log = `${stage.sandbox.stateDir}/sleeper.log`;
    await eventually(
      "the sleeper holds the lane",
      () => exists(log) && Deno.readTextFileSync(log).includes("holding"),
      PATIENCE,
    );
    return stage;
  }

  /** The mark of the one lane. */
  get mark(): string {
    const [record] = this.sandbox.files().filter((file) => file.endsWith(".lane"));
    return `${this.sandbox.stateDir}/${record.replace(/lane$/, "verified")}`;
  }

  /** A call that works, on a connection of its own. */
  async callAnew(): Promise<void> {
    const before = this.sshd.logins();
    const call = ["-F", this.config, "host", "echo new; exit 3"];
    const { code, stdout, stderr } = await this.sandbox.sshs(call);
    assert.deepEqual({ code, stdout, stderr }, { code: 3, stdout: "new\n", stderr: "" });
    assert.equal(this.sshd.logins(), before + 1);
  }

  /** The session goes on, to its end. */
  async finishSession(): Promise<void> {
    const writer = this.#session.stdin.getWriter();
    await writer.write(new TextEncoder().encode("still here\n"));
    const { value } = await this.#reader.read();
    assert.equal(new TextDecoder().decode(value), "still here\n");
    await writer.close();
    while (!(await this.#reader.read()).done);
    assert.equal(await this.#session.stderr.text(), "");
    assert.equal((await this.#session.status).code, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sandbox[Symbol.asyncDispose]();
    await this.relay.close();
    await this.sshd[Symbol.asyncDispose]();
  }
}

Deno.test("a link that falls silent loses its mark, and comes back for the session on it", async () => {
  await using stage = await Stage.create();
  const { mark } = stage;
  stage.relay.cutOpen();
  await eventually("the mark is withdrawn", () => !exists(mark), PATIENCE);
  await stage.callAnew();
  stage.relay.restore();
  await stage.finishSession();
  await eventually("its master goes with it", () => stage.sandbox.masters().length === 1, PATIENCE);
});

Deno.test("a sleeper that goes on after a stop withdraws the mark at once", async () => {
  await using stage = await Stage.create();
  const { mark } = stage;
  const [{ pid }] = stage.sandbox.sleepers();
  stage.relay.cutOpen();
  Deno.kill(pid, "SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, 4000)); // As long as it takes to be noticed.
  assert.equal(exists(mark), true);
  const woken = performance.now();
  Deno.kill(pid, "SIGCONT");
  await eventually("the mark is withdrawn", () => !exists(mark), PATIENCE);
  assert.ok(performance.now() - woken < 2500, "before an answer could be missed");
  await stage.callAnew();
  stage.relay.restore();
  await stage.finishSession();
});

Deno.test("with the sleeper dead the call itself finds out", async () => {
  await using stage = await Stage.create();
  for (const { pid } of stage.sandbox.sleepers()) Deno.kill(pid, "SIGKILL");
  stage.relay.cutOpen();
  Deno.utimeSync(stage.mark, 1, 1); // As it is 20 s later.
  await stage.callAnew();
  stage.relay.restore();
  await stage.finishSession();
});
