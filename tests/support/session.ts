import assert from "node:assert/strict";
import type { Scene } from "./scene.ts";

/**
 * A session that lasts as long as a test wants.
 *
 *     await using session = await Session.open(scene);
 *     await session.finish();
 */
export class Session implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #output: ReadableStreamDefaultReader<string>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #stderr: Promise<string>;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#input = child.stdin.getWriter();
    this.#stderr = child.stderr.text();
  }

  /** Opens a session; `call` precedes the command, by default the installed `ssh` with the scene's host. */
  static async open(
    scene: Scene,
    call: readonly string[] = ["ssh", "-F", scene.config, "host"],
  ): Promise<Session> {
    const session = new Session(scene.sandbox.spawn([...call, "echo up; cat"]));
    const { value } = await session.#output.read();
    assert.equal(value, "up\n", value === undefined ? await session.#stderr : "");
    return session;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Checks that it works and has printed nothing on stderr, and ends it. */
  async finish(): Promise<void> {
    await this.#input.write(new TextEncoder().encode("still here\n"));
    assert.equal((await this.#output.read()).value, "still here\n");
    await this.#input.close();
    assert.equal((await this.#output.read()).done, true);
    assert.deepEqual([(await this.#child.status).code, await this.#stderr], [0, ""]);
  }

  /** Kills it, if it has not ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended.
    }
    await Promise.all([this.#child.status, this.#output.cancel(), this.#input.abort()])
      .catch(() => {});
    await this.#stderr;
  }
}
