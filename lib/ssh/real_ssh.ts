/** Tells the real ssh from our own launchers before it in PATH. */
import { isExecutable, readHead } from "../os/files.ts";
import { inPath } from "../os/program.ts";
import type { System } from "../os/system.ts";

/** The line that marks a launcher of ours, within its first 256 bytes. */
export const LAUNCHER_MARK = "# sshs launcher";

/**
 * The variable that marks whatever we start or become: a call that finds it is inside another one (a
 * `Match exec`, a ProxyCommand, a wrapper that calls `ssh` again) and becomes plain ssh. Its value is the
 * real ssh of the outer call, followed by each that the calls inside became, separated by colons.
 */
export const INSIDE = "SSHS_INSIDE";

/** This many nested calls are a loop: ProxyCommands make one call for each hop. */
const CIRCLE = 16;

/**
 * Returns the absolute path of the real ssh: `SSHS_SSH`, or the first `ssh` in PATH that is not one of our
 * launchers; `undefined` if there is none. A script that an outer call took for the real ssh has called us
 * back: we skip it, since the two would call each other forever. A binary may have a ProxyCommand that
 * calls us, so we skip it only when nothing else explains the nesting.
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

/** Whether the program is a script, which may call `ssh` again, rather than a binary. */
export function isScript(path: string): boolean {
  return headOf(path)?.startsWith("#!") ?? false;
}

/** Whether the program is a launcher of ours; `undefined` if there is no program. */
export function isLauncher(path: string): boolean | undefined {
  return headOf(path)?.includes(LAUNCHER_MARK);
}

function candidates(system: Pick<System, "env">): string[] {
  const chosen = system.env("SSHS_SSH");
  // A relative path is another program in another directory, and argv[0] must not be one.
  return [
    ...(chosen?.startsWith("/") ? [chosen] : []),
    ...inPath("ssh", system.env("PATH") ?? "/usr/local/bin:/usr/bin:/bin"),
  ];
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
