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
 *       "launcher": false,                    the launcher has a plan, and need not start Deno
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
import { hasRoom, liveLeases } from "../lane/lease.ts";
import { launcherText } from "../launcher/launcher.ts";
import { launcherSettings, quote } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { print, printJson, say, words } from "../os/terminal.ts";
import { findRealSsh, INSIDE } from "../ssh/real_ssh.ts";
import { laneJson } from "./list.ts";
import { learnedOf, seeLanes, type SeenLane, type SeeSystem } from "./seen.ts";
import { cell, colour, table } from "./table.ts";
import { commandWords } from "./words.ts";

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
  readonly plan: "holds" | "none" | "never";
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
    return directAnswer({ kind: "direct", reason: commandWords.inside() }, ssh, argv);
  }
  const control = await controlOf(argv, ssh, system);
  const decision = control ? directTo(control) : await decide(argv, ssh, system);
  if (decision.kind === "direct") return directAnswer(decision, ssh, argv);
  const home = identityDir(decision);
  const learned = learnedOf(home, system);
  if (learned) return directAnswer({ kind: "direct", reason: learned }, ssh, argv);
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
    plan: await planOf(argv, decision, system),
    notice: decision.notice?.fault,
  };
}

function directAnswer(decision: Direct, ssh: string, argv: readonly string[]): Answer {
  const { reason, remedy, socket, notice } = decision;
  const command = [ssh, ...(socket ? ["-S", socket] : []), ...argv];
  return { decision: "direct", reason, remedy, command, plan: "none", notice: notice?.fault };
}

/** Returns the lane that the call would try first, as sshs_find_place() in launcher.sh does. */
function laneFor(lanes: readonly SeenLane[], system: WhySystem): SeenLane | undefined {
  return lanes.find(({ lane, record, state, isHeld }) =>
    (state === "open" || state === "unverified") &&
    hasRoom(record, liveLeases(lane, system), system.pid, isHeld)
  );
}

function reasonFor(
  lane: SeenLane | undefined,
  lanes: readonly SeenLane[],
  { linger, forwards }: Shared,
): { reason: string; remedy?: string } {
  const lingers = linger > 0 || !forwards ? undefined : commandWords.lingerHint();
  if (lane) {
    const reason = lane.state === "unverified"
      ? commandWords.isUnverified()
      : commandWords.isOpen();
    return { reason, remedy: lingers };
  }
  if (lanes.some(({ state }) => state === "full")) {
    return { reason: commandWords.isFull(), remedy: commandWords.fullHint() };
  }
  return { reason: commandWords.isNew(), remedy: lingers };
}

async function planOf(
  argv: readonly string[],
  shared: Shared,
  system: WhySystem,
): Promise<Answer["plan"]> {
  if (await hasPlan(argv, system)) return "holds";
  const key = planKey(argv.slice(0, argv.length - shared.call.command.length));
  return key === undefined ? "never" : "none";
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
    launcher: answer.plan === "holds",
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
    rows.push(["plan", commandWords.plan(answer.plan)]);
  }
  if (answer.notice) rows.push(["settings", answer.notice]);
  rows.push(["command", answer.command.map(quoted).join(" ")]);
  return table(
    rows.map((row) => row.map((text) => cell(text))),
    (padded, _, column) => column === 0 ? colour(padded, "bold") : padded,
  );
}

/** Quotes a word for a shell, if it needs it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./~-]+$/.test(word) ? word : quote(word) ?? JSON.stringify(word);
}

/**
 * Whether there is a plan for these arguments that holds now, so that the call needs no Deno. Asks the
 * launcher itself.
 */
export async function hasPlan(
  argv: readonly string[],
  system: Pick<System, "run" | "uid">,
): Promise<boolean> {
  const text = launcherText({ ...launcherSettings(), uid: system.uid() ?? 0, bin: "/" });
  if (text === undefined) return false;
  const { code } = await system.run("/bin/sh", ["-c", text, "ssh", ...argv], {
    env: { SSHS_TASK: "plan" },
  });
  return code === 0;
}
