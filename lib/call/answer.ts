/** What the program answers to the launcher (`--decide`): what to do with a call, and the plan for the next. */
import { checkAgents, closeLane } from "../lane/health.ts";
import { isOpen, lookSeconds, retire } from "../lane/lane.ts";
import { identityDir, type Lane, lanesOf } from "../lane/layout.ts";
import { CHOOSE_ANOTHER, openStateDir, StateDirError } from "../lane/state_dir.ts";
import { createText, exists, isSystemError, makeDir, overwrite, writeWhole } from "../os/files.ts";
import { restorePath } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { print, words } from "../os/terminal.ts";
import { parseConfigOption, parseSshArgs, type SshOption } from "../ssh/arguments.ts";
import { readConfig } from "../ssh/configuration.ts";
import { withoutValues } from "../ssh/identity.ts";
import { findRealSsh } from "../ssh/real_ssh.ts";
import { decide, type DecideSystem, settingsOf, type Shared } from "./decide.ts";
import { answerText, conditionsOf, planKey, planText, writePlan } from "./plan.ts";
import { type Direct, putMasterAside } from "./rules.ts";
import { readSettingsFile } from "./settings.ts";

/**
 * Prints what the launcher is to do with a call, and leaves it as a plan where the same words will be
 * decided the same way again. Returns the exit status: 1 where there is no answer, so that the
 * call is plain ssh.
 */
export async function answerCall(argv: readonly string[], system: System): Promise<number> {
  restorePath();
  const ssh = findRealSsh(system);
  if (ssh === undefined) return 1;
  const launcher = system.env("SSHS_LAUNCHER") ?? "";
  const caller = Number(system.env("SSHS_CALLER"));
  const claim = system.env("SSHS_CLAIM") || undefined;
  const asker = claim && isAnnounced(claim, caller) ? caller : undefined;
  const control = await controlOf(argv, ssh, system);
  if (control) await prepareControl(control, caller, system);
  const decision = control ? directTo(control) : prepared(await decide(argv, ssh, system));
  const answer = answerText(decision, { ssh, launcher, look: lookSeconds(system) });
  if (answer === undefined) return 1;
  if (decision.kind === "share") await checkAgents(identityDir(decision), system);
  await keepPlan(decision, answer, asker, system);
  print(answer.trimEnd());
  return 0;
}

/**
 * Notes in the caller's claim that the configuration will be read from now on: who comes later cannot use an
 * answer that is good for this moment only. False where that cannot be noted.
 */
function isAnnounced(claim: string, caller: number): boolean {
  try {
    overwrite(claim, `${caller}\nreading\n`);
    return true;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return false;
  }
}

/** Makes the identity's directory, or finds that no control socket can be made in it. */
function prepared(decision: Shared | Direct): Shared | Direct {
  if (decision.kind === "direct") return decision;
  const dir = identityDir(decision);
  try {
    makeDir(dir);
    // ssh links its socket into place (mux.c, muxserver_listen); without hard links it would stay
    // behind as a detached ssh that nobody can reach.
    if (!exists(`${dir}/about`)) {
      writeWhole(`${dir}/about`, withoutValues(decision.identityText), { linked: true });
    }
    return decision;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const reason = `no control socket can be made in ${dir} (${error.message})`;
    const notice = words.notShared({ message: reason, hint: CHOOSE_ANOTHER });
    return { kind: "direct", reason, notice: decision.quiet ? undefined : notice };
  }
}

/** Leaves a plan for the launcher, if the decision is one that can be kept. */
async function keepPlan(
  decision: Shared | Direct,
  answer: string,
  asker: number | undefined,
  system: System,
): Promise<void> {
  const basis = decision.kind === "share" ? decision : decision.basis;
  const key = basis &&
    planKey(basis.argv.slice(0, basis.argv.length - basis.call.command.length));
  if (!basis || key === undefined) return;
  try {
    const stateDir = openStateDir(system);
    const conditions = await conditionsOf(decision, stateDir, system);
    const text = conditions && planText(key, conditions, answer, asker);
    if (text) writePlan(stateDir, key, text, basis.since);
  } catch (error) {
    if (!(error instanceof StateDirError)) throw error;
  }
}

/**
 * What `-O check|exit|stop|forward|...` says to the lanes of an identity, of a caller who names no control
 * socket: so what rules a connection master (ansible's reset_connection, deploy scripts) works as with a
 * ControlPath. ssh itself speaks to the newest lane, so that words and statuses are its own; `exit` and `stop`
 * concern all lanes of the identity.
 */
export interface Control {
  readonly command: string;
  /** The newest that is open: the one that ssh speaks to. */
  readonly lane: Lane;
  /** All others, open or retired. */
  readonly others: readonly Lane[];
}

/** Of mux.c and ssh.c, up to 10.5. */
const COMMANDS = [
  ...["check", "exit", "stop", "forward", "cancel", "proxy", "conninfo", "channels"],
];

/** What says what the master is to do, and nothing of which one. */
const WHAT = "ODLR";

/**
 * To which lanes the call speaks; `undefined` where it has no -O, a socket of its own, or there is
 * no lane. Pure.
 */
export async function controlOf(
  argv: readonly string[],
  ssh: string,
  system: DecideSystem,
): Promise<Control | undefined> {
  const args = parseSshArgs(argv);
  if (args.kind !== "call") return undefined;
  const call = putMasterAside(args, settingsOf(args, readSettingsFile(system), system));
  const command = call.options.find(({ letter }) => letter === "O")?.value;
  if (command === undefined || !COMMANDS.includes(command)) return undefined;
  if (call.options.some(namesSocket)) return undefined;
  const options = call.options.filter(({ letter }) => !WHAT.includes(letter));
  const words = options.flatMap(({ letter, value }) =>
    value === undefined ? [`-${letter}`] : [`-${letter}`, value]
  );
  const decision = await decide([...words, "--", call.destination], ssh, system);
  if (decision.kind === "direct") return undefined;
  const lanes = lanesOf(identityDir(decision))
    .sort((a, b) => Number(b.name) - Number(a.name));
  const lane = lanes.find((lane) => isOpen(lane) && exists(lane.socket));
  if (!lane) return undefined;
  // A master of the user's own, from their configuration, goes first.
  const answer = await readConfig(ssh, call, system);
  if (answer.kind === "failed") return undefined;
  const own = answer.config.get("controlpath") ?? "none";
  if (own !== "none" && exists(own)) return undefined;
  return { command, lane, others: lanes.filter((other) => other !== lane) };
}

function namesSocket({ letter, value }: SshOption): boolean {
  return letter === "S" ||
    (letter === "o" && parseConfigOption(value ?? "").key === "controlpath");
}

/** How `--why` and the launcher are told of it. */
export function directTo({ lane }: Control): Direct {
  const reason = "-O speaks to the connection master that is shared";
  return { kind: "direct", reason, socket: lane.socket };
}

/**
 * Does for the other lanes what ssh will do for the newest, and sees to it that the next call finds none that
 * was told to end. `pid` is the process that becomes ssh: its lease keeps the lane until ssh has spoken.
 */
async function prepareControl(
  { command, lane, others }: Control,
  pid: number,
  system: Pick<System, "births" | "isAlive" | "kill">,
): Promise<void> {
  createText(`${lane.leases}/${pid}.via`, "");
  if (command !== "exit" && command !== "stop") return;
  retire(lane);
  await Promise.all(others.map((other) => closeLane(other, system, { now: command === "exit" })));
}
