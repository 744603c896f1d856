/**
 * sshs - ssh with opportunistic connection sharing
 *
 *     sshs [ssh's own arguments]     runs ssh over a shared connection, starting one if need be
 *     sshs --list [--json]           shows what is shared
 *     sshs --why ARGS...             says what would be done with a call, and why
 *     sshs --help                    shows all commands
 *
 * The first call to a host starts a detached connection master, runs its own session over it and
 * exits when that session exits; later calls ride the same connection; when the last session is gone
 * the master lingers for a while. Whatever is odd or broken: this process becomes plain ssh with the
 * user's own arguments. Exits as ssh does; 2 for wrong use of a command of ours, 126 or 127 where ssh
 * cannot be run.
 *
 *     argv -> decide -> direct -----------------> exec ssh "$@"
 *                    -> share  -> route (a lane) -> exec ssh -S <socket> -o ControlMaster=no "$@"
 */
import { callSsh } from "./lib/call/call.ts";
import { restoreEnvironment } from "./lib/os/deno_environment.ts";
import { askpass } from "./lib/lane/prompt.ts";
import { realSystem } from "./lib/os/system.ts";

/** The launchers put it before the user's words: `ssh --list` is for ssh to refuse, not for us. */
const AS_SSH = "--as=ssh";

async function main(argv: readonly string[]): Promise<never> {
  restoreEnvironment();
  const [first, ...rest] = argv;
  if (first === AS_SSH) return await callSsh(rest);
  if (first === "--askpass") Deno.exit(await askpass(rest[0] ?? "", realSystem));
  if (first === "--sleeper") {
    const { Sleeper } = await import("./lib/sleeper/sleeper.ts");
    Deno.exit(await new Sleeper(rest[0], realSystem).run());
  }
  if (first?.startsWith("--") && first !== "--") {
    const { runCommand } = await import("./lib/commands/mod.ts");
    Deno.exit(await runCommand(argv, realSystem));
  }
  return await callSsh(argv);
}

if (import.meta.main) await main(Deno.args);
