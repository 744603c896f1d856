/** From the words of a call to all that is needed to share it, or to why it goes direct. */
import {
  type Call,
  lingerOf,
  type Plan,
  planArgs,
  planConfig,
  takesPlace,
  wantsQuiet,
} from "./decision.ts";
import { identityOf, identityText, sharesAgentOrDisplay } from "../ssh/identity.ts";
import { dependsOnSession } from "../ssh/config_files.ts";
import { LOST } from "../os/exec.ts";
import { readText, statOf } from "../os/files.ts";
import { jumpCall, jumpCommand } from "../ssh/jump.ts";
import { newLane } from "../lane/lane.ts";
import { networkNamespace } from "../os/libc.ts";
import { leaseName } from "../lane/lease.ts";
import { readSettingsFile, settingsFor } from "./settings.ts";
import { isClosed, openStateDir, StateDirError } from "../lane/state_dir.ts";
import { parseDestination, parseSshArgs } from "../ssh/arguments.ts";
import { connectionOptions, readConfig, type SshConfig } from "../ssh/configuration.ts";
import type { System } from "../os/system.ts";
import { words } from "../os/terminal.ts";

interface ConfigText {
  readonly path: string;
  readonly text: string;
}

/** A call that shares. */
export interface Shared {
  readonly kind: "share";
  readonly call: Call;
  readonly config: SshConfig;
  readonly ssh: string;
  readonly stateDir: string;
  /** The directory of the identity, and its text. */
  readonly dir: string;
  readonly identity: string;
  readonly options: readonly string[];
  /** As the user wrote it, and as ssh resolved it: `user@host:port`. */
  readonly destination: string;
  readonly resolved: string;
  readonly lease: string;
  /** Seconds. */
  readonly linger: number;
  readonly maxSessions: number;
  readonly forwards: boolean;
  readonly batch: boolean;
  readonly quiet: boolean;
  /** When ssh's configuration was read, ms since the epoch. */
  readonly since: number;
  /** The configuration files that ssh read. */
  readonly texts: readonly ConfigText[];
  /** The call of the jump host, where it shares too. */
  readonly jump?: Jump;
  /** Our own settings file, whether it is there or not. */
  readonly settingsPath?: string;
  /** What the user should hear: a settings file that is wrong. */
  readonly notice?: string;
}

/** The call of a jump host: its words, and what was decided on them. */
export interface Jump {
  readonly argv: readonly string[];
  readonly shared: Shared;
}

/** A call that becomes plain ssh; `notice` where that is no choice but trouble. */
export type Direct = Extract<Plan, { kind: "direct" }> & { readonly notice?: string };

export type DecideSystem = Pick<System, "cwd" | "env" | "now" | "pid" | "run" | "uid">;

/** What stands for no configuration after -F. */
const NO_CONFIG = ["none", "/dev/null"];

const CIRCLE = "the jump hosts lead in a circle";

/**
 * Decides on the words after `ssh`, and on those for its jump host. Touches no network and starts
 * nothing but `ssh -G`. `outer` are the calls that this one is the jump host of.
 */
export async function decide(
  argv: readonly string[],
  ssh: string,
  system: DecideSystem,
  outer: readonly string[] = [],
): Promise<Shared | Direct> {
  if (system.env("SSHS") === "off") return { kind: "direct", reason: "SSHS=off" };
  const args = planArgs(parseSshArgs(argv));
  if (args.kind === "direct") return args;
  const { call } = args;
  // ssh -G could not be asked the same.
  if (
    [call.destination, ...call.options.map(({ value }) => value)].some((v) => v?.includes(LOST))
  ) {
    return { kind: "direct", reason: "an option or the destination is not UTF-8" };
  }
  // ssh -G would read a pipe empty before ssh comes to it.
  const chosen = call.options.findLast(({ letter }) => letter === "F")?.value;
  if (
    chosen !== undefined && !NO_CONFIG.includes(chosen) &&
    (isClosed(chosen) || !statOf(chosen)?.isFile)
  ) {
    return { kind: "direct", reason: `-F ${chosen} is no regular file` };
  }
  const since = system.now();
  const asked = readConfig(ssh, call, system);
  // While ssh works: what needs no answer of its.
  const network = networkNamespace();
  const file = readSettingsFile(system);
  const answer = await asked;
  if (answer.kind === "failed") return { kind: "direct", reason: answer.reason };
  const { config } = answer;
  const texts = readTexts(config.files.filter((file) => !NO_CONFIG.includes(file)));
  if (typeof texts === "string") return { kind: "direct", reason: texts };
  const settings = settingsFor(parseDestination(call.destination).host, file, system);
  const plan = planConfig(call, config, settings);
  if (plan.kind === "direct") return plan;
  const quiet = wantsQuiet(call.options) || config.get("batchmode") === "yes" ||
    /^(quiet|fatal)$/i.test(config.get("loglevel") ?? "");
  let stateDir: string;
  try {
    stateDir = openStateDir(system);
  } catch (error) {
    if (!(error instanceof StateDirError)) throw error;
    const notice = quiet ? undefined : words.notShared(error.message);
    return { kind: "direct", reason: error.message, notice };
  }
  const jump = await decideJump(argv, call, config, ssh, system, outer);
  if (jump === CIRCLE) return { kind: "direct", reason: CIRCLE };
  const identity = identityText(config, {
    ssh,
    jump: jump?.shared.identity,
    destination: call.destination,
    cwd: system.cwd(),
    network,
    env: (name) => system.env(name),
  });
  const forwards = sharesAgentOrDisplay(config);
  return {
    kind: "share",
    call,
    config,
    ssh,
    stateDir,
    dir: `${stateDir}/${await identityOf(identity)}`,
    identity,
    options: connectionOptions(call),
    destination: call.destination,
    resolved: `${config.get("user")}@${config.get("hostname")}:${config.get("port")}`,
    lease: leaseName(system.pid, takesPlace(call)),
    linger: lingerOf(config, settings, forwards),
    maxSessions: settings.maxSessions,
    forwards,
    batch: config.get("batchmode") === "yes",
    quiet,
    since,
    texts,
    jump: jump && isReachable(jump) ? jump : undefined,
    settingsPath: file?.path,
    notice: quiet || !file?.problem ? undefined : words.settings(file.problem),
  };
}

/** Decides on the jump host's call; `undefined` where there is none, or where ssh jumps by itself. */
async function decideJump(
  argv: readonly string[],
  call: Call,
  config: SshConfig,
  ssh: string,
  system: DecideSystem,
  outer: readonly string[],
): Promise<Jump | typeof CIRCLE | undefined> {
  const words = jumpCall(call, config);
  if (!words) return undefined;
  const inner = [...outer, argv.join("\0")];
  // ssh would run itself for ever, and each of our calls would wait for the one around it.
  if (inner.includes(words.join("\0"))) return CIRCLE;
  const shared = await decide(words, ssh, system, inner);
  if (shared.kind === "share") return { argv: words, shared };
  return shared.reason === CIRCLE ? CIRCLE : undefined;
}

/** Whether a lane of the jump host's can be named in a ProxyCommand; all are named alike. */
function isReachable({ argv, shared }: Jump): boolean {
  return jumpCommand(shared.ssh, newLane(shared.dir).socket, argv) !== undefined;
}

/** The texts of the configuration files, or why their answer would not be a master's too. */
function readTexts(files: readonly string[]): ConfigText[] | string {
  const texts: ConfigText[] = [];
  for (const path of files) {
    // A pipe or a terminal (`-F <(...)`) has been read by ssh -G, and will not say it again.
    const text = statOf(path)?.isFile ? readText(path) : undefined;
    if (text === undefined) return `the configuration file ${path} cannot be read again`;
    if (dependsOnSession(text)) {
      return `${path} asks what the session does (Match command or sessiontype)`;
    }
    texts.push({ path, text });
  }
  return texts;
}
