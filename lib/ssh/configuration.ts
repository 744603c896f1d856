/**
 * What is asked of ssh about a call (`ssh -G -v`), and what a master is started with. Both get the user's
 * own words in their order, with words of ours in front.
 */
import type { System } from "../os/system.ts";
import { type SshCall, type SshOption, withoutOptions } from "./arguments.ts";
import { parseConfigDump, type SshConfig } from "./config_dump.ts";
import { INSIDE } from "./real_ssh.ts";
import { TOKENS_PATH } from "./tokens.ts";

/** The options that would override -v: -q sets the same log level, -y and -E send the log elsewhere. */
const OF_LOG = "Eqvy";

/**
 * Returns the argv that asks how ssh would treat a call. It includes the command, since `Match command` may
 * look at it, and what ssh may refuse at once (`-W nope`, `-s` without a command).
 */
export function dumpArguments(call: SshCall): string[] {
  // A request to a master (-O) uses the user's own ControlPath.
  const isToMaster = call.options.some(({ letter }) => letter === "O");
  // -W is bad as long as ssh has not filled in what a jump host connects to.
  const isLeftOut = ({ letter, value }: SshOption) =>
    OF_LOG.includes(letter) || (letter === "W" && value!.includes("%"));
  const own = withoutOptions(call, isLeftOut);
  const asked = isToMaster ? [] : ["-o", `ControlPath=${TOKENS_PATH}`];
  return ["-G", "-v", ...asked, ...own, ...call.command];
}

/**
 * The options of a session. A master logs as the call does (-q), but with its messages in its lane's log;
 * forwards end with their own process, and a request to a master never starts one.
 */
const NOT_FOR_MASTER = "tTnfNsWeEyv" + "DLRw" + "MSOGQVZ";

/**
 * Returns the words that a call's master must be started with: the caller's, without the session's options
 * and its command, and in front `SendEnv=*`. A master passes on only those variables of a session that its
 * own SendEnv names (env_permitted() in mux.c, tried on 9.2), whether they come from the session's SendEnv
 * or SetEnv; it sends nothing of its own environment. Where an `-o` of the session's is among them
 * (RemoteCommand, LocalForward), what is put in front of all wins: masterArguments() in answer_text.ts.
 *
 * @param without letters to leave out as well
 */
export function connectionWords(call: SshCall, without = ""): string[] {
  const left = NOT_FOR_MASTER + without;
  return ["-o", "SendEnv=*", ...withoutOptions(call, ({ letter }) => left.includes(letter))];
}

/**
 * The configuration and how long ssh took for it, ms; or why there is none: ssh refuses the call and will say
 * so itself. `begun` is what it had read when we stopped waiting for a `Match exec`: no values, but files and
 * programs.
 */
export type ConfigAnswer =
  | { readonly kind: "config"; readonly config: SshConfig; readonly took: number }
  | { readonly kind: "failed"; readonly reason: string; readonly begun?: SshConfig };

/**
 * How long ssh may take for its configuration, ms: a `Match exec` may take long. Well below the 10 s after
 * which the launcher gives us up.
 */
const CONFIG_WAIT = 4000;

/** Asks ssh for its configuration for a call, for at most `wait` ms. */
export async function readConfig(
  ssh: string,
  call: SshCall,
  system: Pick<System, "run">,
  wait: number = CONFIG_WAIT,
): Promise<ConfigAnswer> {
  const start = performance.now();
  // A `Match exec` may run `ssh` again: INSIDE makes that one plain ssh.
  const options = { env: { [INSIDE]: ssh }, signal: AbortSignal.timeout(wait) };
  const { code, stdout, stderr } = await system.run(ssh, dumpArguments(call), options);
  const config = parseConfigDump(stdout, stderr);
  const took = performance.now() - start;
  if (code === 0 && config.get("hostname") !== undefined) return { kind: "config", config, took };
  if (took >= wait) {
    const reason = `ssh takes longer than ${wait / 1000} s for its configuration`;
    return { kind: "failed", reason, begun: config.execs.length > 0 ? config : undefined };
  }
  // A script in place of ssh may not know -G: all hosts would then look the same.
  const reason = code === 0 ? "ssh -G names no host" : `ssh -G ended with ${code}`;
  return { kind: "failed", reason: config.warnings.at(-1) ?? reason };
}
