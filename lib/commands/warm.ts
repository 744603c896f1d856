/**
 * `sshs --warm HOST...`: logs in to many hosts at once, so that the first calls need not. `--json` prints an
 * object:
 *
 *     {
 *       "open": 2, "failed": 1,
 *       "hosts": [{ "host": "web1", "open": true, "socket": "/run/...", "problem": null }, ...]
 *     }
 *
 * ssh asks its questions on the terminal itself, and nobody could tell two at once apart. So all logins are
 * first tried without questions (BatchMode), 8 at a time; those that would have asked something follow one by
 * one. A server sees such a login twice, but no wrong password: under BatchMode ssh offers none.
 */
import { keptUntil, readRecord } from "../lane/record.ts";
import type { Lane } from "../lane/layout.ts";
import type { System } from "../os/system.ts";
import {
  hasTerminal,
  isStderrTerminal,
  type Message,
  print,
  printJson,
  readStdin,
  say,
  writeStderr,
} from "../os/terminal.ts";
import { parseHosts, type WarmCommand } from "./command.ts";
import { type Opened, openLane, type OpenSystem } from "./hold.ts";
import { cell } from "./table.ts";
import { commandWords } from "./words.ts";

/** Logins at the same time: sshd's MaxStartups begins to drop at 10, and a bastion sees all of ours. */
const AT_ONCE = 8;

export type WarmSystem = OpenSystem & Pick<System, "now">;

/** The outcome for a host. */
export interface Outcome {
  readonly host: string;
  readonly lane?: Lane;
  readonly problem?: Message;
}

/** Opens the lanes of the hosts; `-` stands for those on stdin. Returns 1 if one failed. */
export async function warm(
  { options, hosts, json }: WarmCommand,
  system: WarmSystem,
): Promise<number> {
  const read = hosts.includes("-") ? parseHosts(await readStdin()) : [];
  if ("line" in read) {
    say(commandWords.noHostLine(read.line, read.text));
    return 1;
  }
  const all = hosts.flatMap((host) => host === "-" ? read : [host]);
  const outcomes = await openAll(options, all, system);
  const failed = outcomes.filter(({ problem }) => problem).length;
  const open = outcomes.length - failed;
  if (json) printJson({ open, failed, hosts: outcomes.map(outcomeJson) });
  else print(commandWords.warmed(open, failed, outcomes.length));
  return failed > 0 ? 1 : 0;
}

function outcomeJson({ host, lane, problem }: Outcome) {
  return {
    host,
    open: problem === undefined,
    socket: lane?.socket ?? null,
    problem: problem?.fault ?? null,
  };
}

/** Opens the lanes of calls with these options to the hosts. Says why one failed. */
export async function openAll(
  options: readonly string[],
  hosts: readonly string[],
  system: WarmSystem,
): Promise<Outcome[]> {
  if (hosts.length === 0) return [];
  const progress = new Progress(hosts.length);
  const outcomes: Outcome[] = [];
  const open = (i: number, mayAsk: boolean) => openLane([...options, hosts[i]], system, { mayAsk });
  const settle = (i: number, opened: Opened) => {
    outcomes[i] = outcomeOf(hosts[i], opened, system);
    progress.add(outcomes[i]);
  };
  const canAsk = hasTerminal();
  const asking: number[] = [];
  // A single host may ask at once.
  const waiting = canAsk && hosts.length === 1 ? [] : [...hosts.keys()];
  if (waiting.length === 0) asking.push(...hosts.keys());
  const work = async () => {
    for (let i = waiting.shift(); i !== undefined; i = waiting.shift()) {
      const opened = await open(i, false);
      if (canAsk && opened.kind === "failed" && opened.wantsAnswer) asking.push(i);
      else settle(i, opened);
    }
  };
  progress.show();
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, waiting.length) }, work));
  progress.end();
  for (const i of asking.sort((a, b) => a - b)) settle(i, await open(i, true));
  return outcomes;
}

function outcomeOf(host: string, opened: Opened, system: Pick<System, "now">): Outcome {
  if (opened.kind === "failed") return { host, problem: opened.problem };
  const { lane } = opened;
  if (readRecord(lane)?.linger === 0 && keptUntil(lane) <= system.now()) {
    return { host, lane, problem: commandWords.doesNotLinger(host) };
  }
  return { host, lane };
}

/** Shows a counter on a terminal, and a line for each failure. */
class Progress {
  #open = 0;
  #failed = 0;
  readonly #total: number;
  #isLive = isStderrTerminal();

  constructor(total: number) {
    this.#total = total;
  }

  add({ host, problem }: Outcome): void {
    if (!problem) this.#open++;
    else {
      this.#failed++;
      this.#clear();
      say(commandWords.failed(cell(host), problem));
    }
    this.show();
  }

  show(): void {
    if (!this.#isLive) return;
    this.#clear();
    writeStderr(commandWords.warming(this.#open, this.#failed, this.#total));
  }

  /** Leaves the terminal to ssh from now on, for its questions. */
  end(): void {
    this.#clear();
    this.#isLive = false;
  }

  #clear(): void {
    if (this.#isLive) writeStderr("\r\x1b[K");
  }
}
