/**
 * Gives a ProxyCommand its words back. Where there is a ControlPersist ssh starts it with stderr closed
 * (ssh_proxy_connect() in sshconnect.c), but by the user's SHELL: so SHELL is a program that opens the
 * lane's log for it and becomes the user's shell.
 */
import type { Lane } from "./lane.ts";
import { LaneScript } from "./lane_script.ts";
import type { System } from "../os/system.ts";

const USERS_SHELL = "SSHS_SHELL";

const SCRIPT = `SHELL=$${USERS_SHELL}
export SHELL
unset ${USERS_SHELL}
exec "$SHELL" "$@" 2>>"\${0%.shell}.log"
`;

export class ProxyShell implements Disposable {
  /** What the master's environment needs. */
  readonly env: Record<string, string>;
  readonly #script: LaneScript;

  private constructor(script: LaneScript, usersShell: string) {
    this.#script = script;
    this.env = { SHELL: script.path, [USERS_SHELL]: usersShell };
  }

  /** `undefined` where no script can be run: the words are lost then, and nothing else. */
  static async make(
    lane: Lane,
    system: Pick<System, "env" | "run">,
  ): Promise<ProxyShell | undefined> {
    const script = await LaneScript.make(lane, "shell", SCRIPT, system);
    return script && new ProxyShell(script, system.env("SHELL") ?? "/bin/sh");
  }

  [Symbol.dispose](): void {
    this.#script[Symbol.dispose]();
  }
}
