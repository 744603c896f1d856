/** What the launcher must do with a call, as sh text: the program's answer, and the end of every plan. */
import { dirname } from "@std/path/posix/dirname";
import { identityDir } from "../lane/layout.ts";
import type { LaneRecord } from "../lane/record.ts";
import { isExecutable, realPathOf } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import { inPath } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { harmless, messageText } from "../os/terminal.ts";
import { connectionWords } from "../ssh/configuration.ts";
import { dependsOnDirectory } from "../ssh/connection_lines.ts";
import { hasProxyCommand } from "../ssh/environment.ts";
import { jumpCommand } from "../ssh/jump.ts";
import { isScript } from "../ssh/real_ssh.ts";
import { callsOf, type Direct, type Shared } from "./decision.ts";
import { quoted, UNQUOTABLE } from "./plan.ts";

/**
 * Returns the answer; its last line sets sshs_kind. Returns `undefined` if part of it cannot be written as sh:
 * the call then becomes plain ssh.
 */
export function answerText(
  decision: Shared | Direct,
  given: Given,
  system: Pick<System, "env">,
): string | undefined {
  const text = decision.kind === "direct"
    ? directText(decision, given)
    : sharedText(decision, given, system);
  return text?.includes(UNQUOTABLE) ? undefined : text;
}

function directText({ notice, socket = "" }: Direct, { ssh }: Given): string {
  return assignments({
    ssh,
    notice: notice ? messageText(notice) : "",
    socket,
    kind: "direct",
  });
}

function sharedText(
  decision: Shared,
  { library, spaces, ssh }: Given,
  system: Pick<System, "env">,
): string | undefined {
  const { config, copies, jump, notice, record } = decision;
  const calls = callsOf(decision);
  const master = masterArguments(decision, `${library}/bin/ssh`);
  if (!master) return undefined;
  const timeout = config.get("connecttimeout") ?? "none";
  const mayChange = calls.some(({ mayChange }) => mayChange);
  const isOfDirectory = calls.some(({ config, cwd }) => dependsOnDirectory(config, cwd));
  const addsKeys = !/^(no|false)$/.test(config.get("addkeystoagent") ?? "no");
  const [major, minor] = config.version;
  const find = (name: string, ...first: string[]) =>
    [...first, ...inPath(name, system.env("PATH"))].find(isExecutable) ?? "";
  const settings = assignments({
    ssh,
    notice: notice ? messageText(notice) : "",
    home: identityDir(decision),
    copies: copies ? identityDir({ ...decision, identity: copies }) : "",
    spaces,
    host: harmless(record.destination),
    record: JSON.stringify(record),
    max: `${record.maxSessions}`,
    lingers: yesIf(record.linger !== 0),
    batch: yesIf(config.get("batchmode") === "yes"),
    quiet: yesIf(decision.quiet),
    // The session has a terminal even if the call has none: `-tt`, `RequestTTY force`.
    forced: yesIf(config.get("requesttty") === "force"),
    timeout: /^\d+$/.test(timeout) ? timeout : "",
    proxy: jump ? "jump" : hasProxyCommand(config) ? "command" : "",
    listens: decision.listens.map((forward) => JSON.stringify(forward)).join("\n"),
    warnings: config.warnings.join("\n"),
    // Up to 8.4 a master that has gone to the background keeps its stderr (fork_postauth() in ssh.c).
    logged: yesIf(major < 8 || (major === 8 && minor < 5)),
    marks: yesIf(calls.some(startsSsh) || isScript(ssh)),
    // After the login the decision is made once more: isAsDecided() in answer.ts.
    expects: mayChange ? decision.identity : "",
    // If the login adds a key to the agent, the sleeper records the agent's keys after that.
    agent: addsKeys ? "" : record.agent ?? "",
    // "/" keeps no mounted file system busy during the linger. But what is asked again, for the master and for
    // its jump host, must get the same answer.
    cwd: mayChange || isOfDirectory ? "." : "/",
    setpriv: find("setpriv"),
    before: beforeMaster(find).join(" "),
    lister: record.agent === null ? "" : find("ssh-add", `${dirname(ssh)}/ssh-add`),
  });
  return [
    settings.trimEnd(),
    // Its arguments are what is done with the words.
    `sshs_master() { "$@" ${master.map(quoted).join(" ")}; }`,
    ...(jump
      ? [
        "sshs_jump() { case $sshs_task in open*) ;; *) sshs_task=open ;; esac;",
        `SSHS_TASK=$sshs_task exec "$sshs_lib/bin/ssh" ${jump.call.argv.map(quoted).join(" ")}; }`,
      ]
      : []),
    "sshs_kind=share",
    "",
  ].join("\n");
}

/** prctl(2), which ends a process with its parent (PR_SET_PDEATHSIG), by its number on Linux. */
const PRCTL: Readonly<Record<string, number>> = { x86_64: 157, aarch64: 167 };

/** Returns sh assignments, one per line. */
function assignments(settings: Record<string, string>): string {
  return Object.entries(settings).map(([name, value]) => `sshs_${name}=${quoted(value)}\n`).join(
    "",
  );
}

function yesIf(is: boolean): string {
  return is ? "yes" : "";
}

/**
 * Returns the words before a master: they end it with its call, even if that is killed, and give it SIGINT and
 * SIGQUIT back, which sh ignores in what it starts by `&`. perl does both in one program. None has a blank: the
 * launcher splits them.
 */
function beforeMaster(find: (name: string) => string): string[] {
  const [setpriv, env, perl] = ["setpriv", "env", "perl"]
    .map((name) => find(name)).map((path) => /\s/.test(path) ? "" : path);
  const prctl = Deno.build.os === "linux" ? PRCTL[Deno.build.arch] : undefined;
  if (perl && (prctl || !setpriv)) {
    const ends = prctl ? `syscall(${prctl},1,15);` : "";
    return [perl, "-e", `${ends}$SIG{INT}=$SIG{QUIT}="DEFAULT";exec{$ARGV[0]}@ARGV`];
  }
  const isGnu = Deno.build.os === "linux" && env !== "" &&
    !/\/(busybox|toybox)$/.test(realPathOf(env) ?? env);
  return [
    ...(setpriv ? [setpriv, "--pdeathsig", "TERM"] : []),
    ...(isGnu ? [env, "--default-signal=INT,QUIT"] : []),
  ];
}

/** Whether ssh may start programs for a call that call `ssh` themselves, besides its session. */
function startsSsh({ config, jump }: Shared): boolean {
  return jump !== undefined || hasProxyCommand(config) || config.execs.length > 0 ||
    (config.get("knownhostscommand") ?? "none") !== "none";
}

/**
 * Returns the words after `ssh -S <socket>` that start a master for the call: first what makes it a
 * master, since the first value counts (ssh_config(5)), then the connection's own words. The master logs
 * in on the user's terminal, then goes to the background (-f) and holds nothing of the caller: so never -v,
 * -E or -y. Returns `undefined` if the jump host cannot be named in a ProxyCommand.
 *
 * @param launcher its path, which is the jump host's ssh
 */
export function masterArguments(
  { call, jump, record }: Pick<Shared, "call" | "jump"> & { record: Pick<LaneRecord, "grace"> },
  launcher: string,
): string[] | undefined {
  const proxy = jump && jumpCommand(launcher, jump.call.argv);
  if (jump && !proxy) return undefined;
  return [
    ...["-M", "-N", "-f"],
    ...["-o", `ControlPersist=${record.grace}`],
    ...["-o", "ClearAllForwardings=yes"],
    ...["-o", "PermitLocalCommand=no"],
    ...["-o", "RemoteCommand=none"],
    ...["-o", "RequestTTY=no"],
    // As in ssh.c: "Never use FD passing for ProxyJump". And ssh refuses -J together with ProxyCommand.
    ...(proxy ? ["-o", `ProxyCommand=${proxy}`, "-o", "ProxyUseFdpass=no"] : []),
    ...connectionWords(call, proxy ? "J" : ""),
  ];
}
