/** Asks a question on the terminal of this process, as readpassphrase(3) does for ssh. */
import { hasTerminalDevice } from "../os/libc.ts";
import type { System } from "../os/system.ts";
import { harmless } from "../os/terminal.ts";

/**
 * Prints the answer. $1 is "hidden" for one that must not be seen, $2 the question. The kernel edits
 * the line, and the terminal's modes are put back however it ends. A stop needs no trap, since a shell
 * with job control puts its own modes back; who goes on after it asks anew. Some shells end `read` for
 * a trap (dash, busybox, bash as sh) and some go on with it (bash, zsh): hence the loop. An `answer` that
 * the caller exports, or an exported SHELLOPTS, would put the answer into the environment of stty.
 */
const ASK = `
set +a
unset answer
exec 3<>/dev/tty || exit 1
modes=$(stty -g <&3) || exit 1
ask() {
  [ "$1" = shown ] || stty -echo <&3 || exit 1
  printf %s "$2" >&3
}
finish() {
  stty "$modes" <&3
  [ "$1" = shown ] || echo >&3
}
trap 'finish "$1"; exit 1' HUP INT QUIT TERM
trap 'again=1; ask "$@"' CONT
ask "$@"
again=1
while [ "$again" ]; do
  again=
  if IFS= read -r answer <&3; then
    finish "$1"
    printf %s "$answer"
    exit 0
  fi
done
finish "$1"
exit 1
`;

export interface TerminalQuestion {
  readonly prompt: string;
  /** Whether the answer may be seen as it is typed. */
  readonly shown: boolean;
}

/** Whether this process has a terminal to ask on. */
export async function hasTerminal(system: Pick<System, "run">): Promise<boolean> {
  return hasTerminalDevice() ??
    (await system.run("/bin/sh", ["-c", "exec 3<>/dev/tty"])).code === 0;
}

/** The question that is open, and those behind it: `sshs --warm` logs in to many hosts at once. */
let queue: Promise<unknown> = Promise.resolve();
let open = 0;

/** Whether a question is on the terminal, or about to be. */
export function isTerminalBusy(): boolean {
  return open > 0;
}

/**
 * Asks when all questions before are answered, and resolves to the bytes of the answer once the terminal is as it was: `undefined` when there was none,
 * by Ctrl-D, a signal of the terminal, or `signal`.
 */
export function askTerminal(
  question: TerminalQuestion,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  open++;
  const answer = queue.then(() => ask(question, signal)).finally(() => open--);
  queue = answer.catch(() => {});
  return answer;
}

async function ask(
  { prompt, shown }: TerminalQuestion,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  if (signal.aborted) return undefined;
  const { code, stdout } = await new Deno.Command("/bin/sh", {
    args: ["-c", ASK, "sh", shown ? "shown" : "hidden", harmless(prompt)],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
    signal,
  }).output();
  return code === 0 ? stdout : undefined;
}
