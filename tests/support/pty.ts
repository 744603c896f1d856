import { fromFileUrl } from "@std/path/posix/from-file-url";
import { eventually, type EventuallyOptions } from "./eventually.ts";
import { isAlive, signal } from "./processes.ts";
import { needPython } from "./programs.ts";

/** How a program is started on a terminal. */
export interface PtyOptions {
  /** The whole environment; by default that of the test process. */
  env?: Readonly<Record<string, string>>;
  cwd?: string;
  /** 24 by default. */
  rows?: number;
  /** 80 by default. */
  columns?: number;
}

/**
 * A program on a real terminal that controls it: Ctrl-C, Ctrl-Z, hang-up and resizing work as for a
 * user, and `output` has the echo of what was typed.
 *
 *     await using pty = await Pty.spawn(sandbox.argv(["host"]), { env: sandbox.env });
 *     await pty.waitFor("password: ");
 *     pty.write("secret\r");
 *     assert.equal((await pty.status).code, 0);
 */
export class Pty implements AsyncDisposable {
  /** The pid of the program. */
  readonly pid: number;
  /** How the program ended. Terminal and program end together, even if a child holds the terminal. */
  readonly status: Promise<Deno.CommandStatus>;
  /** Everything shown so far. */
  output = "";
  /** The terminal modes (echo and the like) that the program left; none after a hang-up. */
  modes = "";
  #helper: Deno.ChildProcess;
  #requests: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  #sent: Promise<void> = Promise.resolve();
  #seen = 0;
  #ended = false;

  private constructor(
    helper: Deno.ChildProcess,
    pid: number,
    output: ReadableStreamDefaultReader<string>,
  ) {
    this.#helper = helper;
    this.#requests = helper.stdin.getWriter();
    this.pid = pid;
    this.status = this.#follow(output);
  }

  /** Starts a program on a terminal; a name without a slash is looked up in PATH. */
  static async spawn(
    argv: readonly string[],
    { env, cwd, rows = 24, columns = 80 }: PtyOptions = {},
  ): Promise<Pty> {
    const script = fromFileUrl(new URL("pty.py", import.meta.url));
    const helper = new Deno.Command(needPython(), {
      // Isolated, without site packages: what python reads at its start must not depend on `env`.
      args: ["-I", "-S", script, String(rows), String(columns), ...argv],
      env,
      clearEnv: env !== undefined,
      cwd,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const output = helper.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let first = "";
    while (!first.includes("\n")) {
      const { value, done } = await output.read();
      if (done) throw new Error(`Cannot start pty.py: ${await helper.stderr.text()}`);
      first += value;
    }
    const end = first.indexOf("\n");
    const pty = new Pty(helper, Number(first.slice(0, end)), output);
    pty.output = first.slice(end + 1);
    return pty;
  }

  /** Types `text`. Enter is `\r`, Ctrl-C `\x03`, Ctrl-Z `\x1a`, Ctrl-D `\x04`. */
  write(text: string): void {
    this.#request(`write ${new TextEncoder().encode(text).toHex()}`);
  }

  /** Changes the size of the terminal; the foreground gets SIGWINCH. */
  resize(rows: number, columns: number): void {
    this.#request(`resize ${rows} ${columns}`);
  }

  /** Closes the terminal, as when its window is closed: the program gets SIGHUP. */
  hangup(): void {
    this.#request("hangup");
  }

  /**
   * Waits until the terminal shows `text`, after what earlier calls waited for; resolves to the match.
   *
   * @throws {Error} with the output, when the deadline passes or the program ends first
   */
  async waitFor(text: string | RegExp, options?: EventuallyOptions): Promise<string> {
    const look = () => {
      const rest = this.output.slice(this.#seen);
      const found = typeof text === "string" ? rest.indexOf(text) : rest.search(text);
      if (found < 0) return undefined;
      const match = typeof text === "string" ? text : rest.match(text)![0];
      this.#seen += found + match.length;
      return { match };
    };
    try {
      const { match } = (await eventually(`${text} on the terminal`, () => {
        const ended = this.#ended;
        const found = look();
        if (!found && ended) throw new Error(`Cannot find ${text}: the program has ended`);
        return found;
      }, options))!;
      return match;
    } catch (error) {
      throw new Error(`${(error as Error).message}; shown: ${JSON.stringify(this.output)}`);
    }
  }

  /** Hangs up, and after 1 s kills a program that ignores that. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.hangup();
    await this.#sent;
    const timer = setTimeout(() => signal([this.pid].filter(isAlive), "SIGKILL"), 1_000);
    await this.status;
    clearTimeout(timer);
    try {
      await this.#requests.close();
    } catch {
      // The pipe broke as the helper ended.
    }
  }

  #request(line: string): void {
    const bytes = new TextEncoder().encode(`${line}\n`);
    // In order; what is typed at a program that has ended is lost, as on a real terminal.
    this.#sent = this.#sent.then(() => this.#requests.write(bytes)).catch(() => {});
  }

  async #follow(output: ReadableStreamDefaultReader<string>): Promise<Deno.CommandStatus> {
    for (let part = await output.read(); !part.done; part = await output.read()) {
      this.output += part.value;
    }
    this.modes = (await this.#helper.stderr.text()).trim();
    const status = await this.#helper.status;
    this.#ended = true;
    return status;
  }
}
