/**
 * Where there is no node in PATH, Deno puts a directory first in it with a `node` that is Deno, for
 * what its children start (since 2.9, denoland/deno#34969). We are to become ssh, whose ProxyCommands
 * get the PATH that the user has; and a plan holds for that PATH.
 */

const MARK = "DENO_NODE_SHIM_ACTIVE";
const DIRECTORY = "/node_compat_bin";

/** Takes Deno's own `node` out of the environment. */
export function undoNodeShim(): void {
  if (Deno.env.get(MARK) === undefined) return;
  const [first, ...users] = (Deno.env.get("PATH") ?? "").split(":");
  if (!first.endsWith(DIRECTORY)) return;
  Deno.env.delete(MARK);
  // Alone it stands in a PATH that was not set.
  if (users.length > 0) Deno.env.set("PATH", users.join(":"));
  else Deno.env.delete("PATH");
}
