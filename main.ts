/**
 * sshs - ssh with opportunistic connection sharing
 *
 *     sshs [ssh's own arguments]     runs ssh over a shared connection, starting one if need be
 *     sshs --list [--json]           lists shared connections and when they close
 *     sshs --why ARGS...             says what would be done with a call, and why
 *     sshs --help                    shows all commands
 *
 * This is the program that plans; lib/launcher/launcher.sh is what runs, and becomes ssh. It calls the
 * program for what it cannot know: `--decide` what is done with a call, `--check` whether the far ends
 * of lanes answer, `--take-back` what a call could not get forwarded, `--sleeper` what holds them
 * open. Exits as ssh does; 2 for wrong use of a command of
 * ours, 126 or 127 where ssh cannot be run.
 */
import { answerCall } from "./lib/call/answer.ts";
import { ARGS } from "./lib/os/program.ts";
import { realSystem } from "./lib/os/system.ts";

async function main(argv: readonly string[]): Promise<number> {
  const [first, ...rest] = argv;
  switch (first) {
    case "--decide":
      return await answerCall(rest, realSystem);
    case "--check": {
      const { checkLanes } = await import("./lib/lane/health.ts");
      return await checkLanes(rest[0], realSystem);
    }
    case "--take-back": {
      const { takeBackAtOnce } = await import("./lib/lane/forwards.ts");
      const { laneAt } = await import("./lib/lane/layout.ts");
      return await takeBackAtOnce(laneAt(rest[0], rest[1]));
    }
    case "--sleeper": {
      const { runSleeper } = await import("./lib/sleeper/sleeper.ts");
      return await runSleeper(rest[0]);
    }
  }
  if (first?.startsWith("--") && first !== "--") {
    const { runCommand } = await import("./lib/commands/mod.ts");
    return await runCommand(argv, realSystem);
  }
  const { callSsh } = await import("./lib/launcher/launcher.ts");
  return await callSsh(argv, realSystem);
}

if (import.meta.main) realSystem.exit(await main(ARGS));
