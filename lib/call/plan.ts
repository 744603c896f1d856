/**
 * A plan: what the launcher does with the same words from now on, without the program. It is sh text that
 * launcher.sh reads: tests of all that the decision rests on, and then what it is to do.
 */
import { identityDir, plansDir, stampsDir } from "../lane/layout.ts";
import { isSystemError, makeDir, removePath, writeWhole } from "../os/files.ts";
import { quote, VERSION } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { harmless, type Message, messageText } from "../os/terminal.ts";
import { connectionOptions, sentNames, SMALL_ENVIRONMENT } from "../ssh/configuration.ts";
import { environmentNames } from "../ssh/identity.ts";
import { jumpCommand } from "../ssh/jump.ts";
import { isScript } from "../ssh/real_ssh.ts";
import { dependsOnMore, includedPaths, type Watches, watchesOf } from "../ssh/watches.ts";
import { type Basis, dependsOnCwd, type Shared } from "./decide.ts";
import { type Direct, forcesTerminal } from "./rules.ts";

/** What a plan rests on: the launcher tests all of it. */
export interface Conditions {
  /** Variables that must be exactly this, `undefined` standing for unset. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Variables that a session sends, and that together must stay short. */
  readonly sent: readonly string[];
  /** The system service that the call is a part of. */
  readonly service?: string;
  /** None where a file has only just changed, so that a later change could not be told from it. */
  readonly watches?: Watches;
}

/** What the launcher must be told besides the decision. */
export interface PlanContext {
  readonly ssh: string;
  /** The path of the launcher. */
  readonly launcher: string;
  /** Seconds between two looks of the sleeper. */
  readonly look: number;
}

/** Longest key in bytes: a file's name has 255, and a draft's is longer. */
const MAX_KEY = 200;

/**
 * How much older than the look at its configuration a plan pretends to be, in ms. Some shells
 * compare whole seconds, so a file changed in the second after the look must count as newer.
 */
const BACKDATE = 2000;

/** Variables by which the same words may lead elsewhere, whatever the configuration. */
const ALWAYS = [
  ...["PATH", "HOME", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME"],
  ...["SSHS_SSH", "SSHS_LINGER", "SSHS_MAX_SESSIONS"],
];

/**
 * The file name of the plan for the words before the command, or undefined when they cannot have one: too
 * long, empty, "." or "..", or with a character outside of the launcher's alphabet. No two lists of words have
 * the same key, though a file system without upper case may take two for the same name; the plan
 * says for which it is. The launcher makes it likewise: sshs_name() in launcher.sh.
 */
export function planKey(words: readonly string[]): string | undefined {
  if (words.length === 0 || !words.every((word) => /^[\][A-Za-z0-9@%+=:,./_~ -]+$/.test(word))) {
    return undefined;
  }
  const key = words.join("!").replaceAll("/", "^");
  // `ssh ..` is soon typed, and a plan that cannot be written is removed.
  return key.length <= MAX_KEY && key !== "." && key !== ".." ? key : undefined;
}

/**
 * What the launcher is to do, as sh text whose last line sets sshs_kind. `undefined` where something in
 * it cannot be written as sh: the call is plain ssh then.
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
    // Where the login adds a key to it, the sleeper notes its keys after that.
    [
      "agent",
      /^(no|false)$/.test(config.get("addkeystoagent") ?? "no") ? decision.agent ?? "" : "",
    ],
    // A mounted file system is not kept busy for the linger.
    ["cwd", dependsOnCwd(decision) ? "." : "/"],
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

/** What is known of a lane from its start on: LaneRecord in lane.ts. */
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

/** Assignments, one a line; `undefined` where a value cannot be quoted. */
function lines(settings: readonly (readonly [string, string])[]): string | undefined {
  const quoted = settings.map(([name, value]) => [name, quote(value)]);
  if (quoted.some(([, value]) => value === undefined)) return undefined;
  return quoted.map(([name, value]) => `sshs_${name}=${value}\n`).join("");
}

/**
 * What a decision rests on; `undefined` where that is more than the launcher could test, so that each call
 * has to be decided anew.
 */
export async function conditionsOf(
  decision: Shared | Direct,
  stateDir: string,
  system: Pick<System, "env" | "run" | "service">,
): Promise<Conditions | undefined> {
  const isShared = decision.kind === "share";
  const calls = isShared ? callsOf(decision) : decision.basis ? [decision.basis] : [];
  // A wrapper that is a script may look at what it likes.
  if (calls.length === 0 || (isShared && (isScript(decision.ssh) || dependsOnCwd(decision)))) {
    return undefined;
  }
  const sent = isShared ? sentNames(decision.config) : [];
  // To be direct is never wrong, though what a Match exec says may change.
  const paths = sent && pathsOf(calls, system, isShared ? dependsOnMore : () => false);
  if (!paths) return undefined;
  const options = { stamps: stampsDir(stateDir), since: calls[0].since };
  const watches = await watchesOf(paths.files, paths.directories, options, system);
  const names = [...ALWAYS, ...calls.flatMap(({ config }) => environmentNames(config))];
  const environment = Object.fromEntries(names.map((name) => [name, system.env(name)]));
  return { environment, sent, service: system.service(), watches };
}

/** The call, and those of its jump hosts. */
function callsOf(shared: Shared): Shared[] {
  return [shared, ...(shared.jump ? callsOf(shared.jump) : [])];
}

/**
 * The files that the decision was read from, there or not, and the directories in which one could appear.
 * `undefined` where they are not all it depends on.
 */
function pathsOf(
  calls: readonly (Basis & { readonly keyFiles?: readonly string[] })[],
  system: Pick<System, "env">,
  dependsOnMore: (text: string) => boolean,
): { files: string[]; directories: string[] } | undefined {
  const files: string[] = [];
  const directories: string[] = [];
  for (const { call, config, keyFiles = [], settings, texts } of calls) {
    // ssh goes by the user's entry in passwd(5), whatever HOME is (as in the containers of some CI).
    const home = config.tokens.get("d") ?? system.env("HOME");
    if (!home) return undefined;
    if (call.options.some(({ value }) => dependsOnMore(value ?? ""))) return undefined;
    files.push(...keyFiles, ...(settings ? [settings.path] : []));
    if (!call.options.some(({ letter }) => letter === "F")) {
      files.push(`${home}/.ssh/config`, "/etc/ssh/ssh_config");
    }
    for (const { path, text } of texts) {
      if (!path.startsWith("/") || dependsOnMore(text)) return undefined;
      const included = includedPaths(path, text, home);
      files.push(path, ...included.files);
      directories.push(...included.directories);
    }
  }
  return { files, directories };
}

/**
 * The plan for a key: tests joined by `&&`, and the answer. It is sourced, so all that is not ours in it
 * is quoted; what cannot be quoted, or is no absolute path, or no variable's name, makes it undefined.
 * Without watches it holds only for the calls that waited for this answer, which `asker` (a pid) has asked for.
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
  const lengths = conditions.sent.map((name) => `\${#${name}}`);
  const tests = [
    `[ "$sshs_version/$sshs_key/$sshs_service" = ${place} ]`,
    // ssh takes an empty variable for one that is not set, where it looks at any of these.
    `[ -z "${unset.map(([name]) => `\${${name}-}`).join("")}" ]`,
    ...set.map(({ name, value }) => `[ "\${${name}-}" = ${quote(value)} ]`),
    ...(lengths.length > 0 ? [`[ $((${lengths.join(" + ")})) -le ${SMALL_ENVIRONMENT} ]`] : []),
    ...watches,
  ];
  // In brackets, so that nothing of it runs unless all of it is there.
  return `{\n${tests.join(" &&\n")} ||\nreturn\n${answer}}\n`;
}

/**
 * Puts the plan into `<stateDir>/plans`, all or nothing, readable for its owner alone. `since` is
 * when the configuration was looked at (ms since the epoch, taken before `ssh -G` starts): whatever
 * changes after it makes the plan void. A plan that the system refuses to write is done without.
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

/** How long a master waits for a sleeper to hold it, seconds: one that died has to be replaced first. */
function graceOf({ linger }: Shared, look: number): number {
  return linger === 0 ? 2 : Math.max(10, Math.ceil(3 * look));
}

/** What carries a call through a proxy: a ProxyCommand of the user's, or a jump host. */
export function proxyOf({ config, jump }: Shared): "" | "command" | "jump" {
  if (jump) return "jump";
  return (config.get("proxycommand") ?? "none") === "none" ? "" : "command";
}

/**
 * The words after `ssh -S <socket>` that start a master for the call: what a master must be first, since
 * the first value counts (ssh_config(5)), and then the connection's own options. It logs in on the
 * user's terminal, goes to the background (-f) and holds nothing of the caller then: so never -v, -E or -y.
 * `undefined` where the jump host cannot be named in a ProxyCommand.
 *
 * @param launcher the path of the launcher, which is the jump host's ssh
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
    // As in ssh.c: "Never use FD passing for ProxyJump". And ssh refuses -J beside a ProxyCommand.
    ...(proxy ? ["-o", `ProxyCommand=${proxy}`, "-o", "ProxyUseFdpass=no"] : []),
    ...connectionOptions(shared.call, proxy ? "vJ" : "v"),
    "--",
    shared.call.destination,
  ];
}

/**
 * The watches as tests of sh, all of which must be true for the plan to hold, in which
 * `$sshs_plan` is the plan's file. `undefined` where a path is not
 * absolute or cannot be quoted. Each names all that it compares by `-e`: without one of its files, -nt
 * and -ot are true in one shell and false in another.
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
