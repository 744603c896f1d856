import assert from "node:assert/strict";
import { needProgram } from "./programs.ts";
import { type RunResult, Sandbox, type SshsOptions } from "./sandbox.ts";
import { Sshd, type SshdOptions } from "./sshd.ts";

/**
 * A server and a sandbox whose lanes go soon after their last session, and ways to break both.
 *
 *     await using scene = await Scene.create();
 *     await scene.breakSsh("-M", "exit 1");
 *     await scene.assertWorks("without a master");
 *     await scene.assertClean();
 */
export class Scene implements AsyncDisposable {
  readonly sshd: Sshd;
  readonly sandbox: Sandbox;

  private constructor(sshd: Sshd, sandbox: Sandbox) {
    this.sshd = sshd;
    this.sandbox = sandbox;
  }

  static async create(options: SshdOptions = {}): Promise<Scene> {
    const sandbox = await Sandbox.create();
    Object.assign(sandbox.env, { SSHS_LOOK: "0.5", SSHS_LINGER: "1" });
    // Else the host key's warning is on the stderr of the first call.
    const client = { config: ["LogLevel ERROR"] };
    return new Scene(await Sshd.start({ client, ...options }), sandbox);
  }

  /** The words after `ssh` for a command on the server. */
  args(command: string): string[] {
    return ["-F", this.sshd.config, "host", command];
  }

  /** Runs a command on the server by sshs. */
  call(command: string, options: SshsOptions = {}): Promise<RunResult> {
    return this.sandbox.sshs(this.args(command), { timeout: 60_000, ...options });
  }

  /**
   * Asserts that a call does what it should, whatever was broken: what it prints and how it ends is the
   * command's, and on stderr there is nothing, or the one line of ours that `noise` allows.
   */
  async assertWorks(
    what: string,
    { noise = /^$/, ...options }: SshsOptions & { noise?: RegExp } = {},
  ): Promise<void> {
    const { code, stdout, stderr } = await this.call("echo hello; exit 3", options);
    assert.deepEqual([code, stdout], [3, "hello\n"], `${what}: ${stderr}`);
    assert.match(stderr, noise, `${what}: ${stderr}`);
  }

  /**
   * Makes the real ssh a script that does what `fault` (sh) says where sshs calls it with `option`
   * first: `-G` to read the configuration, `-M` to start a master, `-S` to become it. It goes on as
   * ssh, which is `$ssh` in it, unless it has ended before.
   */
  async breakSsh(option: "-G" | "-M" | "-S", fault: string): Promise<void> {
    this.sandbox.env.SSHS_SSH = await this.sandbox.addProgram(
      "broken-ssh",
      `ssh=${needProgram("ssh")}
       case $1 in ${option})
         ${fault}
       esac
       exec "$ssh" "$@"`,
    );
  }

  /** The one file in the state directory whose name ends so; an absolute path. */
  fileOf(ending: string): string {
    const names = this.sandbox.files().map((file) => file.replace(/\/$/, ""));
    const found = names.filter((name) => name.endsWith(ending));
    assert.equal(found.length, 1, `files in *${ending}: ${names}`);
    return `${this.sandbox.stateDir}/${found[0]}`;
  }

  /** Waits until nothing is left of what sshs did. */
  assertClean(): Promise<void> {
    return this.sandbox.assertClean({ deadline: 30_000 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sandbox[Symbol.asyncDispose]();
    await this.sshd[Symbol.asyncDispose]();
  }
}
