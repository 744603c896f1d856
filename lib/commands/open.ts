/** Opens a lane without a session, by the launcher: for --warm, --hold and --with. */
import { basename } from "@std/path/posix/basename";
import { dirname } from "@std/path/posix/dirname";
import { type Lane, laneAt } from "../lane/layout.ts";
import { type Message, words } from "../os/terminal.ts";
import type { Here } from "./command.ts";
import { answerFor } from "./why.ts";

/** A lane, or the problem why it is not open. */
export interface Opened {
  readonly lane?: Lane;
  readonly problem?: Message;
  /** ssh would have asked the user something. */
  readonly wantsAnswer?: boolean;
}

/** The launcher's exit status for an open task if the login failed, as ssh's own. */
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
  here: Here,
  { mayAsk, stateDir }: { mayAsk: boolean; stateDir?: string },
): Promise<Opened> {
  const { given, system } = here;
  const { code, stdout, stderr } = await system.run(`${given.library}/bin/ssh`, argv, {
    env: { SSHS_TASK: mayAsk ? "open" : "open-batch", ...stateDir && { SSHS_DIR: stateDir } },
    showStderr: mayAsk,
  });
  if (code === 0) {
    const path = stdout.trimEnd();
    return { lane: laneAt(dirname(path), basename(path)) };
  }
  if (code === CANNOT_SHARE) return { problem: await whyNotShared(argv, here) };
  const said = stderr.split(/\r?\n/).findLast((line) => line.trim() !== "");
  const wantsAnswer = code === LOGIN_FAILED && WANTS_ANSWER.test(stderr);
  return { problem: { fault: said ?? "ssh could not log in" }, wantsAnswer };
}

async function whyNotShared(argv: readonly string[], here: Here): Promise<Message> {
  if (here.given.ssh === "") return words.noSsh();
  const { told, reason, remedy } = await answerFor(argv, here);
  if (told.why === "learned") return { fault: reason, hint: remedy };
  if (told.kind === "direct") return { fault: `cannot be shared: ${reason}`, hint: remedy };
  if (told.place === "wait") return { fault: "another call is still logging in" };
  return { fault: "the connection could not be opened here", hint: "sshs --doctor" };
}
