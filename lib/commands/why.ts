/**
 * `sshs --why ARGS...`: what `ssh ARGS` would do now, without touching the network or starting
 * anything but `ssh -G`. With `--json` an object:
 *
 *     {
 *       "decision": "share",                  or "direct": becomes plain ssh
 *       "reason": "a lane is open",
 *       "remedy": null,                       what would make it share, where something would
 *       "command": ["/usr/bin/ssh", "-S", "...", "-o", "ControlMaster=no", "web1", "ls"],
 *                                             what would be executed; a lane yet to be opened is "XXXX"
 *       "destination": "web1",                from here on null where it goes direct
 *       "resolved": "deploy@192.0.2.1:22",
 *       "identity": "0123456789abcdef",
 *       "lane": { ... },                      as --list --json shows it; null: a new one would be opened
 *       "launcher": false,                    the launcher has a plan, and need not start Deno
 *       "linger": 600,                        seconds; null also: for ever
 *       "jumpHost": null,                     "shared", "direct" or null: there is none
 *       "notice": null                        what is wrong with our settings file
 *     }
 */
import { basename } from "@std/path/posix/basename";
import { over } from "../call/call.ts";
import { decide, type DecideSystem, type Shared } from "../call/decide.ts";
import { exists } from "../os/files.ts";
import { hasRoom, laneAt, lanesOf } from "../lane/lane.ts";
import { planKey, quote } from "../launcher/plan_file.ts";
import { liveLeases } from "../lane/lease.ts";
import { findRealSsh, INSIDE } from "../ssh/real_ssh.ts";
import { say, words } from "../os/terminal.ts";
import { laneJson } from "./list.ts";
import { print, printJson } from "./print.ts";
import { seeLanes, type SeenLane, type SeeSystem } from "./seen_lane.ts";
import { cell, colour, duration, table } from "./table.ts";
import { commandWords } from "./words.ts";

/** The name of a lane that is yet to be opened: it has no capitals. */
const UNNAMED = "XXXX";

type WhySystem = DecideSystem & SeeSystem;

/** All that is known of a call before it is made. */
interface Answer {
  readonly decision: "share" | "direct";
  readonly reason: string;
  readonly remedy?: string;
  readonly command: readonly string[];
  readonly shared?: Shared;
  readonly lane?: SeenLane;
  readonly launcher: boolean;
  readonly jumpHost?: "shared" | "direct";
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
  if (json) printJson(answerJson(answer, system.now()));
  else print(...answerLines(answer));
  return 0;
}

async function answerFor(argv: readonly string[], ssh: string, system: WhySystem): Promise<Answer> {
  const plain = [ssh, ...argv];
  if (system.env(INSIDE)) {
    const reason = commandWords.inside();
    return { decision: "direct", reason, command: plain, launcher: false };
  }
  const decision = await decide(argv, ssh, system);
  const { notice } = decision;
  if (decision.kind === "direct") {
    const { reason, remedy } = decision;
    return { decision: "direct", reason, remedy, command: plain, launcher: false, notice };
  }
  const lane = await laneFor(decision, system);
  const key = planKey(argv.slice(0, decision.call.leading));
  return {
    decision: "share",
    reason: commandWords.laneReason(lane?.state),
    command: [ssh, ...over(lane?.lane ?? laneAt(decision.dir, UNNAMED)), ...argv],
    shared: decision,
    lane,
    launcher: lane !== undefined && key !== undefined &&
      exists(`${decision.stateDir}/plans/${key}`),
    jumpHost: jumpHost(decision),
    notice,
  };
}

/** The lane that the call would try first, as openPlace() in share.ts does. */
async function laneFor(shared: Shared, system: WhySystem): Promise<SeenLane | undefined> {
  const seen = new Map((await seeLanes(system)).map((seen) => [seen.lane.record, seen]));
  return lanesOf(shared.dir).map((lane) => seen.get(lane.record)).find((seen) =>
    seen && seen.state !== "dead" && seen.state !== "retired" &&
    hasRoom(seen.record, [...liveLeases(seen.lane, system), shared.lease], system.now())
  );
}

function jumpHost(shared: Shared): Answer["jumpHost"] {
  if (shared.config.get("proxyjump") === undefined) return undefined;
  return shared.jump ? "shared" : "direct";
}

function answerJson({ shared, lane, ...answer }: Answer, now: number) {
  const identity = shared && basename(shared.dir);
  const linger = shared && isFinite(shared.linger) ? shared.linger : null;
  return {
    decision: answer.decision,
    reason: answer.reason,
    remedy: answer.remedy ?? null,
    command: answer.command,
    destination: shared?.destination ?? null,
    resolved: shared?.resolved ?? null,
    identity: identity ?? null,
    lane: lane ? laneJson(lane, now) : null,
    launcher: answer.launcher,
    linger,
    jumpHost: answer.jumpHost ?? null,
    notice: answer.notice ?? null,
  };
}

function answerLines({ shared, lane, ...answer }: Answer): string[] {
  const rows = [[answer.decision === "share" ? "shares" : "direct", answer.reason]];
  if (answer.remedy) rows.push(["to share", answer.remedy]);
  if (shared) {
    rows.push(["resolved", shared.resolved], ["identity", shared.dir.replace(/.*\//s, "")]);
    rows.push(["lane", lane ? commandWords.laneFacts(lane) : commandWords.newLane()]);
    if (answer.jumpHost) rows.push(["jump host", answer.jumpHost]);
    rows.push(["linger", duration(shared.linger)]);
    rows.push(["launcher", commandWords.launcher(answer.launcher)]);
  }
  if (answer.notice) rows.push(["settings", answer.notice]);
  rows.push(["command", answer.command.map(quoted).join(" ")]);
  return table(
    rows.map((row) => row.map((text) => cell(text))),
    (padded, _, column) => column === 0 ? colour(padded, "bold") : padded,
  );
}

/** A word as a shell would be given it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./~-]+$/.test(word) ? word : quote(word) ?? JSON.stringify(word);
}
