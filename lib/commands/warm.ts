/** `sshs --warm HOST...`: logs in to many hosts at once, so that the first calls need not. */
import { isTerminalBusy } from "../lane/ask.ts";
import type { RouteSystem } from "../lane/route.ts";
import { say, writeStderr } from "../os/terminal.ts";
import { readRecord } from "../lane/lane.ts";
import { openLaneOf } from "./open.ts";
import { cell, COLUMNS } from "./table.ts";
import { commandWords } from "./words.ts";

/** Logins at the same time: sshd's MaxStartups begins to drop at 10, and a bastion sees all of ours. */
const AT_ONCE = 8;

/** Opens the lanes of all calls, each one's last word being its host. Returns 1 where one failed. */
export async function warm(
  calls: readonly (readonly string[])[],
  system: RouteSystem,
): Promise<number> {
  const progress = new Progress(calls.length);
  const waiting = [...calls];
  const work = async () => {
    for (let argv = waiting.shift(); argv; argv = waiting.shift()) {
      progress.done(cell(argv[argv.length - 1]), await warmOne(argv, system));
    }
  };
  progress.show();
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, calls.length) }, work));
  progress.end();
  return progress.failed > 0 ? 1 : 0;
}

/** Opens the lane of one call; resolves to what is wrong where it does not stay open. */
async function warmOne(
  argv: readonly string[],
  system: RouteSystem,
): Promise<string | undefined> {
  try {
    const opened = await openLaneOf(argv, system);
    if (opened.kind === "failed") return opened.reason;
    const record = readRecord(opened.lane);
    if (record?.linger === 0 && (record.holdUntil ?? 0) <= system.now()) {
      return commandWords.doesNotLinger(argv[argv.length - 1]);
    }
  } catch (error) {
    // One host's trouble is not that of the others.
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
}

/** A line on a terminal that counts, and a line for each failure. */
class Progress {
  failed = 0;
  #up = 0;
  readonly #total: number;
  readonly #live = Deno.stderr.isTerminal();

  constructor(total: number) {
    this.#total = total;
  }

  done(host: string, problem: string | undefined): void {
    if (problem === undefined) this.#up++;
    else {
      this.failed++;
      this.#clear();
      say(`${host}: ${problem}`);
    }
    this.show();
  }

  show(): void {
    // A question stands in this line until it is answered.
    if (!this.#live || isTerminalBusy()) return;
    this.#clear();
    const line = commandWords.warming(this.#up, this.failed, this.#total);
    writeStderr(new TextEncoder().encode(cell(line, COLUMNS - 1)));
  }

  end(): void {
    this.#clear();
    if (this.#live) say(commandWords.warmed(this.#up, this.#total));
  }

  #clear(): void {
    if (this.#live) writeStderr(new TextEncoder().encode("\r\x1b[K"));
  }
}
