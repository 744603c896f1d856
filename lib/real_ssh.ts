/** Which program is the real ssh, and which is one of our own shims before it in PATH. */
import type { System } from "./system.ts";

/** The line by which a launcher of ours is known, within its first 256 bytes. */
export const LAUNCHER_MARK = "# sshs launcher";

/**
 * Marks whatever we start: a call that finds it is inside another one (a `Match exec`, a
 * ProxyCommand, a wrapper that calls `ssh` again) and becomes plain ssh. Its value is the real ssh
 * of the outer call.
 */
export const INSIDE = "SSHS_INSIDE";

/**
 * The absolute path of the real ssh: `SSHS_SSH`, else the first `ssh` in PATH that is not one of our
 * shims; `undefined` where there is none. Inside another call of ours a script that the outer call
 * took for the real ssh has called us back: it is passed over, else the two would go round for ever.
 */
export function findRealSsh(system: Pick<System, "env">): string | undefined {
  const inside = system.env(INSIDE);
  const chosen = system.env("SSHS_SSH");
  if (chosen?.startsWith("/") && !(chosen === inside && isScript(chosen))) return chosen;
  for (const dir of (system.env("PATH") ?? "/usr/local/bin:/usr/bin:/bin").split(":")) {
    if (!dir.startsWith("/")) continue;
    const path = `${dir.replace(/\/+$/, "")}/ssh`;
    const head = headOf(path);
    if (head === undefined || head.includes(LAUNCHER_MARK)) continue;
    if (path === inside && head.startsWith("#!")) continue;
    return path;
  }
}

/** Whether the program is a script, which may call `ssh` again, and not a binary. */
export function isScript(path: string): boolean {
  return headOf(path)?.startsWith("#!") ?? false;
}

/** The first bytes of an executable file; `undefined` where it is none. */
function headOf(path: string): string | undefined {
  try {
    const info = Deno.statSync(path);
    if (!info.isFile || !((info.mode ?? 0) & 0o111)) return undefined;
    using file = Deno.openSync(path);
    const head = new Uint8Array(256);
    return new TextDecoder("latin1").decode(head.subarray(0, file.readSync(head) ?? 0));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return undefined;
    }
    // A program that may be run but not read cannot be one of ours.
    return error instanceof Deno.errors.PermissionDenied ? "" : undefined;
  }
}
