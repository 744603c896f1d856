/** Opens a lane without a session, by the launcher: for --warm, --hold and --with. */
import { basename } from "@std/path/posix/basename";
import { dirname } from "@std/path/posix/dirname";
import { type Lane, laneAt } from "../lane/layout.ts";
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { type Message, words } from "../os/terminal.ts";
import { answerFor } from "./why.ts";

/** A lane, or the problem why it is not open. */
export interface Opened {
  readonly lane?: Lane;
  readonly problem?: Message;
  /** ssh would have asked the user something. */
  readonly wantsAnswer?: boolean;
}

/** The launcher's exit status in open mode if the login failed, as ssh's own. */
export const LOGIN_FAILED = 255;

/** The same if the call would become plain ssh, for whatever reason. */
const CANNOT_SHARE = 3;

/** What ssh says if it needed a password, passphrase, code or "yes", and BatchMode did not let it ask. */
const WANTS_ANSWER =
  /Permission denied|Host key verification failed|Too many authentication failures/;

/**
 * Opens the lane of a call, or finds it open.
 *
 * @param options.mayAsk ssh asks its questions on the terminal, and says there why it fails; otherwise it
 * asks none (BatchMode)
 * @param options.stateDir where, if not in the usual state directory
 */
export async function openLane(
  argv: readonly string[],
  given: Given,
  system: System,
  options: { mayAsk: boolean; stateDir?: string },
): Promise<Opened> {
  const { code, stdout, stderr } = await system.run(`${given.library}/bin/ssh`, argv, {
    env: {
      SSHS_TASK: options.mayAsk ? "open" : "open-batch",
      ...options.stateDir === undefined ? {} : { SSHS_DIR: options.stateDir },
    },
    showStderr: options.mayAsk,
  });
  if (code === 0) {
    const path = stdout.trimEnd();
    return { lane: laneAt(dirname(path), basename(path)) };
  }
  if (code === CANNOT_SHARE) return { problem: await whyNotShared(argv, given, system) };
  const said = stderr.split(/\r?\n/).findLast((line) => line.trim() !== "");
  const wantsAnswer = code === LOGIN_FAILED && WANTS_ANSWER.test(stderr);
  return { problem: { fault: said ?? "ssh could not log in" }, wantsAnswer };
}

async function whyNotShared(
  argv: readonly string[],
  given: Given,
  system: System,
): Promise<Message> {
  if (given.ssh === "") return words.noSsh();
  const { told, reason, remedy } = await answerFor(argv, given, system);
  if (told.why === "learned") return { fault: reason, hint: remedy };
  if (told.kind === "direct") return { fault: `cannot be shared: ${reason}`, hint: remedy };
  return told.place === "wait"
    ? { fault: "another call is still logging in", hint: "try again when it has logged in" }
    : { fault: "the connection could not be opened here", hint: "sshs --doctor" };
}
