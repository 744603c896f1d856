/** Answers the launcher (`--decide`): says what to do with a call, and writes the plan for the next one. */
import { checkAgents } from "../lane/agent_keys.ts";
import { identityDir } from "../lane/layout.ts";
import { CHOOSE_ANOTHER } from "../lane/state_dir.ts";
import {
  exists,
  isSystemError,
  makeDir,
  overwrite,
  readText,
  removePath,
  writeWhole,
} from "../os/files.ts";
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { print, words } from "../os/terminal.ts";
import { withoutValues } from "../ssh/identity.ts";
import { answerText } from "./answer_text.ts";
import { conditionsOf } from "./conditions.ts";
import { controlSocket } from "./control.ts";
import { decide } from "./decide.ts";
import { type Direct, direct, type Shared } from "./decision.ts";
import { planText, writePlan } from "./plan.ts";

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
  const asker = claim !== "" && announce(claim, caller) ? Number(caller) : undefined;
  const pid = mode === "why" ? undefined : Number(caller);
  const socket = await controlSocket(argv, pid, given, system);
  const decision = socket
    ? { ...direct("-O controls the shared connection"), socket }
    : prepared(await decide(argv, given, system));
  const answer = answerText(decision, given, system);
  if (answer === undefined) return 1;
  if (decision.kind === "share") await checkAgents(identityDir(decision), system);
  await keepPlan(decision, answer, { asker, given, key }, system);
  // Other calls wait for the plan while the claim exists: sshs_decide() in ask.sh.
  if (claim !== "" && claimOf(claim, caller)) removePath(claim);
  print(answer.trimEnd());
  return 0;
}

/**
 * Returns the exit status 0 if a call (IDENTITY -- ARGV) still leads where it led before its login, else 1. ssh
 * reads its configuration again for a master, and a `Match exec`, a network, a name server or a wrapper around
 * ssh may answer otherwise than before: the lane would have another key, user or host than its identity says.
 */
export async function isAsDecided(
  [identity, , ...argv]: readonly string[],
  given: Given,
  system: System,
): Promise<number> {
  const decision = await decide(argv, given, system);
  return decision.kind === "share" && decision.identity === identity ? 0 : 1;
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
  const [line] = (readText(claim) ?? "").split("\n");
  return line.split(" ")[0] === caller ? line : undefined;
}

/** Creates the identity's directories. Returns a direct decision if no control socket can be made in them. */
function prepared(decision: Shared | Direct): Shared | Direct {
  if (decision.kind === "direct") return decision;
  const dir = identityDir(decision);
  try {
    makeDir(dir);
    // ssh hard-links its socket into place (mux.c, muxserver_listen). Without hard links it would
    // remain as a detached ssh that nobody can reach.
    if (!exists(`${dir}/about`)) {
      writeWhole(`${dir}/about`, withoutValues(decision.identityText), { linked: true });
    }
    if (decision.copies) makeDir(identityDir({ ...decision, identity: decision.copies }));
    return decision;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const reason = `no control socket can be made in ${dir} (${error.message})`;
    const notice = words.notShared({ message: reason, hint: CHOOSE_ANOTHER });
    return { ...direct(reason), notice: decision.quiet ? undefined : notice };
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
