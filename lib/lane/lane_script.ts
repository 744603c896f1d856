/** A small script beside a lane's socket, for what ssh takes as one path: SSH_ASKPASS, SHELL. */
import { removePath } from "../os/files.ts";
import type { Lane } from "./lane.ts";
import type { System } from "../os/system.ts";

export class LaneScript implements Disposable {
  /** `<lane>.<name>` */
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Writes a script for /bin/sh, there until it is disposed of. `undefined` where no program can be run
   * from the lane's directory (a file system mounted noexec).
   */
  static async make(
    lane: Lane,
    name: string,
    text: string,
    system: Pick<System, "run">,
  ): Promise<LaneScript | undefined> {
    const script = new LaneScript(`${lane.dir}/${lane.name}.${name}`);
    // Without an argument it does nothing: so it is tried.
    const whole = `#!/bin/sh\n[ $# -gt 0 ] || exit 0\n${text}`;
    Deno.writeTextFileSync(script.path, whole, { mode: 0o700 });
    try {
      await system.run(script.path, []);
      return script;
    } catch (error) {
      script[Symbol.dispose]();
      if (error instanceof Deno.errors.PermissionDenied) return undefined;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    removePath(this.path);
  }
}
