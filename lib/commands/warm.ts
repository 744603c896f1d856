/**
 * `sshs --warm HOST...`: logs in to many hosts at once, so that the first calls need not. sshs.1 describes
 * the object that `--json` prints.
 *
 * ssh asks its questions on the terminal itself, and nobody could tell two at once apart. So all logins are
 * first tried without questions (BatchMode), 8 at a time; those that would have asked something follow one by
 * one. A server sees such a login twice, but no wrong password: under BatchMode ssh offers none.
 */
import type { Lane } from "../lane/layout.ts";
import { keptUntil, readRecord } from "../lane/record.ts";
import type { Given } from "../os/given.ts";
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
import type { Hosts } from "./command.ts";
import { type Opened, openLane } from "./open.ts";
import { cell } from "./table.ts";

/** Logins at the same time: sshd's MaxStartups begins to drop at 10, and a bastion sees all of ours. */
const AT_ONCE = 8;

/** The outcome for a host. */
export interface Outcome {
  readonly host: string;
  readonly lane?: Lane;
  readonly problem?: Message;
}

/** Opens the lanes of the hosts; `-` stands for those on stdin. Returns 1 if one failed. */
export async function warm(
  { options, hosts, json }: Hosts & { json: boolean },
  given: Given,
  system: System,
): Promise<number> {
  const read = hosts.includes("-") ? parseHosts(await readStdin()) : [];
  if ("line" in read) {
    say({
      fault: `line ${read.line} is not a host: ${read.text}`,
      hint: "one host a line; options go before the - of --warm",
    });
    return 1;
  }
  const all = hosts.flatMap((host) => host === "-" ? read : [host]);
  const outcomes = await openAll(options, all, given, system);
  const failed = outcomes.filter(({ problem }) => problem).length;
  const open = outcomes.length - failed;
  if (json) printJson({ open, failed, hosts: outcomes.map(outcomeJson) });
  else print(tally(outcomes, outcomes.length));
  return failed > 0 ? 1 : 0;
}

/** A line of a host list that is not a host. */
export interface WrongLine {
  /** Counted from 1. */
  readonly line: number;
  readonly text: string;
}

/** Parses a host list: one host a line, with `#` comments. Returns the first wrong line instead, if any. */
export function parseHosts(text: string): readonly string[] | WrongLine {
  const lines = text.split(/\r?\n/).map((line) => line.replace(/#.*/, "").trim());
  const wrong = lines.findIndex((line) => line.startsWith("-") || /\s/.test(line));
  if (wrong >= 0) return { line: wrong + 1, text: lines[wrong] };
  return lines.filter((line) => line !== "");
}

/** Counts outcomes, of which some may be missing yet. */
function tally(outcomes: readonly Outcome[], total: number): string {
  const failed = outcomes.filter(({ problem }) => problem).length;
  const open = outcomes.filter(({ problem }) => !problem).length;
  return `${open} of ${total} open${failed > 0 ? `, ${failed} failed` : ""}`;
}

function outcomeJson({ host, lane, problem }: Outcome) {
  return {
    host,
    open: problem === undefined,
    socket: lane?.socket ?? null,
    problem: problem?.fault ?? null,
  };
}

/**
 * Opens the lanes of calls with these options to the hosts, in a state directory other than the usual if it
 * is given. Shows a counter on a terminal, and says why one failed.
 */
export async function openAll(
  options: readonly string[],
  hosts: readonly string[],
  given: Given,
  system: System,
  stateDir?: string,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  let isCounting = isStderrTerminal() && hosts.length > 0;
  const show = (line: string) => {
    if (isCounting) writeStderr(`\r\x1b[K${line}`);
  };
  const showCount = () => show(`sshs: ${tally(outcomes, hosts.length)} ...`);
  const open = (i: number, mayAsk: boolean) =>
    openLane([...options, hosts[i]], given, system, { mayAsk, stateDir });
  const settle = (i: number, opened: Opened) => {
    const problem = problemOf(hosts[i], opened, system);
    outcomes[i] = { host: hosts[i], lane: opened.lane, problem };
    show("");
    if (problem) say({ ...problem, fault: `${cell(hosts[i])}: ${problem.fault}` });
    showCount();
  };
  const canAsk = hasTerminal();
  const asking: number[] = [];
  const waiting = [...hosts.keys()];
  if (canAsk && hosts.length === 1) asking.push(...waiting.splice(0)); // It may ask at once.
  const work = async () => {
    for (let i = waiting.shift(); i !== undefined; i = waiting.shift()) {
      const opened = await open(i, false);
      if (canAsk && opened.wantsAnswer) asking.push(i);
      else settle(i, opened);
    }
  };
  showCount();
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, waiting.length) }, work));
  show("");
  isCounting = false; // The terminal is ssh's from now on, for its questions.
  for (const i of asking.sort((a, b) => a - b)) settle(i, await open(i, true));
  return outcomes;
}

function problemOf(host: string, opened: Opened, system: Pick<System, "now">): Message | undefined {
  const { lane, problem } = opened;
  if (!lane || readRecord(lane)?.linger !== 0 || keptUntil(lane) > system.now()) return problem;
  return {
    fault: "logged in, but the connection closes at once: its linger is 0",
    hint: `sshs --hold 10m ${host}, or set "linger" in config.json`,
  };
}
