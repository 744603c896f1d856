/**
 * `sshs --socket HOST`: prints the control socket of the connection that a call would use, for tools that
 * bring their own multiplexing. It opens none: that is for `--warm`.
 */
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { print, say } from "../os/terminal.ts";
import { commandLine } from "./phrases.ts";
import { answerFor } from "./why.ts";

/** Prints the path of the socket. Returns 1 if no connection is open. */
export async function socket(
  argv: readonly string[],
  given: Given,
  system: System,
): Promise<number> {
  const { told, lane, reason, remedy } = await answerFor(argv, given, system);
  if (lane) {
    print(lane.socket);
    return 0;
  }
  say(
    told.kind === "direct"
      ? { fault: `not shared: ${reason}`, hint: remedy }
      : { fault: "no connection is open", hint: commandLine(["sshs", "--warm", ...argv]) },
  );
  return 1;
}
