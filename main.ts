/**
 * sshs - ssh with opportunistic connection sharing
 *
 *     sshs [ssh's own arguments]     runs ssh over a shared connection, starting one if needed
 *     sshs --list [--json]           lists shared connections and when they close
 *     sshs --why ARGS...             says what a call would do, and why
 *     sshs --help                    shows all commands
 *
 * This program plans; lib/launcher/launcher.sh carries out the plans and becomes ssh. The launcher calls
 * the program for what it cannot do itself: `--decide` says what to do with a call, `--same` and
 * `--try-socket` judge a login, `--take-back` closes forwards that a call could not get, and `--sleeper` holds
 * lanes open. Exits as ssh does, with 2 for wrong use of a command of ours, or with 126 or 127 if ssh cannot be
 * run.
 */
import { answerCall } from "./lib/call/answer.ts";
import type { Given } from "./lib/os/given.ts";
import { ARGS } from "./lib/os/program.ts";
import { realSystem } from "./lib/os/system.ts";

async function main(argv: readonly string[]): Promise<number> {
  const isBare = argv[0] !== "--from";
  // To be installed it needs no launcher yet, and leaves none in the state directory.
  if (isBare && argv[0] !== "--install") {
    const { becomeLauncher } = await import("./lib/launcher/bootstrap.ts");
    return await becomeLauncher(argv, realSystem);
  }
  const [library, stateDir, ssh, job, spaces, ...words] = isBare
    ? ["", "", "", "", "", ...argv]
    : argv.slice(1);
  const given: Given = { library, stateDir, ssh, job, spaces };
  const [first, ...rest] = words;
  switch (first) {
    case "--decide":
      return await answerCall(rest, given, realSystem);
    case "--same": {
      const { sameConnection } = await import("./lib/ssh/same.ts");
      return await sameConnection(rest[0], rest.slice(2), given, realSystem);
    }
    case "--try-socket": {
      const { tryFiles } = await import("./lib/os/unix_socket.ts");
      const { noteDirect } = await import("./lib/lane/learned.ts");
      const found = tryFiles(`${rest[0]}/try`);
      if (!("problem" in found)) return 0;
      noteDirect(rest[0], `no control socket can be made there (${found.problem})`, Date.now());
      return 1;
    }
    case "--take-back": {
      const { takeBackAtOnce } = await import("./lib/lane/forwards.ts");
      const { laneAt } = await import("./lib/lane/layout.ts");
      return await takeBackAtOnce(laneAt(rest[0], rest[1]));
    }
    case "--sleeper": {
      const { runSleeper } = await import("./lib/sleeper/sleeper.ts");
      return await runSleeper(given);
    }
  }
  const { runCommand } = await import("./lib/commands/mod.ts");
  // `--job PID --with ...`: the process PID becomes the command.
  return first === "--job"
    ? await runCommand(rest.slice(1), given, realSystem, Number(rest[0]))
    : await runCommand(words, given, realSystem);
}

// No top-level await: with this module on the stack V8 would compile all of the bundle again to find the
// lines of the first error's stack trace, and a file that is missing is an error (10 ms).
if (import.meta.main) Promise.resolve(ARGS).then(main).then(realSystem.exit);
