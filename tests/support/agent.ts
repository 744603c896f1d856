import { eventually } from "./eventually.ts";
import { exists } from "./exists.ts";
import { endAll } from "./processes.ts";
import { needProgram, run } from "./programs.ts";
import type { Scene } from "./scene.ts";

/** An ssh-agent for a scene, whose client has its keys only from there. */
export class Agent implements AsyncDisposable {
  readonly #scene: Scene;
  readonly #child: Deno.ChildProcess;

  private constructor(scene: Scene, child: Deno.ChildProcess) {
    this.#scene = scene;
    this.#child = child;
  }

  static async start(scene: Scene): Promise<Agent> {
    const agent = new Agent(scene, await startAgent(scene));
    await useAgentAlone(scene);
    return agent;
  }

  /** Makes this key the only one in the agent. */
  async hold(key: string): Promise<void> {
    await this.#scene.run(["ssh-add", "-q", "-D"]);
    const { code, stderr } = await this.#scene.run(["ssh-add", "-q", key]);
    if (code !== 0) throw new Error(`ssh-add ${key}: ${stderr}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endAll([this.#child.pid]);
    await this.#child.output();
    await this.#child.stdin.close().catch(() => {});
  }
}

/** Starts an ssh-agent for a scene's calls. */
export async function startAgent(
  { sandbox }: Scene,
  env: Record<string, string> = {},
): Promise<Deno.ChildProcess> {
  const socket = `${sandbox.dir}/agent`;
  const child = sandbox.spawn([needProgram("ssh-agent"), "-D", "-a", socket], { env });
  await eventually("the agent listens", () => exists(socket));
  sandbox.env.SSH_AUTH_SOCK = socket;
  return child;
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
