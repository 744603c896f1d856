/** Which program is the real ssh, and which is one of our own shims before it in PATH. */
import { isExecutable, readHead } from "../os/files.ts";
import type { System } from "../os/system.ts";

/** The line by which a launcher of ours is known, within its first 256 bytes. */
export const LAUNCHER_MARK = "# sshs launcher";

/**
 * Marks whatever we start or become: a call that finds it is inside another one (a `Match exec`, a
 * ProxyCommand, a wrapper that calls `ssh` again) and becomes plain ssh. Its value is the real ssh
 * of the outer call, and after a colon each that the calls inside have become.
 */
export const INSIDE = "SSHS_INSIDE";

/** So many calls inside one another go round in a circle: ProxyCommands make one call for each hop. */
const CIRCLE = 16;

/**
 * The absolute path of the real ssh: `SSHS_SSH`, else the first `ssh` in PATH that is not one of our
 * shims; `undefined` where there is none. A script that an outer call took for the real ssh has
 * called us back: it is passed over, else the two would go round for ever. So is a binary, which may
 * have a ProxyCommand call us, once there is no other explanation.
 */
export function findRealSsh(system: Pick<System, "env">): string | undefined {
  const inside = `:${system.env(INSIDE) ?? ""}:`;
  const isCircle = inside.split(":").length > CIRCLE;
  for (const path of candidates(system)) {
    const head = headOf(path);
    if (head === undefined || head.includes(LAUNCHER_MARK)) continue;
    if (inside.includes(`:${path}:`) && (isCircle || head.startsWith("#!"))) continue;
    return path;
  }
}

/** Whether the program is a script, which may call `ssh` again, and not a binary. */
export function isScript(path: string): boolean {
  return headOf(path)?.startsWith("#!") ?? false;
}

/** Whether the program is a launcher of ours; `undefined` where there is no program. */
export function isLauncher(path: string): boolean | undefined {
  return headOf(path)?.includes(LAUNCHER_MARK);
}

function candidates(system: Pick<System, "env">): string[] {
  const dirs = (system.env("PATH") ?? "/usr/local/bin:/usr/bin:/bin").split(":");
  const paths = dirs.map((dir) => `${dir.replace(/\/+$/, "")}/ssh`);
  // A relative one is another program in another directory, and argv[0] must not be that.
  return [system.env("SSHS_SSH") ?? "", ...paths].filter((path) => path.startsWith("/"));
}

/** The first bytes of an executable file; `undefined` where it is none. */
function headOf(path: string): string | undefined {
  if (!isExecutable(path)) return undefined;
  // A program that may be run but not read cannot be one of ours.
  return new TextDecoder("latin1").decode(readHead(path, 256));
}

/** The first line of `ssh -V`. */
export async function sshVersion(ssh: string, system: Pick<System, "run">): Promise<string> {
  const { stderr } = await system.run(ssh, ["-V"]);
  return stderr.split(/\r?\n/)[0] || `${ssh} of an unknown version`;
}
