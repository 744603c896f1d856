/**
 * The prompt relay. A detached master has no terminal, so ssh asks it through SSH_ASKPASS: our own
 * program, which hands each question over a socket to the waiting caller, which asks on its terminal.
 *
 *     ssh -M (no terminal) -> askpass -> <lane>.ask -> the caller -> /dev/tty
 *
 * One question a connection, each side one line of JSON: `{ prompt, kind }`, then `{ answer }` (its
 * bytes in hex, for a terminal need not speak UTF-8) or `{}` for none. No answer is ever logged, kept,
 * or put in an argument or the environment.
 */
import { askTerminal } from "./ask.ts";
import { isSystemError, removePath } from "../os/files.ts";
import type { Lane } from "./lane.ts";
import { LaneScript } from "./lane_script.ts";
import { programCommand } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { harmless, writeStderr } from "../os/terminal.ts";

/** Names the socket of the relay to the askpass program. */
const ASKPASS_SOCKET = "SSHS_ASKPASS_SOCKET";

/** A question, with ssh's hint of its kind (SSH_ASKPASS_PROMPT: `confirm`, `none`, or nothing; ssh(1)). */
interface Question {
  readonly prompt: string;
  readonly kind: string;
}

/** More than any prompt of ssh; a longer line is not from our askpass. */
const MAX_LINE = 64 * 1024;

/** Answers the questions of one master while it starts. */
export class PromptRelay implements AsyncDisposable {
  /** Called before each question: what the master has said until then comes first. */
  beforeQuestion: () => void = () => {};
  readonly #listener: Deno.Listener;
  readonly #askpass: LaneScript;
  readonly #socket: string;
  readonly #waiting: (open: boolean) => void;
  readonly #closing = new AbortController();
  #serving: Promise<void>;

  private constructor(lane: Lane, askpass: LaneScript, waiting: (open: boolean) => void) {
    this.#askpass = askpass;
    this.#socket = `${lane.dir}/${lane.name}.ask`;
    this.#waiting = waiting;
    this.#listener = Deno.listen({ transport: "unix", path: this.#socket });
    this.#serving = this.#serve();
  }

  /**
   * Listens for a lane's questions. `waiting` is told when a question is open and when it is done.
   * `undefined` where no askpass can be run.
   */
  static async listen(
    lane: Lane,
    waiting: (open: boolean) => void,
    system: Pick<System, "run">,
  ): Promise<PromptRelay | undefined> {
    const askpass = await LaneScript.make(lane, "askpass", askpassScript(), system);
    return askpass && new PromptRelay(lane, askpass, waiting);
  }

  /** What the master's environment needs. */
  get env(): Record<string, string> {
    return {
      SSH_ASKPASS: this.#askpass.path,
      SSH_ASKPASS_REQUIRE: "force",
      [ASKPASS_SOCKET]: this.#socket,
    };
  }

  /** Withdraws an open question; resolves once the terminal is as it was before. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#listener.close();
    await this.#serving;
    removePath(this.#socket);
    this.#askpass[Symbol.dispose]();
  }

  async #serve(): Promise<void> {
    try {
      for await (const connection of this.#listener) {
        this.#waiting(true);
        try {
          await this.#answer(connection);
        } catch (error) {
          // Its end tells the askpass, if that is there still, that nobody answers.
          if (!isSystemError(error) && !(error instanceof SyntaxError)) throw error;
        } finally {
          this.#waiting(false);
        }
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error; // Closed by dispose.
    }
  }

  async #answer(connection: Deno.Conn): Promise<void> {
    using _ = connection;
    const line = await readLine(connection);
    if (line === "") return; // The askpass was ended before it could ask.
    const question: Question = JSON.parse(line);
    this.beforeQuestion();
    // An askpass that goes takes its question with it: ssh was ended, or a key was touched.
    const gone = readLine(connection).catch(() => {});
    if (question.kind === "none") {
      writeStderr(new TextEncoder().encode(`${harmless(question.prompt)}\n`));
      return void await Promise.race([gone, aborted(this.#closing.signal)]);
    }
    const withdrawn = new AbortController();
    gone.then(() => withdrawn.abort());
    const answer = await askTerminal(
      { prompt: question.prompt, shown: isShown(question) },
      AbortSignal.any([withdrawn.signal, this.#closing.signal]),
    );
    if (withdrawn.signal.aborted) return;
    await write(connection, JSON.stringify({ answer: answer?.toHex() }));
  }
}

/** ssh gives no hint for questions with echo but `confirm`; the host key's is known by its words (sshconnect.c). */
function isShown({ kind, prompt }: Question): boolean {
  return kind === "confirm" ||
    /\(yes\/no(\/\[fingerprint\])?\)\? $|^Please type 'yes'(,| or) 'no'/.test(prompt);
}

/** The prompt is its one argument; the rest that it needs is in the environment, never in the script. */
function askpassScript(): string {
  const words = programCommand("--askpass").map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  // Deno would obey them, and say what is not the answer.
  return `unset NODE_OPTIONS NODE_CHANNEL_FD\nexec ${words.join(" ")} "$@"\n`;
}

/**
 * The askpass program: hands the question on and prints the answer. Returns the exit status: 0 with
 * an answer, 1 without one, which ssh takes for a refusal.
 */
export async function askpass(prompt: string, system: Pick<System, "env">): Promise<number> {
  const path = system.env(ASKPASS_SOCKET);
  if (!path) return 1;
  using connection = await Deno.connect({ transport: "unix", path });
  const question: Question = { prompt, kind: system.env("SSH_ASKPASS_PROMPT") ?? "" };
  await write(connection, JSON.stringify(question));
  const { answer } = JSON.parse(await readLine(connection) || "{}");
  if (typeof answer !== "string") return 1;
  const line = new Uint8Array([...Uint8Array.fromHex(answer), 0x0a]);
  for (let done = 0; done < line.length;) done += Deno.stdout.writeSync(line.subarray(done));
  return 0;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function write(connection: Deno.Conn, line: string): Promise<void> {
  const bytes = new TextEncoder().encode(`${line}\n`);
  for (let done = 0; done < bytes.length;) done += await connection.write(bytes.subarray(done));
}

/** One line; an empty one where the other side closed before its end, or it is too long to be ours. */
async function readLine(connection: Deno.Conn): Promise<string> {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(4096);
  let text = "";
  while (!text.includes("\n") && text.length <= MAX_LINE) {
    const count = await connection.read(chunk);
    if (count === null) return "";
    text += decoder.decode(chunk.subarray(0, count), { stream: true });
  }
  return text.includes("\n") ? text.split("\n")[0] : "";
}
