import assert from "node:assert/strict";
import { inTime } from "./eventually.ts";
import type { Sandbox } from "./sandbox.ts";
import type { Scene } from "./scene.ts";

/**
 * A session that lasts as long as a test wants.
 *
 *     await using session = await Session.open(scene);
 *     await session.finish();
 */
export class Session implements AsyncDisposable {
  readonly pid: number;
  /** All that the call writes there, once it has ended. */
  readonly stderr: Promise<string>;
  readonly #child: Deno.ChildProcess;
  readonly #output: ReadableStreamDefaultReader<string>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;

  private constructor(child: Deno.ChildProcess) {
    this.pid = child.pid;
    this.stderr = child.stderr.text();
    this.#child = child;
    this.#output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#input = child.stdin.getWriter();
  }

  /** Opens a session; `call` precedes the command, by default the installed `ssh` with the scene's host. */
  static open(
    scene: Scene,
    call: readonly string[] = ["ssh", "-F", scene.config, "host"],
  ): Promise<Session> {
    return Session.in(scene.sandbox, call);
  }

  /** Opens a session in a sandbox; `call` precedes the command. */
  static async in(sandbox: Sandbox, call: readonly string[]): Promise<Session> {
    const session = new Session(sandbox.spawn([...call, "echo up; exec cat"]));
    const { value } = await inTime("the session opens", session.#output.read());
    assert.equal(value, "up\n", value === undefined ? await session.stderr : "");
    return session;
  }

  /** Checks that it works and has printed nothing on stderr, and ends it. */
  async finish(): Promise<void> {
    await this.#input.write(new TextEncoder().encode("still here\n"));
    const { value } = await inTime("the session answers", this.#output.read());
    assert.equal(value, "still here\n");
    assert.deepEqual([await this.end(), await this.stderr], [0, ""]);
  }

  /** Ends its input, and waits until it has ended; resolves to its exit status. */
  async end(): Promise<number> {
    await this.#input.close();
    const { done } = await inTime("the end of the output", this.#output.read());
    assert.equal(done, true);
    return (await inTime("the end of the session", this.#child.status)).code;
  }

  /** Kills it, if it has not ended. */
  async kill(): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended.
    }
    await Promise.all([this.#child.status, this.#output.cancel(), this.#input.abort()])
      .catch(() => {});
    await this.stderr;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}
