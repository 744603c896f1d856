/** Answers the launcher (`--decide`): says what to do with a call, and writes the plan for the next one. */
import { checkAgents } from "../lane/agent_keys.ts";
import { closeLane } from "../lane/closing.ts";
import { isOpen, lookSeconds, retire } from "../lane/lane.ts";
import { aboutPath, identityDir, type Lane, lanesOf } from "../lane/layout.ts";
import { CHOOSE_ANOTHER, openStateDir, StateDirError, stateDirPath } from "../lane/state_dir.ts";
import {
  createText,
  exists,
  isSystemError,
  makeDir,
  overwrite,
  readText,
  removePath,
  writeWhole,
} from "../os/files.ts";
import { restorePath } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { print, words } from "../os/terminal.ts";
import { parseConfigOption, parseSshArgs, type SshOption, wordsOf } from "../ssh/arguments.ts";
import { effectiveOptions, readConfig } from "../ssh/configuration.ts";
import { withoutValues } from "../ssh/identity.ts";
import { findRealSsh } from "../ssh/real_ssh.ts";
import { decide, type DecideSystem, settingsOf, type Shared } from "./decide.ts";
import { answerText, conditionsOf, planKey, planText, writePlan } from "./plan.ts";
import { type Direct, putMasterAside } from "./rules.ts";
import { readSettingsFile } from "./settings.ts";

/**
 * Prints what the launcher must do with a call, and writes it as a plan if the same arguments will lead to
 * the same decision again. Returns the exit status: 1 if there is no answer, so that the call becomes plain
 * ssh.
 */
export async function answerCall(argv: readonly string[], system: System): Promise<number> {
  restorePath();
  const ssh = findRealSsh(system);
  if (ssh === undefined) return 1;
  const launcher = system.env("SSHS_LAUNCHER") ?? "";
  const caller = Number(system.env("SSHS_CALLER"));
  const claim = system.env("SSHS_CLAIM") || undefined;
  const asker = claim && announce(claim, caller) ? caller : undefined;
  const control = await controlOf(argv, ssh, system);
  if (control) await prepareControl(control, caller, system);
  const decision = control ? directTo(control) : prepared(await decide(argv, ssh, system));
  const answer = answerText(decision, { ssh, launcher, look: lookSeconds(system) });
  if (answer === undefined) return 1;
  if (decision.kind === "share") await checkAgents(identityDir(decision), system);
  await keepPlan(decision, answer, asker, system);
  // Other calls wait for the plan while the claim exists: sshs_decide() in launcher.sh.
  if (claim && holds(claim, caller)) removePath(claim);
  print(answer.trimEnd());
  return 0;
}

/**
 * Records in the caller's claim that the configuration is read from now on: later callers cannot use an
 * answer that is valid only at this moment. Returns false if the claim cannot be written.
 */
function announce(claim: string, caller: number): boolean {
  if (!holds(claim, caller)) return false;
  try {
    overwrite(claim, `${caller}\nreading\n`);
    return true;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return false;
  }
}

/** Whether the claim is the caller's: if the caller was killed, another call may have it by now. */
function holds(claim: string, caller: number): boolean {
  return readText(claim)?.split("\n")[0] === `${caller}`;
}

/** Creates the identity's directory. Returns a direct decision if no control socket can be made in it. */
function prepared(decision: Shared | Direct): Shared | Direct {
  if (decision.kind === "direct") return decision;
  const dir = identityDir(decision);
  try {
    makeDir(dir);
    // ssh hard-links its socket into place (mux.c, muxserver_listen). Without hard links it would
    // remain as a detached ssh that nobody can reach.
    if (!exists(aboutPath(dir))) {
      writeWhole(aboutPath(dir), withoutValues(decision.identityText), { linked: true });
    }
    return decision;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const reason = `no control socket can be made in ${dir} (${error.message})`;
    const notice = words.notShared({ message: reason, hint: CHOOSE_ANOTHER });
    return { kind: "direct", reason, notice: decision.quiet ? undefined : notice };
  }
}

/** Writes a plan for the launcher, if the decision can be kept. */
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
    const stateDir = openStateDir({ stateDir: stateDirPath(system) }, system);
    const conditions = await conditionsOf(decision, stateDir, system);
    const text = conditions && planText(key, conditions, answer, asker);
    if (text) writePlan(stateDir, key, text, basis.since);
  } catch (error) {
    if (!(error instanceof StateDirError) && !isSystemError(error)) throw error;
  }
}

/**
 * A control command (`-O check|exit|stop|forward|...`) to the lanes of an identity, from a caller that
 * names no control socket. Tools that control a connection master (ansible's reset_connection, deploy
 * scripts) thus work as with a ControlPath. ssh itself talks to the newest lane, so messages and exit
 * statuses are its own; `exit` and `stop` apply to all lanes of the identity.
 */
export interface Control {
  readonly command: string;
  /** The newest open lane: the one that ssh talks to. */
  readonly lane: Lane;
  /** All others, open or retired. */
  readonly others: readonly Lane[];
}

/** The commands in mux.c and ssh.c, up to 10.5. */
const COMMANDS = ["check", "exit", "stop", "forward", "cancel", "proxy", "conninfo", "channels"];

/** The options that say what the master must do, but not which master. */
const OF_REQUEST = "ODLR";

/**
 * Returns the lanes that the call talks to; `undefined` if it has no -O, names its own socket, or there is
 * no lane.
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
  const options = effectiveOptions(call).filter(({ letter }) => !OF_REQUEST.includes(letter));
  const session = [...options.flatMap(wordsOf), "--", call.destination];
  const decision = await decide(session, ssh, system);
  if (decision.kind === "direct") return undefined;
  const lanes = lanesOf(identityDir(decision))
    .sort((a, b) => Number(b.name) - Number(a.name));
  const lane = lanes.find((lane) => isOpen(lane) && exists(lane.socket));
  if (!lane) return undefined;
  // The user's own master, from their configuration, takes precedence.
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

/** Returns a control command as a decision, for `--why` and the launcher. */
export function directTo({ lane }: Control): Direct {
  const reason = "-O controls the shared connection";
  return { kind: "direct", reason, socket: lane.socket };
}

/**
 * Does for the other lanes what ssh will do for the newest, and makes sure that the next call finds no lane
 * that was told to end. `pid` is the process that becomes ssh: its lease keeps the lane until ssh is done.
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
