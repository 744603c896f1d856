import { type RunResult, Sandbox, type SshsOptions } from "./sandbox.ts";
import { Sshd, type SshdOptions } from "./sshd.ts";

/**
 * A server and a sandbox whose lanes go soon after their last session.
 *
 *     await using scene = await Scene.create();
 *     assert.equal((await scene.call("echo hello")).stdout, "hello\n");
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
    return this.sandbox.sshs(this.args(command), options);
  }

  /**
   * Makes the real ssh a script that does what `fault` (sh) says, once it is called with `option`
   * first, as sshs does: `-G` to read the configuration, `-M` to start a master. It goes on as ssh,
   * which is `$ssh` in it, unless it has ended before.
   */
  async breakSsh(option: "-G" | "-M", fault: string): Promise<void> {
    const path = await this.sandbox.addProgram(
      "broken-ssh",
      `ssh=/usr/bin/ssh
       case $1 in ${option})
         ${fault}
       esac
       exec "$ssh" "$@"`,
    );
    this.sandbox.env.SSHS_SSH = path;
  }

  /** The directories of the identities in the state directory. */
  identities(): string[] {
    return this.sandbox.files().filter((file) => /^[0-9a-f]{16}\/$/.test(file))
      .map((file) => `${this.sandbox.stateDir}/${file.slice(0, -1)}`);
  }

  /** The one file or directory in the state directory whose name ends so; an absolute path. */
  fileOf(ending: string): string {
    const found = this.sandbox.files().filter((file) => file.replace(/\/$/, "").endsWith(ending));
    if (found.length !== 1) throw new Error(`Found ${found.length} files *${ending}: ${found}`);
    return `${this.sandbox.stateDir}/${found[0].replace(/\/$/, "")}`;
  }

  /**
   * Waits until nothing is left of what sshs did, but the note of an attempt that failed: it is for
   * those who wait for it, and the next sleeper removes it.
   */
  assertClean(): Promise<void> {
    const ignore = /^[0-9a-f]{16}\/(failed|identity|lock)?$/;
    return this.sandbox.assertClean({ deadline: 25_000, ignore });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sandbox[Symbol.asyncDispose]();
    await this.sshd[Symbol.asyncDispose]();
  }
}
