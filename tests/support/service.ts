import { eventually } from "./eventually.ts";
import { isThere } from "./is_there.ts";
import { endAll } from "./processes.ts";

/** Where systemd's groups are: in version 1 of cgroups(7), and in version 2. */
const ROOT = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup"].find((dir) =>
  isThere(`${dir}/cgroup.procs`)
);

/** Whether a test may make a control group. */
export const canMakeServices: boolean = canMake();

/**
 * A system service as systemd makes one: a control group. When it ends, everything started in it ends.
 *
 *     await using service = new Service();
 *     await scene.run(service.argv(["ssh", ...scene.args("true")]));
 *     await service.stop();
 */
export class Service implements AsyncDisposable {
  readonly #dir: string = `${ROOT}/system.slice/sshs-test-${crypto.randomUUID()}.service`;

  constructor() {
    Deno.mkdirSync(this.#dir, { recursive: true });
  }

  /** Returns the argv that runs a program in it. */
  argv(words: readonly string[]): string[] {
    return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', `${this.#dir}/cgroup.procs`, ...words];
  }

  /** Ends everything that runs in it. */
  async stop(): Promise<void> {
    const pids = Deno.readTextFileSync(`${this.#dir}/cgroup.procs`).split("\n").filter(Boolean);
    await endAll(pids.map(Number));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await eventually("the control group is gone", () => removes(this.#dir));
    removes(`${ROOT}/system.slice`); // If it is ours.
  }
}

/** Removes a control group, which has files but no processes in it; returns whether that worked. */
function removes(dir: string): boolean {
  try {
    Deno.removeSync(dir);
    return true;
  } catch {
    return false; // Processes that have ended are in it for a moment longer.
  }
}

function canMake(): boolean {
  const dir = `${ROOT}/sshs-test-${Deno.pid}`;
  try {
    Deno.mkdirSync(dir);
    return isThere(`${dir}/cgroup.procs`);
  } catch {
    return false;
  } finally {
    removes(dir);
  }
}
