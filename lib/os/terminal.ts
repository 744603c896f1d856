/**
 * Messages of sshs, and the terminal that shows them. Results of our commands go to stdout. Messages about
 * sshs itself go to stderr (stdout belongs to the session), one per line, after "sshs: ". Their style:
 * lower case and no period; first the fault, then what to type or do on a line of its own, after "hint: ".
 * A call prints none under -q, BatchMode=yes or LogLevel=QUIET. For users, a lane is a "shared connection".
 */
import { isSystemError } from "./files.ts";

/** A message: what is wrong, and what to do about it. */
export interface Message {
  readonly fault: string;
  readonly hint?: string;
}

/** A failure that is for the user to mend: what is wrong, and what to do about it. */
export class Complaint extends Error {
  override name = "Complaint";

  constructor(message: string, readonly hint?: string) {
    super(message);
  }
}

/** Makes text from elsewhere, JSON too, harmless for a terminal: control characters become visible. */
export function harmless(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, (char) => {
    const code = char.charCodeAt(0);
    if (code < 0x20) return `^${String.fromCharCode(code + 64)}`;
    return `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** Writes a text to stderr. Ignores a closed stderr, or a file on a full disk. */
export function writeStderr(text: string): void {
  try {
    writeAll(Deno.stderr, text);
  } catch (error) {
    if (!(isSystemError(error) || error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** Writes all of a text: the system may take only part of it at a time. */
function writeAll(stream: typeof Deno.stderr, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) done += stream.writeSync(bytes.subarray(done));
}

/** Returns a message as it is shown: one line, or two with a hint; no newline at the end. */
export function messageText({ fault, hint }: Message): string {
  return (hint === undefined ? [fault] : [fault, `hint: ${hint}`])
    .map((line) => `sshs: ${harmless(line).replaceAll("\n", "^J")}`).join("\n");
}

/** Prints a message on stderr, whatever it contains. */
export function say(message: Message): void {
  writeStderr(`${messageText(message)}\n`);
}

export const words = {
  noSsh: (): Message => ({
    fault: "no ssh in PATH but the launcher of sshs",
    hint: "install OpenSSH, or set SSHS_SSH to the path of its ssh",
  }),
  notShared: ({ message, hint }: Pick<Complaint, "message" | "hint">): Message => ({
    fault: `not shared: ${message}`,
    hint,
  }),
  installFirst: (): Message => ({
    fault: "this call is shared; so that ssh, scp and sftp share too:",
    hint: "sshs --install",
  }),
  settings: (problem: string): Message => ({
    fault: `settings not understood: ${problem}`,
    hint: "correct that; until then nothing is shared",
  }),
} as const;

/** Prints all lines of a result. Ignores a reader that is gone (`sshs --list | head -1`). */
export function print(...lines: readonly string[]): void {
  try {
    writeAll(Deno.stdout, lines.map((line) => `${line}\n`).join(""));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/** Prints a value as JSON. */
export function printJson(value: unknown): void {
  print(harmless(JSON.stringify(value, null, 2)));
}

/** Returns the size of the terminal on stdout; `undefined` if it is no terminal, or one without a size. */
export function terminalSize(): { columns: number; rows: number } | undefined {
  if (!Deno.stdout.isTerminal()) return undefined;
  const { columns, rows } = Deno.consoleSize();
  // A terminal that was never told its size reports 0.
  return columns > 0 && rows > 0 ? { columns, rows } : { columns: 80, rows: 24 };
}

/** Whether colours are visible and wanted (not if NO_COLOR is set and not empty: no-color.org). */
export function hasColours(): boolean {
  return Deno.stdout.isTerminal() && !Deno.noColor && Deno.env.get("TERM") !== "dumb";
}

/** Whether stderr is a terminal, where a line can be overwritten. */
export function isStderrTerminal(): boolean {
  return Deno.stderr.isTerminal();
}

/** Whether somebody is there to answer a question from ssh. */
export function hasTerminal(): boolean {
  return Deno.stdin.isTerminal() || isStderrTerminal();
}

/** Reads all of stdin, as text. */
export async function readStdin(): Promise<string> {
  return await new Response(Deno.stdin.readable).text();
}
