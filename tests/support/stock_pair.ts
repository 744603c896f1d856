import { endAll } from "./processes.ts";
import { needProgram } from "./programs.ts";
import type { RunOptions, RunResult } from "./sandbox.ts";
import type { Scene } from "./scene.ts";

/**
 * OpenSSH's own sharing, `ControlMaster auto` + `ControlPersist`, in a scene: the system's own ssh with a
 * control socket beside ours. Disposing of it ends what it started.
 */
export class StockPair implements AsyncDisposable {
  readonly socket: string;
  /** The client's ssh_config; the scene's unless a test changes it. */
  config: string;
  readonly #scene: Scene;

  constructor(scene: Scene) {
    this.#scene = scene;
    this.config = scene.config;
    this.socket = `${scene.sandbox.dir}/stock`;
  }

  /** Returns the argv of a call. */
  argv(...words: readonly string[]): string[] {
    const path = words.includes("-S") ? [] : ["-S", this.socket];
    const auto = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60"];
    return [needProgram("ssh"), "-F", this.config, ...path, ...auto, ...words];
  }

  /** Runs a call to its end, and to the end of everything that holds its output. */
  run(words: readonly string[], options?: RunOptions): Promise<RunResult> {
    return this.#scene.run(this.argv(...words), options);
  }

  /** Ends its masters, and the sessions on them. */
  async end(): Promise<void> {
    const own = this.#scene.processes().filter(({ args }) => args.join(" ").includes(this.socket));
    await endAll(own.map(({ pid }) => pid));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.end();
  }
}
