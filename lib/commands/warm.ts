/**
 * `sshs --warm HOST...`: logs in to many hosts at once, so that the first calls need not. sshs.1 describes
 * the object that `--json` prints.
 *
 * ssh asks its questions on the terminal itself, and nobody could tell two at once apart. So all logins are
 * first tried without questions (BatchMode), 8 at a time; those that would have asked something follow one by
 * one. A server sees such a login twice, but no wrong password: under BatchMode ssh offers none.
 */
import { keptUntil, readRecord } from "../lane/record.ts";
import {
  Complaint,
  hasTerminal,
  isStderrTerminal,
  type Message,
  print,
  printJson,
  readStdin,
  say,
  writeStderr,
} from "../os/terminal.ts";
import { type Here, takeHosts, type Words } from "./command.ts";
import { type Opened, openLane } from "./open.ts";
import { cell } from "./table.ts";

/** Logins at the same time: sshd's MaxStartups begins to drop at 10, and a bastion sees all of ours. */
const AT_ONCE = 8;

/** Opens the lanes of the hosts; `-` stands for those on stdin. Returns 1 if one failed. */
export async function warm(words: Words, here: Here): Promise<number> {
  const [options, hosts] = takeHosts(words);
  const read = hosts.includes("-") ? parseHosts(await readStdin()) : [];
  const all = hosts.flatMap((host) => host === "-" ? read : [host]);
  const outcomes = await openAll(options, all, here);
  const open = outcomes.filter(({ open }) => open).length;
  const failed = outcomes.length - open;
  if ("json" in words.options) printJson({ open, failed, hosts: outcomes });
  else print(tally(outcomes, outcomes.length));
  return failed > 0 ? 1 : 0;
}

/** Parses a host list: one host a line, with `#` comments. */
export function parseHosts(text: string): string[] {
  const lines = text.split(/\r?\n/).map((line) => line.replace(/#.*/, "").trim());
  const wrong = lines.findIndex((line) => line.startsWith("-") || /\s/.test(line));
  if (wrong < 0) return lines.filter((line) => line !== "");
  const hint = "one host a line; options go before the - of --warm";
  throw new Complaint(`line ${wrong + 1} is not a host: ${lines[wrong]}`, hint);
}

/** Counts outcomes, of which some may be missing yet. */
function tally(outcomes: readonly Outcome[], total: number): string {
  const open = outcomes.filter(({ open }) => open).length;
  const failed = outcomes.filter(({ open }) => !open).length;
  return `${open} of ${total} open${failed > 0 ? `, ${failed} failed` : ""}`;
}

/**
 * Opens the lanes of calls with these options to the hosts, in a state directory other than the usual if it
 * is given. Shows a counter on a terminal, and says why one failed.
 */
export async function openAll(
  options: readonly string[],
  hosts: readonly string[],
  here: Here,
  stateDir?: string,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  let isCounting = isStderrTerminal() && hosts.length > 0;
  const show = (line: string) => isCounting && writeStderr(`\r\x1b[K${line}`);
  const count = () => show(`sshs: ${tally(outcomes, hosts.length)} ...`);
  const open = (i: number, mayAsk: boolean) =>
    openLane([...options, hosts[i]], here, { mayAsk, stateDir });
  const settle = (i: number, opened: Opened) => {
    const host = hosts[i];
    const problem = problemOf(host, opened, here);
    outcomes[i] = outcomeOf(host, { ...opened, problem });
    show("");
    if (problem) say({ ...problem, fault: `${cell(host)}: ${problem.fault}` });
    count();
  };
  const canAsk = hasTerminal();
  const waiting = [...hosts.keys()];
  const asking = canAsk && hosts.length === 1 ? waiting.splice(0) : []; // One may ask at once.
  const work = async () => {
    for (let i = waiting.shift(); i !== undefined; i = waiting.shift()) {
      const opened = await open(i, false);
      if (canAsk && opened.wantsAnswer) asking.push(i);
      else settle(i, opened);
    }
  };
  count();
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  show("");
  isCounting = false; // The terminal is ssh's from now on, for its questions.
  for (const i of asking.sort((a, b) => a - b)) settle(i, await open(i, true));
  return outcomes;
}

/** The outcome for a host, as --json prints it. */
type Outcome = ReturnType<typeof outcomeOf>;

function outcomeOf(host: string, { lane, problem }: Opened) {
  return { host, open: !problem, socket: lane?.socket ?? null, problem: problem?.fault ?? null };
}

function problemOf(host: string, opened: Opened, { system }: Here): Message | undefined {
  const { lane, problem } = opened;
  if (!lane || readRecord(lane)?.linger !== 0 || keptUntil(lane) > system.now()) return problem;
  return {
    fault: "logged in, but the connection closes at once: its linger is 0",
    hint: `sshs --hold 10m ${host}, or set "linger" in config.json`,
  };
}
