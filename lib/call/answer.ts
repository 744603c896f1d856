/** Answers the launcher (`--decide`): says what to do with a call, and writes the plan for the next one. */
import { checkAgents } from "../lane/agent_keys.ts";
import { closeLane } from "../lane/closing.ts";
import { isOpen, lookSeconds, retire } from "../lane/lane.ts";
import { aboutPath, identityDir, type Lane, lanesOf } from "../lane/layout.ts";
import { CHOOSE_ANOTHER } from "../lane/state_dir.ts";
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
import type { Given } from "../os/given.ts";
import { restorePath } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { print, words } from "../os/terminal.ts";
import { parseSshArgs, type SshOption, withoutOptions } from "../ssh/arguments.ts";
import { parseConfigOption } from "../ssh/config_text.ts";
import { readConfig } from "../ssh/configuration.ts";
import { withoutValues } from "../ssh/identity.ts";
import { answerText } from "./answer_text.ts";
import { conditionsOf } from "./conditions.ts";
import { decide, type DecideSystem, settingsOf } from "./decide.ts";
import type { Direct, Shared } from "./decision.ts";
import { planText, writePlan } from "./plan.ts";
import { putMasterAside } from "./rules.ts";
import { readSettingsFile } from "./settings.ts";

/**
 * Prints what the launcher must do with a call, and writes it as a plan if the same arguments will lead to
 * the same decision again. Returns the exit status: 1 if there is no answer, so that the call becomes plain
 * ssh.
 *
 * @param words CALLER CLAIM KEY LEADING -- ARGV: the pid of the call, the path of its claim to the plan, and the
 * plan's name, a relative path; "" if it has none. With "why" in place of "--" nothing is done for the call
 */
export async function answerCall(
  [caller, claim, key, , mode, ...argv]: readonly string[],
  given: Given,
  system: System,
): Promise<number> {
  restorePath();
  const asker = announce(claim, caller) ? Number(caller) : undefined;
  const control = await controlOf(argv, given, system);
  if (control && mode !== "why") await prepareControl(control, Number(caller), system);
  const decision = control ? directTo(control) : prepared(await decide(argv, given, system));
  const answer = await answerText(decision, { given, look: lookSeconds(system), system });
  if (answer === undefined) return 1;
  if (decision.kind === "share") await checkAgents(identityDir(decision), system);
  await keepPlan(decision, answer, { asker, given, key }, system);
  // Other calls wait for the plan while the claim exists: sshs_decide() in ask.sh.
  if (claimOf(claim, caller)) removePath(claim);
  print(answer.trimEnd());
  return 0;
}

/**
 * Records in the caller's claim that the configuration is read from now on: later callers cannot use an
 * answer that is valid only at this moment. Returns false if the claim cannot be written.
 */
function announce(claim: string, caller: string): boolean {
  const line = claimOf(claim, caller);
  if (line === undefined) return false;
  try {
    overwrite(claim, `${line}\nreading\n`);
    return true;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return false;
  }
}

/**
 * Returns the first line of the claim, if it is the caller's: its pid and birth. If the caller was killed,
 * another call may have it by now.
 */
function claimOf(claim: string, caller: string): string | undefined {
  const [line] = (claim === "" ? undefined : readText(claim))?.split("\n") ?? [];
  return line?.split(" ")[0] === caller ? line : undefined;
}

/** Creates the identity's directories. Returns a direct decision if no control socket can be made in them. */
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
    if (decision.copies) makeDir(identityDir({ ...decision, identity: decision.copies }));
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
  { asker, given, key }: { asker?: number; given: Given; key: string },
  system: System,
): Promise<void> {
  const basis = decision.kind === "share" ? decision : decision.basis;
  if (!basis || key === "" || given.stateDir === "") return;
  try {
    const conditions = await conditionsOf(decision, given, system);
    const text = conditions && planText(key, conditions, answer, asker);
    if (text) writePlan(given.stateDir, key, text, basis.since);
  } catch (error) {
    if (!isSystemError(error)) throw error;
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
  given: Given,
  system: DecideSystem,
): Promise<Control | undefined> {
  const args = parseSshArgs(argv);
  if (args.kind !== "call") return undefined;
  const call = putMasterAside(args, settingsOf(args, readSettingsFile(system), system));
  const command = call.options.find(({ letter }) => letter === "O")?.value;
  if (command === undefined || !COMMANDS.includes(command)) return undefined;
  if (call.options.some(namesSocket)) return undefined;
  const session = withoutOptions(call, ({ letter }) => OF_REQUEST.includes(letter));
  const decision = await decide(session, given, system);
  if (decision.kind === "direct") return undefined;
  const lanes = lanesOf(identityDir(decision))
    .sort((a, b) => Number(b.name) - Number(a.name));
  const lane = lanes.find((lane) => isOpen(lane) && exists(lane.socket));
  if (!lane) return undefined;
  // The user's own master, from their configuration, takes precedence.
  const answer = await readConfig(given.ssh, call, system);
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
