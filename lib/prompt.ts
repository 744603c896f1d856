/**
 * The prompt relay. A detached master has no terminal, so ssh asks it through SSH_ASKPASS: our own
 * program, which hands each question over a socket to the waiting caller, which asks on its terminal.
 *
 *     ssh -M (no terminal) -> askpass -> <lane>.ask -> the caller -> /dev/tty
 *
 * One question a connection, each side one line of JSON: `{ prompt, kind }`, then `{ answer }` or
 * `{}` for none. No answer is ever logged, kept, or put in an argument or the environment.
 */
import { programCommand } from "./program.ts";
import type { Lane } from "./lane.ts";
import type { System } from "./system.ts";
import { harmless, writeStderr } from "./ui.ts";

/** Names the socket of the relay to the askpass program. */
const ASKPASS_SOCKET = "SSHS_ASKPASS_SOCKET";

/** A question, with ssh's hint of its kind (SSH_ASKPASS_PROMPT: `confirm`, `none`, or nothing; ssh(1)). */
interface Question {
  readonly prompt: string;
  readonly kind: string;
}

/** More than any prompt of ssh; a longer line is not from our askpass. */
const MAX_LINE = 64 * 1024;

/**
 * Asks on the terminal and prints the answer. The kernel edits the line, and its modes are put back
 * however it ends. $1 is "hidden" for an answer that must not be seen, $2 the question.
 */
const ASK = `
exec 3<>/dev/tty || exit 1
modes=$(stty -g <&3) || exit 1
hide() { [ "$1" = shown ] || stty -echo <&3; }
trap 'stty "$modes" <&3; exit 1' HUP INT QUIT TERM
trap 'stty "$modes" <&3; kill -s STOP $$; hide "$1"; printf %s "$2" >&3' TSTP
hide "$1"
printf %s "$2" >&3
IFS= read -r answer <&3
status=$?
stty "$modes" <&3
[ "$1" = shown ] || echo >&3
[ "$status" = 0 ] && printf %s "$answer"
`;

/** Whether this process has a terminal to ask on: an open descriptor tells at once, else sh looks. */
export async function hasTerminal(system: Pick<System, "run">): Promise<boolean> {
  if ([Deno.stderr, Deno.stdin, Deno.stdout].some((stream) => stream.isTerminal())) return true;
  return (await system.run("/bin/sh", ["-c", "exec </dev/tty"])).code === 0;
}

/** Answers the questions of one master while it starts. */
export class PromptRelay implements Disposable {
  readonly #listener: Deno.Listener;
  readonly #askpass: string;
  readonly #socket: string;
  #asked = 0;

  private constructor(listener: Deno.Listener, socket: string, askpass: string) {
    this.#listener = listener;
    this.#socket = socket;
    this.#askpass = askpass;
  }

  /** Listens for a lane's questions. `waiting` is told when a question is open and when it is done. */
  static listen(lane: Lane, waiting: (open: boolean) => void = () => {}): PromptRelay {
    const base = `${lane.dir}/${lane.name}`;
    const askpass = `${base}.askpass`;
    // ssh runs SSH_ASKPASS with one argument, the prompt, so the rest stands in a file. What it needs
    // comes from the environment: nothing of it is ever read by the shell as code.
    Deno.writeTextFileSync(askpass, askpassScript(), { mode: 0o700 });
    const socket = `${base}.ask`;
    const relay = new PromptRelay(
      Deno.listen({ transport: "unix", path: socket }),
      socket,
      askpass,
    );
    relay.#serve(waiting);
    return relay;
  }

  /** How many questions came through. */
  get asked(): number {
    return this.#asked;
  }

  /** What the master's environment needs. */
  get env(): Record<string, string> {
    return {
      SSH_ASKPASS: this.#askpass,
      SSH_ASKPASS_REQUIRE: "force",
      [ASKPASS_SOCKET]: this.#socket,
    };
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    for (const path of [this.#socket, this.#askpass]) {
      try {
        Deno.removeSync(path);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
  }

  async #serve(waiting: (open: boolean) => void): Promise<void> {
    try {
      for await (const connection of this.#listener) {
        this.#asked++;
        waiting(true);
        await answer(connection).catch(() => {}); // The askpass was ended: so is its question.
        waiting(false);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error; // Closed by dispose.
    }
  }
}

async function answer(connection: Deno.Conn): Promise<void> {
  using _ = connection;
  const question: Question = JSON.parse(await readLine(connection));
  if (question.kind === "none") {
    // "Touch your key": nothing to answer, and ssh ends the askpass when it is done.
    writeStderr(new TextEncoder().encode(`${harmless(question.prompt)}\n`));
    await readLine(connection);
    return;
  }
  const text = await askTerminal(question);
  await write(connection, JSON.stringify(text === undefined ? {} : { answer: text }));
}

/** ssh gives no hint for questions with echo but `confirm`; the host key's is known by its words (sshconnect.c). */
function isShown(question: Question): boolean {
  return question.kind === "confirm" ||
    /\(yes\/no(\/\[fingerprint\])?\)\?|type 'yes'|'no' or the fingerprint/.test(question.prompt);
}

async function askTerminal(question: Question): Promise<string | undefined> {
  const { code, stdout } = await new Deno.Command("/bin/sh", {
    args: ["-c", ASK, "sh", isShown(question) ? "shown" : "hidden", harmless(question.prompt)],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).output();
  return code === 0 ? new TextDecoder().decode(stdout) : undefined;
}

function askpassScript(): string {
  const words = programCommand("--askpass").map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  return `#!/bin/sh\nexec ${words.join(" ")} "$@"\n`;
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
  await Deno.stdout.write(new TextEncoder().encode(`${answer}\n`));
  return 0;
}

async function write(connection: Deno.Conn, line: string): Promise<void> {
  const bytes = new TextEncoder().encode(`${line}\n`);
  for (let done = 0; done < bytes.length;) done += await connection.write(bytes.subarray(done));
}

/** One line, or what came of it before the other side closed. */
async function readLine(connection: Deno.Conn): Promise<string> {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(4096);
  let text = "";
  while (!text.includes("\n")) {
    const count = await connection.read(chunk);
    if (count === null) break;
    text += decoder.decode(chunk.subarray(0, count), { stream: true });
    if (text.length > MAX_LINE) throw new Error("Cannot read the question: its line is too long");
  }
  return text.split("\n")[0];
}
