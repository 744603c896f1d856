import { Scene, type SceneOptions } from "./scene.ts";
import { Sshd, type SshdOptions } from "./sshd.ts";

/** A host of the fleet's ssh_config, with its own lines, which come before the common ones. */
export interface FleetHost {
  server: Sshd;
  lines?: readonly string[];
}

/**
 * A bastion, a target, and a sandbox that knows them as `b` and as `t` behind it. All servers accept the
 * same key, and no line of the configuration applies to all hosts, as in a real one.
 */
export class Fleet implements AsyncDisposable {
  readonly bastion: Sshd;
  /** Its server is the target. */
  readonly scene: Scene;
  #writes = 0;

  private constructor(bastion: Sshd, scene: Scene) {
    this.bastion = bastion;
    this.scene = scene;
  }

  static async open(bastion: SshdOptions = {}, target: SceneOptions = {}): Promise<Fleet> {
    await using stack = new AsyncDisposableStack();
    const fleet = new Fleet(
      stack.use(await Sshd.start(bastion)),
      stack.use(await Scene.open({ ...target, env: { SSHS_LINGER: "60", ...target.env } })),
    );
    await fleet.write();
    stack.move();
    return fleet;
  }

  get target(): Sshd {
    return this.scene.sshd;
  }

  /** Rewrites the client's ssh_config, with `more` hosts beside `b` and `t`; `bastion` has lines for `b`. */
  async write(
    more: Readonly<Record<string, FleetHost>> = {},
    { bastion = [] }: { bastion?: readonly string[] } = {},
  ): Promise<void> {
    const hosts: Record<string, FleetHost> = {
      b: { server: this.bastion, lines: bastion },
      t: { server: this.target, lines: ["ProxyJump b"] },
      ...more,
    };
    const texts = Object.entries(hosts).map(([name, { server, lines = [] }]) =>
      [
        `Host ${name}`,
        ...lines,
        "HostName 127.0.0.1",
        `Port ${server.port}`,
        `User ${server.user.name}`,
        `IdentityFile ${server.dir}/user_key`,
        "IdentitiesOnly yes",
        "LogLevel ERROR",
        `UserKnownHostsFile ${this.scene.sandbox.dir}/known_hosts`,
        "GlobalKnownHostsFile none",
        "StrictHostKeyChecking accept-new",
        "",
      ].join("\n")
    );
    await Deno.writeTextFile(this.scene.config, texts.join(""));
    this.target.ageConfigs();
    // A plan would still hold if the text changed but the time did not.
    Deno.utimeSync(this.scene.config, ++this.#writes, this.#writes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using stack = new AsyncDisposableStack();
    stack.use(this.bastion);
    stack.use(this.scene);
  }
}
