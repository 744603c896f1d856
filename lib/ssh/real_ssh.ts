/** Which program is the real ssh is the launcher's rule; here is what that program is. */
import { isExecutable, readHead } from "../os/files.ts";
import type { System } from "../os/system.ts";

/** The line that marks a launcher of ours, within its first 256 bytes. */
export const LAUNCHER_MARK = "# sshs launcher";

/**
 * The variable that marks whatever we start or become: a call that finds it is inside another one (a
 * `Match exec`, a ProxyCommand, a wrapper that calls `ssh` again) and becomes plain ssh. Its value is the
 * real ssh of the outer call, followed by each that the calls inside became, separated by colons.
 */
export const INSIDE = "SSHS_INSIDE";

/** Whether the program is a script, which may call `ssh` again, rather than a binary. */
export function isScript(path: string): boolean {
  return headOf(path)?.startsWith("#!") ?? false;
}

/** Whether the program is a launcher of ours; `undefined` if there is no program. */
export function isLauncher(path: string): boolean | undefined {
  return headOf(path)?.includes(LAUNCHER_MARK);
}

/** Returns the first bytes of an executable file; `undefined` if it is none. */
function headOf(path: string): string | undefined {
  if (!isExecutable(path)) return undefined;
  // A program that may be run but not read cannot be one of ours.
  return new TextDecoder("latin1").decode(readHead(path, 256));
}

/** Returns the first line of `ssh -V`. */
export async function sshVersion(ssh: string, system: Pick<System, "run">): Promise<string> {
  const { stderr } = await system.run(ssh, ["-V"]);
  return stderr.split(/\r?\n/)[0] || `${ssh} of an unknown version`;
}
