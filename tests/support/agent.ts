import { eventually } from "./eventually.ts";
import { endAll } from "./processes.ts";
import { needProgram, run } from "./programs.ts";
import type { Sandbox } from "./sandbox.ts";
import type { Scene } from "./scene.ts";

/** An ssh-agent for the calls in a sandbox. */
export class Agent implements AsyncDisposable {
  readonly socket: string;
  readonly #sandbox: Sandbox;
  readonly #child: Deno.ChildProcess;

  private constructor(sandbox: Sandbox, socket: string, child: Deno.ChildProcess) {
    this.socket = socket;
    this.#sandbox = sandbox;
    this.#child = child;
  }

  static async start(sandbox: Sandbox, env: Record<string, string> = {}): Promise<Agent> {
    const socket = `${sandbox.dir}/agent`;
    const child = sandbox.spawn([needProgram("ssh-agent"), "-D", "-a", socket], { env });
    await eventually("the agent listens", () => listens(socket));
    sandbox.env.SSH_AUTH_SOCK = socket;
    return new Agent(sandbox, socket, child);
  }

  /** Runs ssh-add with these words. */
  async add(...words: readonly string[]): Promise<void> {
    const { code, stderr } = await this.#sandbox.run(["ssh-add", "-q", ...words]);
    if (code !== 0) throw new Error(`ssh-add ${words.join(" ")}: ${stderr}`);
  }

  /** Makes this key the only one in the agent. */
  async hold(key: string): Promise<void> {
    await this.add("-D");
    await this.add(key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endAll([this.#child.pid]);
    await this.#child.output();
    await this.#child.stdin.close().catch(() => {});
  }
}

/** Whether somebody accepts connections on a socket. */
async function listens(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch (error) {
    const { ConnectionRefused, NotFound } = Deno.errors;
    if (error instanceof ConnectionRefused || error instanceof NotFound) return false;
    throw error;
  }
}

/** Makes the client take its keys only from the agent. */
export async function useAgentAlone(scene: Scene): Promise<void> {
  const config = await Deno.readTextFile(scene.config);
  const without = config.replace(/^(IdentityFile|IdentitiesOnly).*\n/gm, "");
  await Deno.writeTextFile(scene.config, `${without}IdentityFile none\n`);
  scene.sshd.ageConfigs();
}

/** Adds a key that the server accepts and answers with `word` instead of the command, as a git host does. */
export async function addAccount({ sshd }: Scene, path: string, word: string): Promise<void> {
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path]);
  const authorized = `${sshd.dir}/authorized_keys`;
  const key = await Deno.readTextFile(`${path}.pub`);
  await Deno.writeTextFile(authorized, `command="echo ${word}" ${key}`, { append: true });
}
