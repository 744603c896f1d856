/**
 * What Deno does to the environment and the limits, or would do because of them. We are to become ssh,
 * whose children get the environment that the user has; and a plan holds for that PATH.
 */
import { setFileLimit } from "./libc.ts";

const SHIM_MARK = "DENO_NODE_SHIM_ACTIVE";
const SHIM_DIRECTORY = "/node_compat_bin";

let fileLimit: number | undefined;

/** Makes the environment what it was before the launcher and Deno came. */
export function restoreEnvironment(): void {
  undoNodeShim();
  undoLauncher();
}

/**
 * Makes the number of files that a process may open what it was: Deno raises it to the most that is
 * allowed, and who closes each of a million descriptors takes its time. For what is started from now on.
 */
export function restoreFileLimit(): void {
  if (fileLimit !== undefined) setFileLimit(fileLimit);
}

/**
 * Where there is no node in PATH, Deno puts a directory first in it with a `node` that is Deno, for
 * what its children start (since 2.9, denoland/deno#34969).
 */
function undoNodeShim(): void {
  if (Deno.env.get(SHIM_MARK) === undefined) return;
  const [first, ...users] = (Deno.env.get("PATH") ?? "").split(":");
  if (!first.endsWith(SHIM_DIRECTORY)) return;
  Deno.env.delete(SHIM_MARK);
  // Alone it stands in a PATH that was not set.
  if (users.length > 0) Deno.env.set("PATH", users.join(":"));
  else Deno.env.delete("PATH");
}

/** The launcher keeps NODE_OPTIONS from Deno, which would load what it names, and Deno from asking for news. */
function undoLauncher(): void {
  const options = Deno.env.get("SSHS_NODE_OPTIONS");
  if (options === undefined) return;
  if (options) Deno.env.set("NODE_OPTIONS", options);
  else Deno.env.delete("NODE_OPTIONS");
  Deno.env.delete("SSHS_NODE_OPTIONS");
  fileLimit = Number(Deno.env.get("SSHS_NOFILE")) || undefined;
  Deno.env.delete("SSHS_NOFILE");
  if (Deno.env.get("DENO_NO_UPDATE_CHECK") === "sshs") Deno.env.delete("DENO_NO_UPDATE_CHECK");
}
