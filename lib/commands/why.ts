/**
 * `sshs --why ARGS...`: says what `ssh ARGS` would do now. Uses no network, and starts nothing but
 * `ssh -G` and the launcher, which looks for a plan. `--json` prints an object:
 *
 *     {
 *       "decision": "share",                  or "direct": becomes plain ssh
 *       "reason": "a shared connection is open",
 *       "remedy": null,                       what would make it share, or share better
 *       "command": ["/usr/bin/ssh", "-S", "...", "-o", "ControlMaster=no", "web1", "ls"],
 *                                             what would be executed; a lane yet to be opened is "XXXX"
 *       "destination": "web1",                from here on null if it goes direct
 *       "resolved": "deploy@192.0.2.1:22",
 *       "identity": "0123456789abcdef",
 *       "lane": { ... },                      as --list --json shows it; null: a new one would be opened
 *       "launcher": false,                    the call needs no Deno: there is a plan, or no need of one
 *       "linger": 600,                        seconds; null also: forever
 *       "jumpHost": null,                     "shared"; null: there is none
 *       "notice": null                        what is wrong with our settings file
 *     }
 */
import { controlOf, directTo } from "../call/answer.ts";
import { decide, type DecideSystem, type Shared } from "../call/decide.ts";
import { planKey } from "../call/plan.ts";
import type { Direct } from "../call/rules.ts";
import { identityDir, laneAt } from "../lane/layout.ts";
import { freePlaces, liveLeases } from "../lane/lease.ts";
import { bareLauncher } from "../launcher/launcher.ts";
import type { System } from "../os/system.ts";
import { print, printJson, say, words } from "../os/terminal.ts";
import { findRealSsh, INSIDE } from "../ssh/real_ssh.ts";
import { CANNOT_SHARE } from "./hold.ts";
import { laneJson } from "./list.ts";
import { learnedOf, seeLanes, type SeenLane, type SeeSystem } from "./seen.ts";
import { cell, colour, table } from "./table.ts";
import { commandLine, commandWords, type PlanState } from "./words.ts";

/** Stands for the name of a lane yet to be opened, which will be a number. */
const UNNAMED = "XXXX";

type WhySystem = DecideSystem & SeeSystem & Pick<System, "pid">;

/** All that is known of a call before it is made. */
interface Answer {
  readonly decision: "share" | "direct";
  readonly reason: string;
  readonly remedy?: string;
  readonly command: readonly string[];
  readonly shared?: Shared;
  readonly lane?: SeenLane;
  readonly plan: PlanState;
  readonly notice?: string;
}

/** Prints what would be done with a call. Returns the exit status. */
export async function why(
  argv: readonly string[],
  json: boolean,
  system: WhySystem,
): Promise<number> {
  const ssh = findRealSsh(system);
  if (ssh === undefined) {
    say(words.noSsh());
    return 1;
  }
  const answer = await answerFor(argv, ssh, system);
  if (json) printJson(answerJson(answer));
  else print(...answerLines(answer));
  return 0;
}

async function answerFor(argv: readonly string[], ssh: string, system: WhySystem): Promise<Answer> {
  if (system.env(INSIDE)) {
    return directAnswer({ kind: "direct", reason: commandWords.inside() }, "needless", ssh, argv);
  }
  const control = await controlOf(argv, ssh, system);
  const decision = control ? directTo(control) : await decide(argv, ssh, system);
  const plan = await planOf(argv, decision, system);
  if (decision.kind === "direct") return directAnswer(decision, plan, ssh, argv);
  const home = identityDir(decision);
  const learned = learnedOf(home, system);
  if (learned) {
    const direct = {
      kind: "direct",
      reason: learned,
      remedy: commandWords.freshHint(argv),
    } as const;
    return directAnswer(direct, plan, ssh, argv);
  }
  const lanes = (await seeLanes(system)).filter(({ lane }) => lane.dir === home);
  const lane = laneFor(lanes, system);
  const { reason, remedy } = reasonFor(lane, lanes, decision);
  const { socket } = lane?.lane ?? laneAt(home, UNNAMED);
  return {
    decision: "share",
    reason,
    remedy,
    command: [ssh, "-S", socket, "-o", "ControlMaster=no", ...argv],
    shared: decision,
    lane,
    plan,
    notice: decision.notice?.fault,
  };
}

function directAnswer(
  { reason, remedy, socket, notice }: Direct,
  plan: PlanState,
  ssh: string,
  argv: readonly string[],
): Answer {
  const command = [ssh, ...(socket ? ["-S", socket] : []), ...argv];
  return { decision: "direct", reason, remedy, command, plan, notice: notice?.fault };
}

/** Returns the lane that the call would try first, as sshs_find_place() in launcher.sh does. */
function laneFor(lanes: readonly SeenLane[], system: WhySystem): SeenLane | undefined {
  return lanes.find(({ lane, record, state, isHeld }) =>
    (state === "open" || state === "unverified") &&
    freePlaces(record, liveLeases(lane, system), isHeld) > 0
  );
}

function reasonFor(
  lane: SeenLane | undefined,
  lanes: readonly SeenLane[],
  { linger, forwards }: Shared,
): { reason: string; remedy?: string } {
  const lingerHint = linger > 0 || !forwards ? undefined : commandWords.lingerHint();
  if (lane) {
    const reason = lane.state === "unverified"
      ? commandWords.isUnverified()
      : commandWords.isOpen();
    return { reason, remedy: lingerHint };
  }
  if (lanes.some(({ state }) => state === "full")) {
    return { reason: commandWords.isFull(), remedy: commandWords.fullHint() };
  }
  return { reason: commandWords.isNew(), remedy: lingerHint };
}

function answerJson({ shared, lane, ...answer }: Answer) {
  return {
    decision: answer.decision,
    reason: answer.reason,
    remedy: answer.remedy ?? null,
    command: answer.command,
    destination: shared?.call.destination ?? null,
    resolved: shared?.resolved ?? null,
    identity: shared?.identity ?? null,
    lane: lane ? laneJson(lane) : null,
    launcher: answer.plan === "holds" || answer.plan === "needless",
    linger: shared && isFinite(shared.linger) ? shared.linger : null,
    jumpHost: shared?.jump ? "shared" : null,
    notice: answer.notice ?? null,
  };
}

function answerLines({ shared, lane, ...answer }: Answer): string[] {
  const rows = [[answer.decision === "share" ? "shares" : "direct", answer.reason]];
  if (answer.remedy) rows.push(["hint", answer.remedy]);
  if (shared) {
    rows.push(["resolved", shared.resolved], ["identity", shared.identity]);
    if (lane) rows.push(["lane", commandWords.laneFacts(lane)]);
    if (shared.jump) rows.push(["jump host", "shared"]);
    rows.push(["linger", commandWords.linger(shared.linger)]);
  }
  rows.push(["plan", commandWords.plan(answer.plan)]);
  if (answer.notice) rows.push(["settings", answer.notice]);
  rows.push(["command", commandLine(answer.command)]);
  return table(
    rows.map((row) => row.map((text) => cell(text))),
    (padded, _, column) => column === 0 ? colour(padded, "bold") : padded,
  );
}

/** Asks the launcher itself whether it has a plan that holds now, or needs none. */
export async function planOf(
  argv: readonly string[],
  decision: Shared | Direct,
  system: Pick<System, "run" | "uid">,
): Promise<PlanState> {
  const [sh, ...words] = bareLauncher();
  const { code } = await system.run(sh, [...words, ...argv], {
    env: { SSHS_TASK: "plan" },
  });
  if (code === 0) return "holds";
  if (code === CANNOT_SHARE) return "needless";
  // As keepPlan() in answer.ts does.
  const basis = decision.kind === "share" ? decision : decision.basis;
  const key = basis && planKey(argv.slice(0, argv.length - basis.call.command.length));
  return key === undefined ? "never" : "none";
}
