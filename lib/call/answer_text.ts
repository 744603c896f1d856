/** What the launcher must do with a call, as sh text: the program's answer, and the end of every plan. */
import { dirname } from "@std/path/posix/dirname";
import { identityDir } from "../lane/layout.ts";
import { isExecutable, realPathOf } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import { inPath, quote } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { harmless, type Message, messageText } from "../os/terminal.ts";
import type { SshConfig } from "../ssh/config_dump.ts";
import { connectionWords } from "../ssh/configuration.ts";
import { hasProxyCommand } from "../ssh/environment.ts";
import { jumpCommand } from "../ssh/jump.ts";
import { isScript } from "../ssh/real_ssh.ts";
import { connectionDigest } from "../ssh/same.ts";
import { dependsOnDirectory } from "../ssh/connection_lines.ts";
import { callsOf, type Direct, type Shared } from "./decision.ts";

/** What the answer needs besides the decision. */
export interface AnswerContext {
  readonly given: Given;
  /** Seconds between two checks by the sleeper. */
  readonly look: number;
  readonly system: Pick<System, "env">;
}

/**
 * Returns the answer; its last line sets sshs_kind. Returns `undefined` if part of it cannot be written as sh:
 * the call then becomes plain ssh.
 */
export async function answerText(
  decision: Shared | Direct,
  context: AnswerContext,
): Promise<string | undefined> {
  const { given, look, system } = context;
  if (decision.kind === "direct") {
    return lines([
      ["ssh", given.ssh],
      ["notice", noticeText(decision.notice)],
      ["socket", decision.socket ?? ""],
      ["reason", harmless(decision.reason)],
      ["kind", "direct"],
    ]);
  }
  const { config, copies, ssh } = decision;
  const calls = callsOf(decision);
  const grace = graceOf(decision, look);
  const master = masterArguments(decision, { launcher: launcherOf(given), grace })?.map(quote);
  const jump = decision.jump?.argv.map(quote);
  if (!master || master.includes(undefined) || jump?.includes(undefined)) return undefined;
  const timeout = config.get("connecttimeout") ?? "none";
  const mayChange = calls.some(({ mayChange }) => mayChange);
  const [major, minor] = config.version;
  const find = (name: string, ...first: string[]) =>
    [...first, ...inPath(name, system.env("PATH"))].find(isExecutable) ?? "";
  const settings = lines([
    ["ssh", ssh],
    ["notice", noticeText(decision.notice)],
    ["home", identityDir(decision)],
    ["copies", copies ? identityDir({ ...decision, identity: copies }) : ""],
    ["spaces", decision.spaces],
    ["host", harmless(decision.call.destination)],
    ["record", JSON.stringify(recordOf(decision, grace))],
    ["max", `${decision.maxSessions}`],
    ["lingers", decision.linger === 0 ? "" : "yes"],
    ["batch", decision.batch ? "yes" : ""],
    ["quiet", decision.quiet ? "yes" : ""],
    // The session has a terminal even if the call has none: `-tt`, `RequestTTY force`.
    ["forced", config.get("requesttty") === "force" ? "yes" : ""],
    ["timeout", /^\d+$/.test(timeout) ? timeout : ""],
    ["proxy", proxyOf(decision)],
    ["listens", decision.listens.map((forward) => JSON.stringify(forward)).join("\n")],
    ["warnings", config.warnings.join("\n")],
    // Up to 8.4 a master that has gone to the background keeps its stderr (fork_postauth() in ssh.c).
    ["logged", major < 8 || (major === 8 && minor < 5) ? "yes" : ""],
    ["marks", calls.some(startsSsh) || isScript(ssh) ? "yes" : ""],
    ["expects", mayChange ? await connectionDigest(calls.map(({ config }) => config)) : ""],
    // If the login adds a key to the agent, the sleeper records the agent's keys after that.
    [
      "agent",
      /^(no|false)$/.test(config.get("addkeystoagent") ?? "no") ? decision.agent ?? "" : "",
    ],
    // "/" keeps no mounted file system busy during the linger. But what is asked again, for the master and for
    // its jump host, must get the same answer.
    ["cwd", mayChange || calls.some(isOfDirectory) ? "." : "/"],
    ["setpriv", find("setpriv")],
    ["before", beforeMaster(find).join(" ")],
    ["lister", decision.agent === undefined ? "" : find("ssh-add", `${dirname(ssh)}/ssh-add`)],
  ]);
  if (settings === undefined) return undefined;
  return [
    settings.trimEnd(),
    // Its arguments are what is done with the words.
    `sshs_master() { "$@" ${master.join(" ")}; }`,
    ...(jump
      ? [
        "sshs_jump() { case $sshs_task in open*) ;; *) sshs_task=open ;; esac;",
        `SSHS_TASK=$sshs_task exec "$sshs_lib/bin/ssh" ${jump.join(" ")}; }`,
      ]
      : []),
    "sshs_kind=share",
    "",
  ].join("\n");
}

/**
 * Returns the words before a master: they end it with its call, even if that is killed, and give it SIGINT and
 * SIGQUIT back, which sh ignores in what it starts by `&`. None has a blank: the launcher splits them.
 */
function beforeMaster(find: (name: string) => string): string[] {
  const [setpriv, env, perl] = ["setpriv", "env", "perl"].map(find)
    .map((path) => /\s/.test(path) ? "" : path);
  const hasDefaults = Deno.build.os === "linux" && env !== "" &&
    !/\/(busybox|toybox)$/.test(realPathOf(env) ?? env);
  return [
    ...(setpriv ? [setpriv, "--pdeathsig", "TERM"] : []),
    ...(hasDefaults
      ? [env, "--default-signal=INT,QUIT"]
      : perl
      ? [perl, "-e", '$SIG{INT}=$SIG{QUIT}="DEFAULT";exec{$ARGV[0]}@ARGV']
      : []),
  ];
}

function launcherOf({ library }: Given): string {
  return `${library}/bin/ssh`;
}

function isOfDirectory({ config, cwd }: Shared): boolean {
  return dependsOnDirectory(config, cwd);
}

/** Whether ssh may start programs for a call that call `ssh` themselves, besides its session. */
function startsSsh({ config, jump }: Shared): boolean {
  return jump !== undefined || hasProxyCommand(config) || config.execs.length > 0 ||
    (config.get("knownhostscommand") ?? "none") !== "none";
}

function noticeText(notice: Message | undefined): string {
  return notice === undefined ? "" : messageText(notice);
}

/** Returns what is known about the lane at its start: LaneRecord in lane.ts. */
function recordOf(shared: Shared, grace: number) {
  return {
    destination: shared.call.destination,
    resolved: shared.resolved,
    linger: orNull(shared.linger),
    maxAge: orNull(shared.maxAge),
    until: shared.until,
    maxSessions: shared.maxSessions,
    grace,
    forwards: shared.forwards,
    agent: shared.agent ?? null,
    offers: shared.agent === undefined ? undefined : shared.offers,
    pids: /pid:\[\d+\]/.exec(shared.spaces)?.[0],
  };
}

function orNull(seconds: number): number | null {
  return seconds === Infinity ? null : seconds;
}

/** Returns sh assignments, one per line; `undefined` if a value cannot be quoted. */
function lines(settings: readonly (readonly [string, string])[]): string | undefined {
  const quoted = settings.map(([name, value]) => [name, quote(value)]);
  if (quoted.some(([, value]) => value === undefined)) return undefined;
  return quoted.map(([name, value]) => `sshs_${name}=${value}\n`).join("");
}

/** Returns how long a master waits for a sleeper to hold it, s: a dead sleeper must be replaced first. */
function graceOf({ linger }: Shared, look: number): number {
  return linger === 0 ? 2 : Math.max(10, Math.ceil(3 * look));
}

/** Returns what connects a call through a proxy: the user's ProxyCommand, or a jump host. */
export function proxyOf(
  { config, jump }: { readonly config: SshConfig; readonly jump?: unknown },
): "" | "command" | "jump" {
  if (jump) return "jump";
  return hasProxyCommand(config) ? "command" : "";
}

/**
 * Returns the words after `ssh -S <socket>` that start a master for the call: first what makes it a
 * master, since the first value counts (ssh_config(5)), then the connection's own words. The master logs
 * in on the user's terminal, then goes to the background (-f) and holds nothing of the caller: so never -v,
 * -E or -y. Returns `undefined` if the jump host cannot be named in a ProxyCommand.
 *
 * @param options.launcher the path of the launcher, which is the jump host's ssh
 */
export function masterArguments(
  shared: Pick<Shared, "call" | "jump">,
  options: { launcher: string; grace: number },
): string[] | undefined {
  const proxy = shared.jump && jumpCommand(options.launcher, shared.jump.argv);
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
    ...connectionWords(shared.call, proxy ? "J" : ""),
  ];
}
