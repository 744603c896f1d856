/** Turns the arguments of a call into all that is needed to share it, or the reason why it goes direct. */
import {
  type Direct,
  directByConfig,
  directByWords,
  lingerOf,
  putMasterAside,
  wantsQuiet,
} from "./rules.ts";
import { readSettingsFile, type Settings, type SettingsFile, settingsFor } from "./settings.ts";
import { isJobDir, openStateDir, StateDirError, stateDirPath } from "../lane/state_dir.ts";
import { type Message, words } from "../os/terminal.ts";
import { dependsOnSession } from "../ssh/watches.ts";
import { readText, statOf } from "../os/files.ts";
import { LOST } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { parseDestination, parseSshArgs, type SshCall } from "../ssh/arguments.ts";
import { fitsRequest, readConfig, type SshConfig } from "../ssh/configuration.ts";
import {
  dependsOnDirectory,
  identityText,
  sharesAgentOrDisplay,
  shortDigest,
} from "../ssh/identity.ts";
import type { OfferRule } from "../ssh/agent.ts";
import { agentOf, keyFiles, readKeys } from "../ssh/keys.ts";
import { forwardsOf } from "../lane/forwards.ts";
import type { Forward } from "../lane/mux_protocol.ts";
import { jumpCall, proxyJump } from "../ssh/jump.ts";

/** What a decision is based on: the arguments, and what was read for them. */
export interface Basis {
  readonly argv: readonly string[];
  readonly call: SshCall;
  readonly origin: Origin;
  readonly config: SshConfig;
  /** How long ssh took to read its configuration, ms. */
  readonly took: number;
  /** When we began to read it, ms since the epoch. */
  readonly since: number;
  /** The configuration files that ssh read. */
  readonly texts: readonly ConfigText[];
  /** Our own settings file, with its path whether or not it exists. */
  readonly settings: SettingsFile | undefined;
  /** The key and certificate files that ssh looks for, whether or not they exist. */
  readonly keyFiles?: readonly string[];
}

/** Where a call comes from. */
interface Origin {
  readonly cwd: string;
  /** The network and pid namespaces; `undefined` if the system has none. */
  readonly network?: string;
  readonly pids?: string;
  readonly service?: string;
}

/** A shared call: everything known about it, down to the master's command line. */
export interface Shared extends Basis {
  readonly kind: "share";
  /** The path of the real ssh. */
  readonly ssh: string;
  readonly stateDir: string;
  /** The name of the identity, and what it consists of. */
  readonly identity: string;
  readonly identityText: string;
  /** The destination as ssh resolved it: `user@host:port`. */
  readonly resolved: string;
  /** Seconds that a lane stays after its last session; Infinity: forever. */
  readonly linger: number;
  /** Maximum sessions on a lane. */
  readonly maxSessions: number;
  /** What the session asks its master to forward. */
  readonly listens: readonly Forward[];
  /** Whether the master may expose the caller's agent or display to the server. */
  readonly forwards: boolean;
  /** The agent that the master may use, and which of its keys. */
  readonly agent?: string;
  readonly offers: OfferRule;
  readonly batch: boolean;
  readonly quiet: boolean;
  /** The namespaces of the call, one per line; empty if the system has none. */
  readonly spaces: string;
  /** The jump host's call. */
  readonly jump?: Shared;
  /** A message for the user: the settings file is wrong. */
  readonly notice?: Message;
}

interface ConfigText {
  readonly path: string;
  readonly text: string;
}

export type DecideSystem = Pick<
  System,
  | "cwd"
  | "env"
  | "environment"
  | "networkNamespace"
  | "now"
  | "pidNamespace"
  | "run"
  | "service"
  | "uid"
>;

/** The arguments of -F that mean no configuration. */
const NO_CONFIG = ["none", "/dev/null"];

/**
 * Decides on a call by its arguments (after `ssh`), and on its jump host's call. Uses no network and
 * runs nothing but `ssh -G`. `outer` are the calls that this one is the jump host of.
 */
export async function decide(
  argv: readonly string[],
  ssh: string,
  system: DecideSystem,
  outer: readonly string[] = [],
): Promise<Shared | Direct> {
  if (system.env("SSHS") === "off") return { kind: "direct", reason: "SSHS=off" };
  const basis = await read(argv, ssh, system);
  if (basis.kind === "direct") return basis;
  const decision = await decideOn(basis, ssh, system, outer);
  return decision.kind === "direct" ? { basis, ...decision } : decision;
}

/** Reads what a decision is based on. */
async function read(
  argv: readonly string[],
  ssh: string,
  system: DecideSystem,
): Promise<(Basis & { kind: "read" }) | Direct> {
  const args = parseSshArgs(argv);
  const direct = directByWords(args);
  if (direct) return direct;
  if (args.kind !== "call") throw new Error("a call without a destination is direct");
  const since = system.now();
  const settings = readSettingsFile(system);
  const call = putMasterAside(args, settingsOf(args, settings, system));
  // We could not pass the same bytes to ssh -G.
  if (
    [call.destination, ...call.options.map(({ value }) => value)].some((v) => v?.includes(LOST))
  ) {
    return { kind: "direct", reason: "an option or the destination is not UTF-8" };
  }
  // ssh -G would drain a pipe before ssh itself can read it.
  const chosen = call.options.findLast(({ letter }) => letter === "F")?.value;
  if (
    chosen !== undefined && !NO_CONFIG.includes(chosen) &&
    !statOf(chosen)?.isFile
  ) {
    return { kind: "direct", reason: `-F ${chosen} is not a regular file` };
  }
  const reading = readConfig(ssh, call, system);
  // While ssh reads: to load libc takes 3 ms.
  const origin = {
    cwd: system.cwd(),
    network: system.networkNamespace(),
    pids: system.pidNamespace(),
    service: system.service(),
  };
  const answer = await reading;
  if (answer.kind === "failed") return { kind: "direct", reason: answer.reason };
  const { config, took } = answer;
  const texts = readTexts(config.files.filter((file) => !NO_CONFIG.includes(file)));
  if (typeof texts === "string") return { kind: "direct", reason: texts };
  return { kind: "read", argv, call, origin, config, took, since, texts, settings };
}

async function decideOn(
  basis: Basis,
  ssh: string,
  system: DecideSystem,
  outer: readonly string[],
): Promise<Shared | Direct> {
  const { call, config, origin } = basis;
  const settings = settingsOf(call, basis.settings, system);
  const ruled = directByConfig(call, config, settings, basis.took);
  if (ruled) return ruled;
  if (!fitsRequest(call, config, system.environment())) {
    const reason = "the command and the variables it sends are too long to share";
    return { kind: "direct", reason, basis: undefined }; // The next command may be shorter.
  }
  const files = keyFiles(config, system);
  const keys = files && await readKeys(files);
  if (!files || !keys) {
    const reason = "a key file has a name or type that sshs does not know";
    return { kind: "direct", reason, basis: { ...basis, keyFiles: files } };
  }
  const quiet = wantsQuiet(call.options) || config.get("batchmode") === "yes" ||
    /^(quiet|fatal)$/i.test(config.get("loglevel") ?? "");
  let stateDir: string;
  try {
    stateDir = openStateDir({ stateDir: stateDirPath(system) }, system);
  } catch (error) {
    if (!(error instanceof StateDirError)) throw error;
    const notice = quiet ? undefined : words.notShared(error);
    return { kind: "direct", reason: error.message, notice };
  }
  const jump = await decideJump(basis, ssh, system, outer);
  if (jump?.kind === "direct") return jump;
  const text = identityText(config, {
    ssh,
    jump: jump?.identityText,
    destination: call.destination,
    ...origin,
    keys: keys.digest,
    env: (name) => system.env(name),
  });
  const forwards = sharesAgentOrDisplay(config);
  return {
    ...basis,
    kind: "share",
    ssh,
    stateDir,
    identity: await shortDigest(text),
    identityText: text,
    resolved: `${config.get("user")}@${config.get("hostname")}:${config.get("port")}`,
    linger: isJobDir(stateDir) ? Infinity : lingerOf(config, settings, forwards),
    maxSessions: settings.maxSessions,
    listens: forwardsOf(config) ?? [],
    forwards,
    agent: agentOf(config, system),
    offers: {
      identitiesOnly: config.get("identitiesonly") === "yes",
      publicKeys: keys.publicKeys,
    },
    keyFiles: files,
    batch: config.get("batchmode") === "yes",
    quiet,
    spaces: origin.network === undefined ? "" : `${origin.network}\n${origin.pids}`,
    jump,
    notice: quiet || !basis.settings?.problem ? undefined : words.settings(basis.settings.problem),
  };
}

/** Returns the user's settings for the host of a call. */
export function settingsOf(
  { destination }: SshCall,
  file: SettingsFile | undefined,
  system: Pick<System, "env">,
): Settings {
  return settingsFor(parseDestination(destination).host, file, system);
}

/** Decides on the jump host's call. Returns `undefined` if there is none. */
async function decideJump(
  basis: Basis,
  ssh: string,
  system: DecideSystem,
  outer: readonly string[],
): Promise<Shared | Direct | undefined> {
  const { argv, call, config } = basis;
  const words = jumpCall(call, config) ??
    proxyJump(config.get("proxycommand") ?? "none", ssh, system.env("HOME"));
  if (!words) {
    if (!config.get("proxyjump")) return undefined;
    return { kind: "direct", reason: "only ssh itself can start its jump host" };
  }
  const inner = [...outer, argv.join("\0")];
  // ssh would run itself forever, and each of our calls would wait for the one around it.
  if (inner.includes(words.join("\0"))) {
    return { kind: "direct", reason: "the jump hosts form a loop" };
  }
  const decision = await decide(words, ssh, system, inner);
  if (decision.kind === "share") return decision;
  const reason = `its jump host is not shared: ${decision.reason}`;
  const { texts = [], keyFiles } = decision.basis ?? {};
  return { ...decision, reason, basis: { ...basis, texts: [...basis.texts, ...texts], keyFiles } };
}

/** Whether the configuration of the call or of a jump host depends on the working directory. */
export function dependsOnCwd(shared: Shared): boolean {
  return callsOf(shared).some(({ config, origin }) => dependsOnDirectory(config, origin.cwd));
}

/** Returns the call and those of its jump hosts. */
export function callsOf(shared: Shared): Shared[] {
  return [shared, ...(shared.jump ? callsOf(shared.jump) : [])];
}

/** Returns the texts of the configuration files, or why they may not apply equally to a master. */
function readTexts(files: readonly string[]): ConfigText[] | string {
  const texts: ConfigText[] = [];
  for (const path of files) {
    // ssh -G has consumed a pipe or a terminal (`-F <(...)`), so it cannot be read again.
    const text = statOf(path)?.isFile ? readText(path) : undefined;
    if (text === undefined) return `the configuration file ${path} cannot be read again`;
    if (dependsOnSession(text)) {
      return `${path} depends on what the session does (Match command or sessiontype)`;
    }
    texts.push({ path, text });
  }
  return texts;
}
