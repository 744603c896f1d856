/**
 * `sshs --why ARGS...`: says what `ssh ARGS` would do now. The launcher, which would do it, says what; the
 * decision explains why. Uses no network, and starts nothing but `ssh -G`. sshs.1 describes the object that
 * `--json` prints.
 */
import { basename } from "@std/path/posix/basename";
import { decide } from "../call/decide.ts";
import type { Shared } from "../call/decision.ts";
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { print, printJson, say, words } from "../os/terminal.ts";
import { commandLine, duration, freshCommand } from "./phrases.ts";
import { learnedOf, seeLanes, type SeenLane } from "./seen.ts";
import { cell, colour, table } from "./table.ts";

/** What the launcher says that it would do with a call: `why` in launcher.sh. */
export interface Told {
  /** `held`: it has a plan; `made`: now it has; `soon`: it can have one when its files have
   * not changed for 2 s; `none`: it can have none; `needless`: it needs none. */
  readonly plan: string;
  readonly kind: "direct" | "share";
  /** Why it is direct, in a word. */
  readonly why: string;
  /** The lane that it would use, or what it would do instead: login, wait, doubt or full. */
  readonly place: string;
  /** The variable, file or fact whose change made the plan void that it had. */
  readonly void?: string;
  /** The directory of the call's identity. */
  readonly home?: string;
  /** The control socket that -O would speak to. */
  readonly socket?: string;
}

/** Asks the launcher what it would do with a call. If it has just made a plan, asks again whether that holds. */
export async function askLauncher(
  argv: readonly string[],
  given: Given,
  system: Pick<System, "run">,
): Promise<Told> {
  const told = await tellOf(argv, given, system);
  if (told.plan !== "made") return told;
  const { plan, void: changed } = await tellOf(argv, given, system);
  return plan === "held" ? told : { ...told, plan: changed === "now" ? "soon" : "none" };
}

async function tellOf(
  argv: readonly string[],
  given: Given,
  system: Pick<System, "run">,
): Promise<Told> {
  const env = { SSHS_TASK: "why" };
  const options = { env, stdin: "inherit" } as const;
  const { stdout, stderr } = await system.run(`${given.library}/bin/ssh`, argv, options);
  const told = Object.fromEntries(
    stdout.trimEnd().split("\n").map((line) => /^(\w+)=(.+)$/.exec(line)?.slice(1) ?? []),
  );
  if (told.kind !== "direct" && told.kind !== "share") {
    throw new Error(`the launcher does not say what it would do: ${stderr || stdout}`);
  }
  return { plan: "none", why: "", place: "", ...told } as Told;
}

/** All that is known of a call before it is made. */
export interface Answer {
  readonly told: Told;
  readonly reason: string;
  readonly remedy?: string;
  /** The decision, if the call is shared. */
  readonly shared?: Shared;
  /** The lane that the call would use. */
  readonly lane?: SeenLane;
  /** What is wrong with our settings file. */
  readonly notice?: string;
}

/** Finds out what would be done with a call, and why. */
export async function answerFor(
  argv: readonly string[],
  given: Given,
  system: System,
): Promise<Answer> {
  const told = await askLauncher(argv, given, system);
  if (told.socket) return { told, reason: "-O controls the shared connection" };
  const word = told.kind === "direct" ? told.why : told.place.replace(/^\/.*/s, "open");
  const [known, ofWord] = REASONS[word] ?? [];
  if (known && told.kind === "direct") return { told, reason: known, remedy: ofWord };
  const decision = await decide(argv, given, system);
  const notice = decision.notice?.fault;
  if (told.kind === "direct") {
    const fresh = { reason: learnedOf(told.home ?? "", system), remedy: freshCommand(argv) };
    const { reason, remedy } = decision.kind === "direct" ? decision : fresh;
    return {
      told,
      reason: reason ?? NO_MODES,
      remedy: reason && remedy,
      notice,
    };
  }
  const shared = decision.kind === "share" ? decision : undefined;
  const endsAtOnce = shared?.record.linger === 0 && shared.record.forwards;
  const lanes = await seeLanes(given, system);
  const lane = lanes.find(({ socket }) => socket === `${told.place}.sock`);
  const remedy = ofWord ?? (endsAtOnce ? LINGER : undefined);
  return { told, reason: known ?? word, remedy, shared, lane, notice };
}

/** Why the launcher does what it would do, by its word for it, and what to do about that. */
const REASONS: Readonly<Record<string, readonly [reason: string, remedy?: string]>> = {
  off: ["SSHS=off", "unset SSHS"],
  inside: ["the call would run inside another call of sshs (SSHS_INSIDE is set)"],
  apart: [
    "a session over a shared connection would differ: the call ignores a signal that it would " +
    "catch, or runs in the background of its terminal",
  ],
  limits: [
    "it opens no connection for others: it runs at low priority or under limits, or has -v, -E or -y",
  ],
  only: ["SSHS=only, and no connection is open: the call would fail with status 255"],
  preload: ["LD_PRELOAD or the like is set, so that ssh may lead elsewhere"],
  program: ["the program cannot be run", "sshs --doctor"],
  open: ["a shared connection is open"],
  doubt: ["a shared connection is open; the call would first check that the server answers"],
  wait: ["can be shared; another call is logging in, and this one would wait for it"],
  login: ["can be shared; no connection is open, so this call would log in"],
  full: [
    "can be shared; all connections are full, so this call would log in once more",
    'set "maxSessions" in config.json if the server allows more',
  ],
};

const NO_MODES = "-tt without a terminal here: the remote one would not get its modes";

const LINGER =
  'set "linger" for this host in config.json (0 by default with agent or X11 forwarding)';

/** Returns the command that the call would become. The name of a lane yet to be opened will be a number. */
function commandOf(argv: readonly string[], { told }: Answer, ssh: string): string[] {
  if (told.kind === "direct") return [ssh, ...told.socket ? ["-S", told.socket] : [], ...argv];
  const lane = told.place.startsWith("/") ? told.place : `${told.home}/XXXX`;
  return [ssh, "-S", `${lane}.sock`, "-o", "ControlMaster=no", ...argv];
}

/** Prints what would be done with a call. Returns the exit status. */
export async function why(
  argv: readonly string[],
  json: boolean,
  given: Given,
  system: System,
): Promise<number> {
  if (given.ssh === "") {
    say(words.noSsh());
    return 1;
  }
  const answer = await answerFor(argv, given, system);
  const command = commandOf(argv, answer, given.ssh);
  if (json) printJson(answerJson(answer, command));
  else print(...answerLines(answer, command));
  return 0;
}

function answerJson({ told, shared, lane, ...answer }: Answer, command: readonly string[]) {
  return {
    decision: told.kind,
    reason: answer.reason,
    remedy: answer.remedy ?? null,
    command,
    destination: shared?.call.destination ?? null,
    resolved: shared?.record.resolved ?? null,
    identity: shared && told.home ? basename(told.home) : null,
    lane: lane ?? null,
    launcher: told.plan !== "none" && told.plan !== "soon",
    void: told.void ?? null,
    linger: shared?.record.linger ?? null,
    jumpHost: shared?.jump ? "shared" : null,
    notice: answer.notice ?? null,
  };
}

function answerLines({ told, shared, lane, ...answer }: Answer, command: readonly string[]) {
  const rows = [[told.kind === "share" ? "shares" : "direct", answer.reason]];
  if (answer.remedy) rows.push(["hint", answer.remedy]);
  if (shared) {
    rows.push(["resolved", shared.record.resolved], ["identity", basename(told.home ?? "")]);
    if (lane) rows.push(["connection", laneFacts(lane)]);
    if (shared.jump) rows.push(["jump host", "shared"]);
    rows.push(["linger", lingerFacts(shared.record.linger)]);
  }
  rows.push(["plan", planFacts(told)]);
  if (answer.notice) rows.push(["settings", answer.notice]);
  rows.push(["command", commandLine(command)]);
  return table(
    rows.map((row) => row.map((text) => cell(text))),
    (padded, _, column) => column === 0 ? colour(padded, "bold") : padded,
  );
}

function laneFacts({ lane, state, pid, sessions, maxSessions }: SeenLane): string {
  const master = pid ? `, pid ${pid}` : "";
  return `${lane} (${state}${master}, ${sessions} of ${maxSessions} in use)`;
}

function lingerFacts(seconds: number | null): string {
  if (seconds === null) return "never closes";
  return seconds === 0
    ? "closes with the last session"
    : `closes ${duration(seconds)} after the last session`;
}

/** What has changed, by the launcher's word for it, if it is not the name of a variable or file. */
const CHANGES: Readonly<Record<string, string>> = {
  environment: "the environment has changed",
  namespaces: "the namespaces have changed",
  sshs: "another version of sshs, or another job",
  now: "its files had just changed",
  time: "an hour has passed",
};

/** Says whether the call starts Deno, and what has changed if it does although it had a plan. */
export function planFacts({ plan, void: changed }: Pick<Told, "plan" | "void">): string {
  if (plan === "needless") return "plain ssh, at once";
  if (plan === "held") return "known command line: the call needs no Deno";
  const name = changed?.trim();
  const since = name === undefined ? "new command line" : CHANGES[name] ?? `${name} has changed`;
  if (plan === "made") return `${since}: decided anew just now, and the call needs no Deno`;
  const soon = " until its files have not changed for some seconds";
  return `${since}: the call starts Deno to decide${plan === "soon" ? soon : ", as does each"}`;
}
