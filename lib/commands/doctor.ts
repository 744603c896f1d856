/** `sshs --doctor [HOST]`: a list of checks for what prevents sharing, with the next thing to type for each. */
import { dirname } from "@std/path/posix/dirname";
import { parseDuration, readSettingsFile } from "../call/settings.ts";
import { pingsOf, sessionsOf } from "../lane/learned.ts";
import { openStateDir, StateDirError } from "../lane/state_dir.ts";
import { pathLine, shellOf } from "../launcher/startup_lines.ts";
import { isExecutable, readText } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import { DENO, DENO_VERSION, inPath, VERSION } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { print } from "../os/terminal.ts";
import { tryFiles } from "../os/unix_socket.ts";
import { sleeperPid } from "../sleeper/sleeper_file.ts";
import { AGENT_DEADLINE, agentKeys } from "../ssh/agent.ts";
import { versionOf } from "../ssh/config_dump.ts";
import { agentOf } from "../ssh/agent.ts";
import { hasProxyCommand } from "../ssh/environment.ts";
import { isLauncher, sshVersion } from "../ssh/real_ssh.ts";
import { commandLine, count, freshCommand } from "./phrases.ts";
import { seeLanes } from "./seen.ts";
import { cell, colour } from "./table.ts";
import { answerFor, planFacts } from "./why.ts";

/** A thing that was checked. With a hint it is not as it should be. */
export interface Finding {
  readonly text: string;
  readonly hint?: string;
}

const ok = (text: string): Finding => ({ text });
const warn = (text: string, hint: string): Finding => ({ text, hint });

interface Subject {
  /** The arguments of a call; empty for a host that ssh's configuration does not name. */
  readonly argv: readonly string[];
  readonly given: Given;
  readonly system: System;
  /** The state directory, or why there is none. */
  readonly dir: string | StateDirError;
}

const CHECKS: readonly ((subject: Subject) => AsyncIterable<Finding> | Iterable<Finding>)[] = [
  checkPrograms,
  checkPath,
  checkStateDir,
  checkLanes,
  checkSettings,
  checkHost,
];

/** Prints all findings, without logging in. Returns 1 if something is wrong. */
export async function doctor(
  argv: readonly string[],
  given: Given,
  system: System,
): Promise<number> {
  const subject = { argv, given, system, dir: tryStateDir(given, system) };
  let status = 0;
  for (const check of CHECKS) {
    for await (const { text, hint } of check(subject)) {
      print(`${hint ? colour("warn", "yellow") : colour("ok  ", "green")}  ${cell(text)}`);
      if (!hint) continue;
      print(`      hint: ${cell(hint)}`);
      status = 1;
    }
  }
  return status;
}

function tryStateDir(given: Given, system: Pick<System, "env" | "uid">): string | StateDirError {
  try {
    // The launcher does not say what is wrong with one that it does not take.
    const stateDir = given.stateDir || (system.env("SSHS_DIR") ?? "");
    return openStateDir({ stateDir }, system);
  } catch (error) {
    if (error instanceof StateDirError) return error;
    throw error;
  }
}

async function* checkPrograms({ given: { ssh }, system }: Subject): AsyncGenerator<Finding> {
  yield ssh
    ? checkVersion(ssh, await sshVersion(ssh, system))
    : warn("there is no real ssh in PATH", "install OpenSSH, or export SSHS_SSH=/path/to/ssh");
  yield ok(`Deno ${DENO_VERSION} at ${DENO}`);
  const detacher = proxyDetacher(system);
  yield detacher
    ? ok(`proxies can be detached from a terminal: ${detacher}`)
    : warn("hosts behind a proxy are not shared without setsid or perl", "install perl");
}

/** Says whether a version of OpenSSH shares well. `text` is what `ssh -V` prints. */
export function checkVersion(path: string, text: string): Finding {
  const [major, minor] = versionOf(text);
  const found = `${text.split(",")[0]} at ${path}`;
  if (major === 0) {
    return warn(`${found}: not OpenSSH`, "export SSHS_SSH=/path/to/the/ssh/of/OpenSSH");
  }
  // 10.1 sets IPQoS by which sessions have a terminal, and gets it wrong for those over a master;
  // 10.2 was made to fix that (release notes of both, bz3872).
  if (major !== 10 || minor !== 1) return ok(found);
  const slow = `${found}: its new IPQoS handling makes shared terminals unusably slow`;
  return warn(slow, "install OpenSSH 10.2 or later; until then: SSHS=off ssh HOST");
}

/** Returns the program that starts a proxy in its own session. */
function proxyDetacher(system: Pick<System, "env">): string | undefined {
  return ["setsid", "perl"].flatMap((name) => inPath(name, system.env("PATH"))).find(isExecutable);
}

/** Checks that the first program of each name in PATH is ours, and works. */
function* checkPath({ given, system }: Subject): Generator<Finding> {
  const shell = shellOf(system);
  for (const name of ["ssh", "scp", "sftp"]) {
    const found = inPath(name, system.env("PATH")).filter(isExecutable);
    const [first] = found;
    const ours = found.find(isLauncher);
    if (first === undefined) continue;
    if (first === ours) {
      yield ok(`${name} in PATH is sshs: ${first}`);
      yield* checkLauncher(first);
    } else if (ours !== undefined) {
      const text = `${first} comes before the launcher of sshs in PATH`;
      yield warn(text, pathLine(shell, dirname(ours)));
    } else {
      const prefix = /^(.*)\/lib\/sshs$/s.exec(given.library)?.[1];
      const hint = prefix === undefined ? "sshs --install" : pathLine(shell, `${prefix}/bin`);
      yield warn(`${name} in PATH is ${first}, which does not share`, hint);
    }
  }
}

/** Checks the version and the Deno of the installation that a launcher belongs to. */
function* checkLauncher(path: string): Generator<Finding> {
  const setting = (file: string, name: string) =>
    new RegExp(`^sshs_${name}='(.*)'$`, "m").exec(readText(file) ?? "")?.[1] ?? "?";
  const library = setting(path, "lib");
  const version = setting(`${library}/launcher.sh`, "version");
  const deno = setting(`${library}/program`, "deno");
  const hint = "sshs --install";
  if (version !== VERSION) yield warn(`${path} belongs to sshs ${version}`, hint);
  else if (!isExecutable(deno)) yield warn(`${path} needs ${deno}, which cannot be run`, hint);
}

/** How far apart clocks may be, s; beyond that, marks of lanes lapse too soon or too late. */
const CLOCK_SLACK = 2;

/** File systems that machines share, as stat(1) names them. */
const NETWORK = /^(nfs|cifs|smb|afs|ceph|lustre|gpfs|v9fs|gfs|ocfs2|panfs)/;

const ANOTHER_DIR = "export SSHS_DIR=/a/local/directory";

async function* checkStateDir({ system, dir }: Subject): AsyncGenerator<Finding> {
  if (dir instanceof StateDirError) {
    return yield warn(dir.message.replace(/^\//, "the state directory /"), dir.hint ?? ANOTHER_DIR);
  }
  yield ok(`the state directory is ${dir}, and yours alone`);
  // Through a shell, which says nothing if there is no such stat(1).
  const stat = ["-c", 'exec stat -f -c %T "$0" 2>/dev/null', dir];
  const type = (await system.run("/bin/sh", stat)).stdout.trim();
  if (NETWORK.test(type)) yield warn(`it is on a network file system: ${type}`, ANOTHER_DIR);
  else if (type) yield ok(`it is on a local file system: ${type}`);
  const tried = tryFiles(`${dir}/doctor.${system.pid}`);
  if ("problem" in tried) {
    return yield warn(`no control socket can be made there: ${tried.problem}`, ANOTHER_DIR);
  }
  yield ok("sockets and hard links can be made there");
  const apart = Math.round(Math.abs(tried.made - system.now()) / 1000);
  yield apart > CLOCK_SLACK
    ? warn(`the clock and that of the file system differ by ${apart} s`, ANOTHER_DIR)
    : ok("the clock agrees with that of the file system");
}

async function* checkLanes({ given, system, dir }: Subject): AsyncGenerator<Finding> {
  if (dir instanceof StateDirError) return;
  const lanes = (await seeLanes(given, system)).filter(({ state }) => state !== "dead");
  const connections = count(lanes.length, "connection");
  const pid = sleeperPid(dir, system);
  if (pid !== undefined) yield ok(`the sleeper is running (pid ${pid}), with ${connections}`);
  else if (lanes.length === 0) yield ok("nothing is shared, and the sleeper is not running");
  else yield warn(`the sleeper is not running, with ${connections}`, "ssh HOST true (starts it)");
}

/** What our variables take. */
const VARIABLES: Record<string, readonly [takes: string, is: (value: string) => boolean]> = {
  SSHS: ["off or only", (value) => /^(off|0|no|false|only)$/i.test(value)],
  SSHS_SSH: ["the absolute path of an ssh", (path) => path.startsWith("/") && isExecutable(path)],
  SSHS_LINGER: ["a duration, as 10m", (value) => parseDuration(value) !== undefined],
  SSHS_MAX_SESSIONS: ["a number from 1 to 999999", (value) => /^[1-9]\d{0,5}$/.test(value)],
  SSHS_LOOK: ["seconds from 0.1 to 60", (value) => Number(value) >= 0.1 && Number(value) <= 60],
};

/** The values of SSHS that switch sshs off. */
const OFF = /^(off|0|no|false)$/i;

function* checkSettings({ system }: Subject): Generator<Finding> {
  const file = readSettingsFile(system);
  if (file?.problem) yield warn(`settings not understood: ${file.problem}`, `edit ${file.path}`);
  else if (file?.rules.length) yield ok(`settings are read from ${file.path}`);
  for (const [name, [takes, is]] of Object.entries(VARIABLES)) {
    const value = system.env(name);
    if (value === undefined || is(value)) continue;
    yield warn(`${name} takes ${takes}, and not ${value}`, `unset ${name}`);
  }
  if (OFF.test(system.env("SSHS") ?? "")) yield warn("SSHS=off: nothing is shared", "unset SSHS");
}

/** Stands for a host that ssh's configuration does not name: RFC 6761 reserves `.invalid`. */
const ANY_HOST = "any-host.invalid";

/** Checks what a call would do, or one to any host. What would prevent all calls has findings above. */
async function* checkHost({ argv, given, system, dir }: Subject): AsyncGenerator<Finding> {
  if (!given.ssh || OFF.test(system.env("SSHS") ?? "") || dir instanceof StateDirError) return;
  const isAny = argv.length === 0;
  const host = isAny ? "a host without configuration of its own" : commandLine(argv);
  const answer = await answerFor(isAny ? [ANY_HOST] : argv, given, system);
  const { told, shared } = answer;
  const why = `sshs --why ${isAny ? "HOST" : host}`;
  yield told.kind === "share"
    ? ok(`${host} would be shared`)
    : warn(`${host} would use plain ssh: ${answer.reason}`, answer.remedy ?? why);
  if (!isAny) {
    yield* checkLearned(told.home ?? "", freshCommand(argv), system);
    yield ok(`plan: ${planFacts(told)}`);
  }
  const agent = shared && agentOf(shared.config, system);
  if (agent !== undefined) yield await checkAgent(agent);
  if (shared && (shared.jump || hasProxyCommand(shared.config)) && !proxyDetacher(system)) {
    yield warn("its proxy cannot be detached from the terminal", "install perl");
  }
}

/** Says what was learned of a server, and what makes a call that forgets it. */
function* checkLearned(home: string, forget: string, system: Pick<System, "now">) {
  const pings = pingsOf(home, system.now());
  const most = sessionsOf(home, system.now());
  const facts = [
    ...pings ? [pings === "answers" ? "it answers pings" : "it has left pings unanswered"] : [],
    ...most ? [`it bears ${count(most, "session")} on a connection`] : [],
  ];
  for (const fact of facts) yield ok(`learned of its server: ${fact} (to forget it: ${forget})`);
}

async function checkAgent(socket: string): Promise<Finding> {
  const keys = await agentKeys(socket, { deadline: AGENT_DEADLINE });
  const agent = `the agent at ${socket}`;
  if (keys === "absent") return warn(`${agent} is not there`, "unset SSH_AUTH_SOCK, or start it");
  if (keys !== "silent") return ok(`${agent} answers, and has ${keys.length} keys`);
  return warn(`${agent} does not answer within ${AGENT_DEADLINE} ms`, "ssh-add -l");
}
