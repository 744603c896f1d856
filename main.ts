/**
 * sshs - ssh with opportunistic connection sharing
 *
 *     sshs [ssh's own arguments]     runs ssh over a shared connection, starting one if needed
 *     sshs --help                    shows our own commands
 *
 * This program plans; lib/launcher/launcher.sh carries out the plans and becomes ssh, and calls the program for
 * what it cannot do itself. Exits as ssh does, with 2 for wrong use of a command of ours, or with 126 or 127 if
 * ssh cannot be run.
 */
import { answerCall, isAsDecided } from "./lib/call/answer.ts";
import type { Given } from "./lib/os/given.ts";
import { ARGS, restorePath } from "./lib/os/program.ts";
import { realSystem } from "./lib/os/system.ts";

/**
 * What the launcher calls the program for: to decide on a call, to judge a login, to close forwards that a call
 * could not get, and to hold lanes open.
 */
const TASKS: Record<string, (words: readonly string[], given: Given) => Promise<number>> = {
  "--decide": (words, given) => answerCall(words, given, realSystem),
  "--same": (words, given) => isAsDecided(words, given, realSystem),
  "--try-socket": async ([home]) => {
    const { tryFiles } = await import("./lib/os/unix_socket.ts");
    const { noteDirect } = await import("./lib/lane/learned.ts");
    const found = tryFiles(`${home}/try`);
    if (!("problem" in found)) return 0;
    noteDirect(home, `no control socket can be made there (${found.problem})`, Date.now());
    return 1;
  },
  "--take-back": async ([home, lane]) => {
    const { takeBackAtOnce } = await import("./lib/lane/forwards.ts");
    const { laneAt } = await import("./lib/lane/layout.ts");
    return await takeBackAtOnce(laneAt(home, lane));
  },
  "--sleeper": async (_, given) => (await import("./lib/sleeper/sleeper.ts")).runSleeper(given),
};

async function main(argv: readonly string[]): Promise<number> {
  restorePath();
  const isBare = argv[0] !== "--from";
  // To be installed it needs no launcher yet, and leaves none in the state directory.
  if (isBare && argv[0] !== "--install") {
    const { becomeLauncher } = await import("./lib/launcher/bootstrap.ts");
    return await becomeLauncher(argv, realSystem);
  }
  const [library, stateDir, ssh, job, spaces, ...words] = isBare
    ? ["", "", "", "", "", ...argv]
    : argv.slice(1);
  const given = { library, stateDir, ssh, job, spaces };
  const [first, ...rest] = words;
  if (Object.hasOwn(TASKS, first)) return await TASKS[first](rest, given);
  const { runCommand } = await import("./lib/commands/mod.ts");
  // `--job PID --with ...`: the process PID becomes the command.
  return first === "--job"
    ? await runCommand(rest.slice(1), given, realSystem, Number(rest[0]))
    : await runCommand(words, given, realSystem);
}

// No top-level await: with this module on the stack V8 would compile all of the bundle again to find the
// lines of the first error's stack trace, and a file that is missing is an error (10 ms).
if (import.meta.main) Promise.resolve(ARGS).then(main).then(realSystem.exit);
