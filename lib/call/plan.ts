/**
 * A plan: what the launcher does with the same arguments from now on, without the program. It is sh text that
 * launcher.sh sources: tests of everything that the decision depends on, and then what to do.
 */
import { identityDir, plansDir, stampsDir } from "../lane/layout.ts";
import { isSystemError, makeDir, removePath, writeWhole } from "../os/files.ts";
import { quote, VERSION } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { harmless, type Message, messageText } from "../os/terminal.ts";
import { connectionOptions, sentNames, SMALL_ENVIRONMENT } from "../ssh/configuration.ts";
import { environmentNames, hasProxyCommand } from "../ssh/identity.ts";
import { jumpCommand } from "../ssh/jump.ts";
import { isScript } from "../ssh/real_ssh.ts";
import { dependsOnMore, includedPaths, type Watches, watchesOf } from "../ssh/watches.ts";
import { type Basis, callsOf, dependsOnCwd, type Shared } from "./decide.ts";
import { type Direct, forcesTerminal } from "./rules.ts";

/** What a plan depends on. The launcher tests all of it. */
export interface Conditions {
  /** Variables and their required values; `undefined` means unset. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Variables that a session sends; their total length is limited. */
  readonly sent: readonly string[];
  /** The systemd service that the call runs in. */
  readonly service?: string;
  /** A file in the state directory whose mtime is when the plan lapses. */
  readonly lapses?: string;
  /** Missing if a file has changed so recently that a later change could not be told apart. */
  readonly watches?: Watches;
}

/** What the launcher needs besides the decision. */
export interface PlanContext {
  readonly ssh: string;
  /** The path of the launcher. */
  readonly launcher: string;
  /** Seconds between two checks by the sleeper. */
  readonly look: number;
}

/** Longest key in bytes: a file name may have 255, and a draft's name is longer than its key. */
const MAX_KEY = 200;

/**
 * How far a plan is backdated from when its configuration was read, in ms. Some shells compare whole
 * seconds, so a file that changes in the second after the read must count as newer.
 */
const BACKDATE = 2000;

/** Variables that may change where the same arguments lead, whatever the configuration. */
const ALWAYS = [
  ...["PATH", "HOME", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME"],
  ...["SSHS_SSH", "SSHS_LINGER", "SSHS_MAX_SESSIONS"],
];

/**
 * Returns the file name of the plan for the arguments before the command; `undefined` if they cannot have
 * one: too long, empty, "." or "..", or with a character outside the launcher's alphabet. No two argument
 * lists have the same key, but on a case-insensitive file system two keys may name the same file, so the
 * plan says which key it is for. The launcher builds the same key: sshs_name() in launcher.sh.
 */
export function planKey(words: readonly string[]): string | undefined {
  if (words.length === 0 || !words.every((word) => /^[\][A-Za-z0-9@%+=:,./_~ -]+$/.test(word))) {
    return undefined;
  }
  const key = words.join("!").replaceAll("/", "^");
  // `ssh ..` is easily typed, and writePlan() removes a path that it cannot write.
  return key.length <= MAX_KEY && key !== "." && key !== ".." ? key : undefined;
}

/**
 * Returns what the launcher must do, as sh text whose last line sets sshs_kind. Returns `undefined` if part
 * of it cannot be written as sh: the call then becomes plain ssh.
 */
export function answerText(decision: Shared | Direct, context: PlanContext): string | undefined {
  if (decision.kind === "direct") {
    return lines([
      ["ssh", context.ssh],
      ["notice", noticeText(decision.notice)],
      ["socket", decision.socket ?? ""],
      ["reason", harmless(decision.reason)],
      ["kind", "direct"],
    ]);
  }
  const { config } = decision;
  const grace = graceOf(decision, context.look);
  const master = masterArguments(decision, { launcher: context.launcher, grace });
  const jump = decision.jump?.argv.map(quote);
  const words = master?.map(quote);
  if (!words || words.includes(undefined) || jump?.includes(undefined)) return undefined;
  const timeout = config.get("connecttimeout") ?? "none";
  const runsExec = callsOf(decision).some(({ config }) => config.execs.length > 0);
  const settings = lines([
    ["ssh", decision.ssh],
    ["notice", noticeText(decision.notice)],
    ["dir", decision.stateDir],
    ["identity", decision.identity],
    ["home", identityDir(decision)],
    ["spaces", decision.spaces],
    ["host", harmless(decision.call.destination)],
    ["record", JSON.stringify(recordOf(decision, grace))],
    ["max", `${decision.maxSessions}`],
    ["lingers", decision.linger === 0 ? "" : "yes"],
    ["batch", decision.batch ? "yes" : ""],
    ["quiet", decision.quiet ? "yes" : ""],
    ["forced", forcesTerminal(decision.call, config) ? "yes" : ""],
    ["timeout", /^\d+$/.test(timeout) ? timeout : ""],
    ["proxy", proxyOf(decision)],
    ["listens", decision.listens.map((forward) => JSON.stringify(forward)).join("\n")],
    ["warnings", config.warnings.join("\n")],
    // If the login adds a key to the agent, the sleeper records the agent's keys after that.
    [
      "agent",
      /^(no|false)$/.test(config.get("addkeystoagent") ?? "no") ? decision.agent ?? "" : "",
    ],
    // "/" keeps no mounted file system busy during the linger. But a `Match exec` runs again, for the master
    // and for its jump host, and must get the same answer.
    ["cwd", dependsOnCwd(decision) || runsExec ? "." : "/"],
  ]);
  if (settings === undefined) return undefined;
  return [
    settings.trimEnd(),
    `sshs_master() { exec $sshs_defaults ${quote(decision.ssh)} -S "$@" ${words.join(" ")}; }`,
    ...(jump
      ? [`sshs_jump() { SSHS_TASK="\${sshs_task:-open}" exec "$sshs_bin/ssh" ${jump.join(" ")}; }`]
      : []),
    "sshs_kind=share",
    "",
  ].join("\n");
}

function noticeText(notice: Message | undefined): string {
  return notice === undefined ? "" : messageText(notice);
}

/** Returns what is known about the lane at its start: LaneRecord in lane.ts. */
function recordOf(shared: Shared, grace: number) {
  return {
    destination: shared.call.destination,
    resolved: shared.resolved,
    linger: shared.linger === Infinity ? null : shared.linger,
    maxSessions: shared.maxSessions,
    grace,
    forwards: shared.forwards,
    agent: shared.agent ?? null,
    offers: shared.agent === undefined ? undefined : shared.offers,
    pids: shared.spaces.split("\n")[1],
  };
}

/** Returns sh assignments, one per line; `undefined` if a value cannot be quoted. */
function lines(settings: readonly (readonly [string, string])[]): string | undefined {
  const quoted = settings.map(([name, value]) => [name, quote(value)]);
  if (quoted.some(([, value]) => value === undefined)) return undefined;
  return quoted.map(([name, value]) => `sshs_${name}=${value}\n`).join("");
}

/**
 * Returns what a decision depends on; `undefined` if that is more than the launcher can test, so that each
 * call must be decided anew.
 */
export async function conditionsOf(
  decision: Shared | Direct,
  stateDir: string,
  system: Pick<System, "env" | "run" | "service">,
): Promise<Conditions | undefined> {
  const isShared = decision.kind === "share";
  const calls = isShared ? callsOf(decision) : decision.basis ? [decision.basis] : [];
  // A wrapper script may depend on anything.
  if (calls.length === 0 || (isShared && (isScript(decision.ssh) || dependsOnCwd(decision)))) {
    return undefined;
  }
  const sent = isShared ? sentNames(decision.config) : [];
  const paths = sent && pathsOf(calls, system);
  // Going direct is never wrong, but the result of a Match exec, or the time it takes, may change.
  if (!paths || (isShared && paths.dependsOnMore)) return undefined;
  const lapses = paths.dependsOnMore ? stampHour(stateDir, calls[0].since) : undefined;
  const options = { stamps: stampsDir(stateDir), since: calls[0].since };
  const watches = await watchesOf(paths.files, paths.directories, options, system);
  const names = [...ALWAYS, ...calls.flatMap(({ config }) => environmentNames(config))];
  const environment = Object.fromEntries(names.map((name) => [name, system.env(name)]));
  return { environment, sent, service: system.service(), lapses, watches };
}

const HOUR = 3600_000;

/** Makes the file whose mtime is an hour or two after `since`, and returns its path in the state directory. */
function stampHour(stateDir: string, since: number): string {
  const hour = Math.floor(since / HOUR) + 2;
  const path = `${stampsDir(stateDir)}/until.${hour}`;
  makeDir(stampsDir(stateDir));
  writeWhole(path, "", { mtime: hour * HOUR });
  return path.slice(stateDir.length + 1);
}

/**
 * Returns the files that the decision was read from, whether or not they exist, the directories in which one
 * could appear, and whether the decision depends on more than these. Returns `undefined` if we cannot name
 * the files.
 */
function pathsOf(
  calls: readonly Basis[],
  system: Pick<System, "env">,
): { files: string[]; directories: string[]; dependsOnMore: boolean } | undefined {
  const files: string[] = [];
  const directories: string[] = [];
  const all = calls.flatMap(({ call, texts }) => [
    ...call.options.map(({ value }) => value ?? ""),
    ...texts.map(({ text }) => text),
  ]);
  for (const { call, config, keyFiles = [], settings, texts } of calls) {
    // ssh uses the user's entry in passwd(5), whatever HOME is (they differ in some CI containers).
    const home = config.tokens.get("d") ?? system.env("HOME");
    if (!home) return undefined;
    files.push(...keyFiles, ...(settings ? [settings.path] : []));
    if (!call.options.some(({ letter }) => letter === "F")) {
      files.push(`${home}/.ssh/config`, "/etc/ssh/ssh_config");
    }
    for (const { path, text } of texts) {
      if (!path.startsWith("/")) return undefined;
      const included = includedPaths(path, text, home);
      files.push(path, ...included.files);
      directories.push(...included.directories);
    }
  }
  return { files, directories, dependsOnMore: all.some(dependsOnMore) };
}

/**
 * Builds the plan for a key: tests joined by `&&`, and the answer. The launcher sources it, so everything
 * in it that is not ours is quoted. Returns `undefined` if something cannot be quoted, a path is not
 * absolute, or a name is not a variable's. Without watches the plan holds only for calls that waited for
 * this answer, which `asker` (a pid) requested.
 */
export function planText(
  key: string,
  conditions: Conditions,
  answer: string,
  asker?: number,
): string | undefined {
  const environment = Object.entries(conditions.environment);
  const set = environment.flatMap(([name, value]) => value === undefined ? [] : [{ name, value }]);
  const unset = environment.filter(([, value]) => value === undefined);
  const place = quote([VERSION, key, conditions.service ?? ""].join("/"));
  const watches = conditions.watches
    ? watchTests(conditions.watches)
    : asker && [`[ "$sshs_asked" = ${asker} ]`];
  const names = [...conditions.sent, ...environment.map(([name]) => name)];
  if (
    place === undefined || !watches ||
    conditions.environment.PATH === undefined ||
    !names.every((name) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) ||
    set.some(({ value }) => quote(value) === undefined)
  ) return undefined;
  const lapses = conditions.lapses && `"$sshs_dir/${conditions.lapses}"`;
  const lengths = conditions.sent.map((name) => `\${#${name}}`);
  const tests = [
    `[ "$sshs_version/$sshs_key/$sshs_service" = ${place} ]`,
    // ssh treats an empty variable as unset, if it reads any of these.
    `[ -z "${unset.map(([name]) => `\${${name}-}`).join("")}" ]`,
    ...set.map(({ name, value }) => `[ "\${${name}-}" = ${quote(value)} ]`),
    ...(lengths.length > 0 ? [`[ $((${lengths.join(" + ")})) -le ${SMALL_ENVIRONMENT} ]`] : []),
    ...(lapses
      ? [`[ -e ${lapses} ]`, 'true >"$sshs_dir/used"', `[ ${lapses} -nt "$sshs_dir/used" ]`]
      : []),
    ...watches,
  ];
  // In braces, so that nothing runs unless the whole plan is there.
  return `{\n${tests.join(" &&\n")} ||\nreturn\n${answer}}\n`;
}

/**
 * Writes the plan to `<stateDir>/plans`, all or nothing, readable only by its owner. `since` is when
 * the configuration was read (ms since the epoch, taken before `ssh -G` starts): any later change makes
 * the plan void. Does without a plan that the system refuses to write.
 */
export function writePlan(stateDir: string, key: string, text: string, since: number): void {
  const path = `${plansDir(stateDir)}/${key}`;
  try {
    makeDir(plansDir(stateDir));
    writeWhole(path, text, { mtime: since - BACKDATE });
  } catch (error) {
    if (!isSystemError(error)) throw error;
    removePath(path);
  }
}

/** Returns how long a master waits for a sleeper to hold it, s: a dead sleeper must be replaced first. */
function graceOf({ linger }: Shared, look: number): number {
  return linger === 0 ? 2 : Math.max(10, Math.ceil(3 * look));
}

/** Returns what connects a call through a proxy: the user's ProxyCommand, or a jump host. */
export function proxyOf({ config, jump }: Shared): "" | "command" | "jump" {
  if (jump) return "jump";
  return hasProxyCommand(config) ? "command" : "";
}

/**
 * Returns the arguments after `ssh -S <socket>` that start a master for the call: first what makes it a
 * master, since the first value counts (ssh_config(5)), then the connection's own options. The master logs
 * in on the user's terminal, then goes to the background (-f) and holds nothing of the caller: so never -v,
 * -E or -y. Returns `undefined` if the jump host cannot be named in a ProxyCommand.
 *
 * @param options.launcher the path of the launcher, which is the jump host's ssh
 */
function masterArguments(
  shared: Shared,
  options: { launcher: string; grace: number },
): string[] | undefined {
  const proxy = shared.jump &&
    jumpCommand(["env", "SSHS_TASK=jump", options.launcher, ...shared.jump.argv]);
  if (shared.jump && !proxy) return undefined;
  return [
    ...["-M", "-N", "-f"],
    ...["-o", `ControlPersist=${options.grace}`],
    ...["-o", "ClearAllForwardings=yes"],
    ...["-o", "PermitLocalCommand=no"],
    ...["-o", "RemoteCommand=none"],
    ...["-o", "RequestTTY=no"],
    // As in ssh.c: "Never use FD passing for ProxyJump". And ssh refuses -J together with ProxyCommand.
    ...(proxy ? ["-o", `ProxyCommand=${proxy}`, "-o", "ProxyUseFdpass=no"] : []),
    ...connectionOptions(shared.call, proxy ? "vJ" : "v"),
    "--",
    shared.call.destination,
  ];
}

/**
 * Returns the watches as sh tests, all of which must be true for the plan to hold; `$sshs_plan` is the plan's
 * file. Returns `undefined` if a path is not absolute or cannot be quoted. Each test checks with `-e` the
 * files that it compares: if one is missing, -nt and -ot are true in one shell and false in another.
 */
export function watchTests(watches: Watches): string[] | undefined {
  let isWritable = true;
  const q = (path: string) => {
    const word = path.startsWith("/") ? quote(path) : undefined;
    isWritable &&= word !== undefined;
    return word;
  };
  const tests = [
    ...watches.same.map(({ path, stamp }) => {
      const [p, s] = [q(path), q(stamp)];
      return `[ -e ${p} ] && [ -e ${s} ] && [ ! ${p} -nt ${s} ] && [ ! ${p} -ot ${s} ]`;
    }),
    ...watches.absent.map((path) => `[ ! -e ${q(path)} ]`),
    ...watches.newer.map((path) => `[ -e ${q(path)} ] && [ ! ${q(path)} -nt "$sshs_plan" ]`),
    ...watches.pins.map(({ link, target }) => `[ ${q(link)} -ef ${q(target)} ]`),
  ];
  return isWritable ? tests : undefined;
}
