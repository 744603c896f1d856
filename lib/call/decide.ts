/** Turns the arguments of a call into all that is needed to share it, or the reason why it goes direct. */
import { forwardsOf } from "../lane/forwards.ts";
import { isJobDir, openStateDir, StateDirError } from "../lane/state_dir.ts";
import { readText, statOf } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import { LOST } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { words } from "../os/terminal.ts";
import { agentOf } from "../ssh/agent.ts";
import { hostOf, parseSshArgs, type SshCall } from "../ssh/arguments.ts";
import { dependsOnMore, dependsOnSession } from "../ssh/config_text.ts";
import { readConfig } from "../ssh/configuration.ts";
import { shortDigest } from "../ssh/digest.ts";
import { identityText, sharesAgentOrDisplay } from "../ssh/identity.ts";
import { jumpWords } from "../ssh/jump.ts";
import { keyFiles, readKeys } from "../ssh/key_files.ts";
import { isScript } from "../ssh/real_ssh.ts";
import { fitsRequest } from "../ssh/request_size.ts";
import { ticketsOf } from "../ssh/tickets.ts";
import { dependsOnDirectory } from "../ssh/connection_lines.ts";
import type { Basis, ConfigText, Direct, Shared } from "./decision.ts";
import { directByConfig, directByWords, lingerOf, putMasterAside, wantsQuiet } from "./rules.ts";
import { readSettingsFile, type Settings, type SettingsFile, settingsFor } from "./settings.ts";

export type DecideSystem = Pick<System, "cwd" | "env" | "environment" | "now" | "run" | "uid">;

/** The arguments of -F that mean no configuration. */
const NO_CONFIG = ["none", "/dev/null"];

/**
 * Decides on a call by its arguments (after `ssh`), and on its jump host's call. Uses no network and
 * runs nothing but `ssh -G`. `outer` are the calls that this one is the jump host of.
 */
export async function decide(
  argv: readonly string[],
  given: Given,
  system: DecideSystem,
  outer: readonly string[] = [],
): Promise<Shared | Direct> {
  const basis = await read(argv, given, system);
  if (basis.kind === "direct") return basis;
  const settings = settingsOf(basis.call, basis.settings, system);
  const decision = await decideOn(basis, settings, given, system, outer);
  const notice = settings.problem && !isQuiet(basis) ? words.settings(settings.problem) : undefined;
  return decision.kind === "direct" ? { basis, notice, ...decision } : { ...decision, notice };
}

/** Reads what a decision is based on. */
async function read(
  argv: readonly string[],
  given: Given,
  system: DecideSystem,
): Promise<(Basis & { kind: "read" }) | Direct> {
  const args = parseSshArgs(argv);
  if (args.kind !== "call") return directByWords(args)!;
  const since = system.now();
  const settings = readSettingsFile(system);
  const call = putMasterAside(args, settingsOf(args, settings, system));
  const direct = directByWords(call);
  if (direct) return direct;
  // We could not pass the same bytes to ssh -G.
  if (
    [call.destination, ...call.options.map(({ value }) => value)].some((v) => v?.includes(LOST))
  ) {
    return { kind: "direct", reason: "an option or the destination is not UTF-8" };
  }
  // ssh -G would drain a pipe before ssh itself can read it.
  const chosen = call.options.findLast(({ letter }) => letter === "F")?.value;
  if (chosen !== undefined && !NO_CONFIG.includes(chosen) && !statOf(chosen)?.isFile) {
    return { kind: "direct", reason: `-F ${chosen} is not a regular file` };
  }
  const answer = await readConfig(given.ssh, call, system);
  const config = answer.kind === "config" ? answer.config : answer.begun;
  if (!config) return { kind: "direct", reason: (answer as { reason: string }).reason };
  const texts: ConfigText[] = [];
  for (const path of config.files.filter((path) => !NO_CONFIG.includes(path))) {
    // ssh -G has consumed a pipe or a terminal (`-F <(...)`), so it cannot be read again.
    const text = statOf(path)?.isFile ? readText(path) : undefined;
    if (text === undefined) {
      return { kind: "direct", reason: `the configuration file ${path} cannot be read again` };
    }
    texts.push({ path, text });
  }
  const said = [...call.options.map(({ value = "" }) => value), ...texts.map(({ text }) => text)];
  const mayChange = isScript(given.ssh) || config.execs.length > 0 || said.some(dependsOnMore);
  const took = answer.kind === "config" ? answer.took : Infinity;
  const cwd = system.cwd();
  const basis = { argv, call, cwd, config, took, since, texts, settings, mayChange };
  if (answer.kind === "failed") return { kind: "direct", reason: answer.reason, basis };
  // A master, which runs no session, would get another configuration than the call.
  const ofSession = texts.find(({ text }) => dependsOnSession(text));
  if (ofSession) {
    const what = "depends on what the session does (Match command or sessiontype)";
    return { kind: "direct", reason: `${ofSession.path} ${what}`, basis };
  }
  return { kind: "read", ...basis };
}

async function decideOn(
  basis: Basis,
  settings: Settings,
  given: Given,
  system: DecideSystem,
  outer: readonly string[],
): Promise<Shared | Direct> {
  const { call, config, cwd } = basis;
  const ruled = directByConfig(call, config, settings, basis.took);
  if (ruled) return ruled;
  const environment = system.environment();
  if (!fitsRequest(call.command, config, environment)) {
    const reason = "the command and the variables it sends are too long to share";
    return { kind: "direct", reason, basis: undefined }; // The next command may be shorter.
  }
  const files = keyFiles(config, system);
  const keys = files && await readKeys(files, system);
  if (!files || !keys) {
    const reason = "a key file has a name or type that sshs does not know";
    return { kind: "direct", reason, basis: { ...basis, files } };
  }
  const tickets = await ticketsOf(config, system);
  if (tickets.areHidden && config.get("gssapidelegatecredentials") === "yes") {
    return { kind: "direct", reason: "it hands on a Kerberos ticket that sshs cannot watch" };
  }
  const quiet = isQuiet(basis);
  let stateDir: string;
  try {
    stateDir = openStateDir(given, system);
  } catch (error) {
    if (!(error instanceof StateDirError)) throw error;
    const notice = quiet ? undefined : words.notShared(error);
    return { kind: "direct", reason: error.message, notice };
  }
  const jump = await decideJump(basis, given, system, outer);
  if (jump?.kind === "direct") return jump;
  const text = identityText(config, {
    ...given,
    ...{ destination: call.destination, cwd, environment, uid: system.uid() },
    ...{ keys: keys.digest, tickets: tickets.facts, jump: jump?.identityText },
  });
  const forwards = sharesAgentOrDisplay(config);
  const until = Math.min(keys.until, tickets.until, jump?.until ?? Infinity);
  return {
    ...basis,
    kind: "share",
    ssh: given.ssh,
    stateDir,
    identity: await shortDigest(text),
    identityText: text,
    copies: settings.apart ? await shortDigest(`${text}copies\n`) : undefined,
    resolved: `${config.get("user")}@${config.get("hostname")}:${config.get("port")}`,
    linger: isJobDir(stateDir) ? Infinity : lingerOf(config, settings, forwards),
    maxAge: settings.maxAge,
    until: isFinite(until) ? until : undefined,
    maxSessions: settings.maxSessions,
    listens: forwardsOf(config) ?? [],
    forwards,
    agent: agentOf(config, system),
    offers: {
      identitiesOnly: config.get("identitiesonly") === "yes" && keys.areNamed,
      publicKeys: keys.publicKeys,
    },
    files: [...files, ...tickets.files],
    isWatchable: !basis.mayChange && keys.areUsable && !dependsOnDirectory(config, cwd) &&
      !tickets.areHidden && (jump?.isWatchable ?? true),
    batch: config.get("batchmode") === "yes",
    quiet,
    spaces: given.spaces,
    jump,
  };
}

/** Whether the user wants no messages but ssh's. */
function isQuiet({ call, config }: Basis): boolean {
  return wantsQuiet(call.options) || config.get("batchmode") === "yes" ||
    /^(quiet|fatal)$/i.test(config.get("loglevel") ?? "");
}

/** Returns the user's settings for the host of a call. */
export function settingsOf(
  { destination }: SshCall,
  file: SettingsFile | undefined,
  system: Pick<System, "env">,
): Settings {
  return settingsFor(hostOf(destination), file, system);
}

/** Decides on the jump host's call. Returns `undefined` if there is none. */
async function decideJump(
  basis: Basis,
  given: Given,
  system: DecideSystem,
  outer: readonly string[],
): Promise<Shared | Direct | undefined> {
  const { argv, call, config } = basis;
  const jumpArgv = jumpWords(call, config, given.ssh, system);
  if (!jumpArgv) {
    if (!config.get("proxyjump")) return undefined;
    return { kind: "direct", reason: "only ssh itself can start its jump host" };
  }
  const inner = [...outer, argv.join("\0")];
  // ssh would run itself forever, and each of our calls would wait for the one around it.
  if (inner.includes(jumpArgv.join("\0"))) {
    return { kind: "direct", reason: "the jump hosts form a cycle" };
  }
  const decision = await decide(jumpArgv, given, system, inner);
  if (decision.kind === "share") return decision;
  const reason = `its jump host is not shared: ${decision.reason}`;
  const { texts = [], files } = decision.basis ?? {};
  const both = { ...basis, texts: [...basis.texts, ...texts], files };
  return {
    ...decision,
    reason,
    basis: { ...both, mayChange: basis.mayChange || decision.basis?.mayChange },
  };
}
