/**
 * `sshs --why ARGS...`: says what `ssh ARGS` would do now. The launcher, which would do it, says what; the
 * decision explains why. Uses no network, and starts nothing but `ssh -G`. sshs.1 describes the object that
 * `--json` prints. `sshs --socket` prints only the socket of the connection that the call would use.
 */
import { basename } from "@std/path/posix/basename";
import { decide } from "../call/decide.ts";
import type { Shared } from "../call/decision.ts";
import { Complaint, print, printJson, words as messages } from "../os/terminal.ts";
import { type Here, takeHost, type Words, WrongUse } from "./command.ts";
import { commandLine, duration } from "./phrases.ts";
import { learnedOf, seeLanes, type SeenLane } from "./seen.ts";
import { colour, table } from "./table.ts";

/** What the launcher says that it would do with a call (SSHS_TASK=why). */
interface Told {
  readonly kind: "direct" | "share";
  /** Why it is direct, in a word. */
  readonly why: string;
  /** The lane that it would use, or what it would do instead: login, wait, doubt or full. */
  readonly place: string;
  /** Of its plan: `held`; `made` just now; `soon`, when its files have not changed for 2 s; `none` can be;
   * `needless`. */
  readonly plan: string;
  /** The variable, file or fact whose change made a plan void. */
  readonly void?: string;
  /** The directory of the call's identity. */
  readonly home?: string;
  /** The control socket that -O would speak to. */
  readonly socket?: string;
}

/** Asks the launcher what it would do with a call. If it has just made a plan, asks again whether that holds. */
async function askLauncher(argv: readonly string[], here: Here): Promise<Told> {
  const told = await tellOf(argv, here);
  if (told.plan !== "made") return told;
  const { plan, void: changed } = await tellOf(argv, here);
  return plan === "held" ? told : { ...told, plan: changed === "now" ? "soon" : "none" };
}

async function tellOf(argv: readonly string[], { given, system }: Here): Promise<Told> {
  const options = { env: { SSHS_TASK: "why" }, stdin: "inherit" } as const;
  const { stdout, stderr } = await system.run(`${given.library}/bin/ssh`, argv, options);
  const told = Object.fromEntries(
    Array.from(stdout.matchAll(/^(\w+)=(.+)$/gm), ([, ...pair]) => pair),
  );
  if (/^(direct|share)$/.test(told.kind)) return { plan: "none", why: "", place: "", ...told };
  throw new Error(`the launcher does not say what it would do: ${stderr || stdout}`);
}

/** All that is known of a call before it is made. */
interface Answer {
  readonly told: Told;
  readonly reason: string;
  readonly remedy?: string;
  /** The decision, if the call is shared, and the lane that it would use. */
  readonly shared?: Shared;
  readonly lane?: SeenLane;
  /** What is wrong with our settings. */
  readonly notice?: string;
}

/** Finds out what would be done with a call, and why. */
export async function answerFor(argv: readonly string[], here: Here): Promise<Answer> {
  const { given, system } = here;
  const told = await askLauncher(argv, here);
  const isDirect = told.kind === "direct";
  const word = told.socket ? "control" : isDirect ? told.why : told.place.replace(/^\/.*/s, "open");
  const [known, ofWord] = REASONS[word] ?? [];
  if (isDirect && known) return { told, reason: known, remedy: ofWord };
  const decision = await decide(argv, given, system);
  const notice = decision.notice?.fault;
  if (decision.kind === "direct") {
    return { told, reason: known ?? decision.reason, remedy: ofWord ?? decision.remedy, notice };
  }
  if (isDirect) {
    const learned = learnedOf(told.home ?? "", system);
    const remedy = learned && commandLine(["sshs", "--fresh", ...argv]);
    return { told, reason: learned ?? NO_MODES, remedy, notice };
  }
  const lane = (await seeLanes(here)).find(({ socket }) => socket === `${told.place}.sock`);
  const remedy = ofWord ??
    (decision.record.linger === 0 && decision.record.forwards ? LINGER : undefined);
  return { told, reason: known ?? word, remedy, shared: decision, lane, notice };
}

/** Why the launcher does what it would do, by its word for it, and what to do about that. */
const REASONS: Readonly<Record<string, readonly [reason: string, remedy?: string]>> = {
  control: ["-O controls the shared connection"],
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

/** Prints what would be done with a call. */
export async function why({ argv, options }: Words, here: Here): Promise<void> {
  // Any arguments, even without a destination: the answer then says so.
  if (argv.length === 0) throw new WrongUse("--why takes the arguments of an ssh call");
  const { ssh } = here.given;
  if (ssh === "") throw new Complaint(messages.noSsh().fault, messages.noSsh().hint);
  const answer = await answerFor(argv, here);
  const { told, shared, lane = null } = answer;
  const facts = {
    decision: told.kind,
    reason: answer.reason,
    remedy: answer.remedy ?? null,
    command: commandOf(argv, answer, ssh),
    destination: shared?.call.destination ?? null,
    resolved: shared?.record.resolved ?? null,
    identity: shared && told.home ? basename(told.home) : null,
    lane,
    launcher: told.plan !== "none" && told.plan !== "soon",
    void: told.void ?? null,
    linger: shared?.record.linger ?? null,
    jumpHost: shared?.jump ? "shared" : null,
    notice: answer.notice ?? null,
  };
  if ("json" in options) return printJson(facts);
  const rows = {
    [told.kind === "share" ? "shares" : "direct"]: facts.reason,
    hint: facts.remedy,
    resolved: facts.resolved,
    identity: facts.identity,
    connection: lane && laneFacts(lane),
    "jump host": facts.jumpHost,
    linger: shared && lingerFacts(shared.record.linger),
    plan: planFacts(told),
    settings: facts.notice,
    command: commandLine(facts.command),
  };
  const known = Object.entries(rows).flatMap(([name, fact]) => fact ? [[name, fact]] : []);
  print(...table(known, (padded, _, column) => column === 0 ? colour(padded, "bold") : padded));
}

/** Prints the path of the control socket of the connection that a call would use; opens none. */
export async function socket(words: Words, here: Here): Promise<void> {
  const argv = takeHost(words);
  const { told, lane, reason, remedy } = await answerFor(argv, here);
  if (told.kind === "direct") throw new Complaint(`not shared: ${reason}`, remedy);
  if (!lane) throw new Complaint("no connection is open", commandLine(["sshs", "--warm", ...argv]));
  print(lane.socket);
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
function planFacts({ plan, void: changed }: Pick<Told, "plan" | "void">): string {
  if (plan === "needless") return "plain ssh, at once";
  if (plan === "held") return "known command line: the call needs no Deno";
  const name = changed?.trim();
  const since = name === undefined ? "new command line" : CHANGES[name] ?? `${name} has changed`;
  if (plan === "made") return `${since}: decided anew just now, and the call needs no Deno`;
  const soon = " until its files have not changed for some seconds";
  return `${since}: the call starts Deno to decide${plan === "soon" ? soon : ", as does each"}`;
}
