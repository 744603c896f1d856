/** Turns the arguments of a call into all that is needed to share it, or the reason why it goes direct. */
import { forwardsOf } from "../lane/forwards.ts";
import { lookSeconds } from "../lane/lane.ts";
import type { LaneRecord } from "../lane/record.ts";
import { isJobDir, openStateDir, StateDirError } from "../lane/state_dir.ts";
import { readText, statOf } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import { LOST } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { words } from "../os/terminal.ts";
import { agentOf } from "../ssh/agent.ts";
import { hostOf, parseSshArgs } from "../ssh/arguments.ts";
import { dependsOnMore, dependsOnSession, parseConfigOption } from "../ssh/config_text.ts";
import { readConfig } from "../ssh/configuration.ts";
import { dependsOnDirectory } from "../ssh/connection_lines.ts";
import { shortDigest } from "../ssh/digest.ts";
import { identityText, sharesAgentOrDisplay } from "../ssh/identity.ts";
import { jumpWords } from "../ssh/jump.ts";
import { keyFiles, readKeys } from "../ssh/key_files.ts";
import { isScript } from "../ssh/real_ssh.ts";
import { fitsRequest } from "../ssh/request_size.ts";
import { ticketsOf } from "../ssh/tickets.ts";
import { type Basis, type Direct, direct, type Shared } from "./decision.ts";
import { directByConfig, directByWords, lingerOf, putMasterAside } from "./rules.ts";
import { readSettingsFile, type Settings, settingsFor } from "./settings.ts";

export type DecideSystem = Pick<System, "cwd" | "env" | "environment" | "now" | "run" | "uid">;

/** The arguments of -F that mean no configuration. */
const NO_CONFIG = ["none", "/dev/null"];

/**
 * Decides on a call by its arguments (after `ssh`), and on its jump host's call. Uses no network and
 * runs nothing but `ssh -G`. `outer` has the words of this call and of those around it, if it is a jump host's.
 */
export async function decide(
  argv: readonly string[],
  given: Given,
  system: DecideSystem,
  outer: readonly string[] = [],
): Promise<Shared | Direct> {
  const basis = await read(argv, given, system);
  if (basis.kind === "direct") return basis;
  const settings = settingsFor(hostOf(basis.call.destination), basis.settings, system);
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
  const call = putMasterAside(args, settingsFor(hostOf(args.destination), settings, system));
  const ruled = directByWords(call);
  if (ruled) return ruled;
  const values = call.options.map(({ value = "" }) => value);
  // We could not pass the same bytes to ssh -G.
  if ([call.destination, ...values].some((word) => word.includes(LOST))) {
    return direct("an option or the destination is not UTF-8");
  }
  // ssh -G would drain a pipe before ssh itself can read it.
  const chosen = call.options.findLast(({ letter }) => letter === "F")?.value;
  if (chosen !== undefined && !NO_CONFIG.includes(chosen) && !statOf(chosen)?.isFile) {
    return direct(`-F ${chosen} is not a regular file`);
  }
  const answer = await readConfig(given.ssh, call, system);
  const config = answer.kind === "config" ? answer.config : answer.begun;
  if (!config) return direct((answer as { reason: string }).reason);
  const texts: { path: string; text: string }[] = [];
  for (const path of config.files.filter((path) => !NO_CONFIG.includes(path))) {
    // ssh -G has consumed a pipe or a terminal (`-F <(...)`), so it cannot be read again.
    const text = statOf(path)?.isFile ? readText(path) : undefined;
    if (text === undefined) return direct(`the configuration file ${path} cannot be read again`);
    texts.push({ path, text });
  }
  const said = [...values, ...texts.map(({ text }) => text)];
  const mayChange = isScript(given.ssh) || config.execs.length > 0 || said.some(dependsOnMore);
  const took = answer.kind === "config" ? answer.took : Infinity;
  const basis = { call, cwd: system.cwd(), config, took, since, texts, settings, mayChange };
  if (answer.kind === "failed") return { ...direct(answer.reason), basis };
  // A master, which runs no session, would get another configuration than the call.
  const ofSession = texts.find(({ text }) => dependsOnSession(text));
  if (ofSession) {
    const what = "depends on what the session does (Match command or sessiontype)";
    return { ...direct(`${ofSession.path} ${what}`), basis };
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
    const tooLong = direct("the command and the variables it sends are too long to share");
    return { ...tooLong, basis: undefined }; // The next command may be shorter.
  }
  const files = keyFiles(config, system);
  const keys = files && await readKeys(files, system);
  if (!files || !keys) {
    const unknown = direct("a key file has a name or type that sshs does not know");
    return { ...unknown, basis: { ...basis, files } };
  }
  const tickets = await ticketsOf(config, system);
  if (tickets.areHidden && config.get("gssapidelegatecredentials") === "yes") {
    return direct("it hands on a Kerberos ticket that sshs cannot watch");
  }
  const quiet = isQuiet(basis);
  let stateDir: string;
  try {
    stateDir = openStateDir(given, system);
  } catch (error) {
    if (!(error instanceof StateDirError)) throw error;
    return { ...direct(error.message), notice: quiet ? undefined : words.notShared(error) };
  }
  const jump = await decideJump(basis, given, system, outer);
  if (jump?.kind === "direct") return jump;
  const text = identityText(config, {
    ...given,
    ...{ destination: call.destination, cwd, environment, uid: system.uid() },
    ...{ keys: keys.digest, tickets: tickets.facts, jump: jump?.identityText },
  });
  const forwards = sharesAgentOrDisplay(config);
  const linger = isJobDir(stateDir) ? Infinity : lingerOf(config, settings, forwards);
  const agent = agentOf(config, system) ?? null;
  const identitiesOnly = config.get("identitiesonly") === "yes" && keys.areNamed;
  const record: LaneRecord = {
    destination: call.destination,
    resolved: `${config.get("user")}@${config.get("hostname")}:${config.get("port")}`,
    linger: unlessEndless(linger) ?? null,
    maxAge: unlessEndless(settings.maxAge),
    until: unlessEndless(Math.min(keys.until, tickets.until, jump?.record.until ?? Infinity)),
    maxSessions: settings.maxSessions,
    // Until a sleeper holds it: a dead one must be replaced first.
    grace: linger === 0 ? 2 : Math.max(10, Math.ceil(3 * lookSeconds(system))),
    forwards,
    agent,
    offers: agent === null ? undefined : { identitiesOnly, publicKeys: keys.publicKeys },
    pids: /pid:\[\d+\]/.exec(given.spaces)?.[0],
  };
  return {
    ...basis,
    kind: "share",
    stateDir,
    identity: await shortDigest(text),
    identityText: text,
    copies: settings.copies === "apart" ? await shortDigest(`${text}copies\n`) : undefined,
    record,
    listens: forwardsOf(config) ?? [],
    files: [...files, ...tickets.files],
    isWatchable: !basis.mayChange && keys.areUsable && !dependsOnDirectory(config, cwd) &&
      !(tickets.areHidden && tickets.facts) && (jump?.isWatchable ?? true),
    lapses: tickets.areHidden,
    quiet,
    jump,
  };
}

function unlessEndless(seconds: number): number | undefined {
  return seconds === Infinity ? undefined : seconds;
}

/** Whether the user wants no messages but ssh's. ssh does not say which LogLevel it has, since it has -v. */
function isQuiet({ call, config }: Basis): boolean {
  return config.get("batchmode") === "yes" || call.options.some(({ letter, value = "" }) => {
    const { key, value: level } = parseConfigOption(letter === "o" ? value : "");
    return letter === "q" || (key === "loglevel" && /^(quiet|fatal)$/i.test(level));
  });
}

/** Decides on the jump host's call. Returns `undefined` if there is none. */
async function decideJump(
  basis: Basis,
  given: Given,
  system: DecideSystem,
  outer: readonly string[],
): Promise<Shared | Direct | undefined> {
  const { call, config } = basis;
  const jumpArgv = jumpWords(call, config, given.ssh, system);
  if (!jumpArgv) {
    return config.get("proxyjump") ? direct("only ssh itself can start its jump host") : undefined;
  }
  const text = jumpArgv.join("\0");
  // ssh would run itself forever, and each of our calls would wait for the one around it.
  if (outer.includes(text)) return direct("the jump hosts form a cycle");
  const decision = await decide(jumpArgv, given, system, [...outer, text]);
  if (decision.kind === "share") return decision;
  const { texts = [], files, mayChange } = decision.basis ?? {};
  return {
    ...decision,
    reason: `its jump host is not shared: ${decision.reason}`,
    basis: {
      ...basis,
      texts: [...basis.texts, ...texts],
      files,
      mayChange: basis.mayChange || mayChange,
    },
  };
}
