/** `sshs --doctor [HOST]`: a list of checks for what prevents sharing, with the next thing to type for each. */
import { dirname } from "@std/path/posix/dirname";
import { readSettingsFile, settingsFor } from "../call/settings.ts";
import { lookSeconds } from "../lane/lane.ts";
import { pingsOf, sessionsOf } from "../lane/learned.ts";
import { openStateDir, StateDirError } from "../lane/state_dir.ts";
import { pathLine, shellOf } from "../launcher/startup_lines.ts";
import { isExecutable, readText } from "../os/files.ts";
import { DENO, DENO_VERSION, inPath, VERSION } from "../os/program.ts";
import { print } from "../os/terminal.ts";
import { tryFiles } from "../os/unix_socket.ts";
import { sleeperPid } from "../sleeper/sleeper_file.ts";
import { AGENT_DEADLINE, agentKeys, agentOf } from "../ssh/agent.ts";
import { versionOf } from "../ssh/config_dump.ts";
import { isLauncher, sshVersion } from "../ssh/real_ssh.ts";
import { type Here, takeHost, type Words } from "./command.ts";
import { commandLine, count } from "./phrases.ts";
import { lanesMeant } from "./stop.ts";
import { cell, colour } from "./table.ts";
import { answerFor } from "./why.ts";

/** What was found; with a hint it is not as it should be. */
type Finding = [text: string, hint?: string];

/** Prints all findings, without logging in. Returns 1 if something is wrong. */
export async function doctor(words: Words, here: Here): Promise<number> {
  const argv = words.argv.length === 0 ? [] : takeHost(words);
  let status = 0;
  for (const check of [checkPrograms, checkPath, checkState, checkSettings, checkHost]) {
    for await (const [text, hint] of check(here, argv)) {
      print(`${hint ? colour("warn", "yellow") : colour("ok  ", "green")}  ${cell(text)}`);
      if (!hint) continue;
      print(`      hint: ${cell(hint)}`);
      status = 1;
    }
  }
  return status;
}

async function* checkPrograms({ given: { ssh }, system }: Here): AsyncGenerator<Finding> {
  const version = ssh && await sshVersion(ssh, system);
  const [major, minor] = versionOf(version);
  const found = `${version.split(",")[0]} at ${ssh}`;
  // 10.1 sets IPQoS by which sessions have a terminal, and gets it wrong for those over a master;
  // 10.2 was made to fix that (release notes of both, bz3872).
  const slow = `${found}: its new IPQoS handling makes shared terminals unusably slow`;
  if (!ssh) yield ["there is no real ssh in PATH", "install OpenSSH, or set SSHS_SSH to its ssh"];
  else if (major === 0) yield [`${found}: not OpenSSH`, "set SSHS_SSH to the ssh of OpenSSH"];
  else if (major !== 10 || minor !== 1) yield [found];
  else yield [slow, "install OpenSSH 10.2 or later; until then: SSHS=off ssh HOST"];
  yield [`Deno ${DENO_VERSION} at ${DENO}`];
  const detachers = ["setsid", "perl"].flatMap((name) => inPath(name, system.env("PATH")));
  const detacher = detachers.find(isExecutable);
  if (detacher) yield [`proxies can be detached from a terminal: ${detacher}`];
  else yield ["hosts behind a proxy are not shared without setsid or perl", "install perl"];
}

/** Checks that the first program of each name in PATH is ours, of this version, and can run its Deno. */
function* checkPath({ system }: Here): Generator<Finding> {
  const setting = (file: string, name: string) =>
    new RegExp(`^sshs_${name}='(.*)'$`, "m").exec(readText(file) ?? "")?.[1] ?? "?";
  for (const name of ["ssh", "scp", "sftp"]) {
    const found = inPath(name, system.env("PATH")).filter(isExecutable);
    const [first, ours] = [found[0], found.find(isLauncher)];
    if (first && !ours) yield [`${name} in PATH is ${first}, which does not share`, INSTALL];
    if (!ours) continue;
    const line = pathLine(shellOf(system), dirname(ours));
    if (first === ours) yield [`${name} in PATH is sshs: ${ours}`];
    else yield [`${first} comes before the launcher of sshs in PATH`, line];
    const library = setting(ours, "lib");
    const version = setting(`${library}/launcher.sh`, "version");
    const deno = setting(`${library}/program`, "deno");
    if (version !== VERSION) yield [`${ours} belongs to sshs ${version}`, INSTALL];
    else if (!isExecutable(deno)) yield [`${ours} needs ${deno}, which cannot be run`, INSTALL];
  }
}

const INSTALL = "sshs --install";

/** How far apart clocks may be, s; beyond that, marks of lanes lapse too soon or too late. */
const CLOCK_SLACK = 2;

/** File systems that machines share, as stat(1) names them. */
const NETWORK = /^(nfs|cifs|smb|afs|ceph|lustre|gpfs|v9fs|gfs|ocfs2|panfs)/;

const ANOTHER_DIR = "export SSHS_DIR=/a/local/directory";

async function* checkState(here: Here): AsyncGenerator<Finding> {
  const { given, system } = here;
  let dir: string;
  try {
    // The launcher does not say what is wrong with one that it does not take.
    dir = openStateDir({ stateDir: given.stateDir || (system.env("SSHS_DIR") ?? "") }, system);
  } catch (error) {
    if (!(error instanceof StateDirError)) throw error;
    return yield [error.message.replace(/^\//, "the state directory /"), error.hint ?? ANOTHER_DIR];
  }
  yield [`the state directory is ${dir}, and yours alone`];
  // Through a shell, which says nothing if there is no such stat(1).
  const stat = ["-c", 'exec stat -f -c %T "$0" 2>/dev/null', dir];
  const type = (await system.run("/bin/sh", stat)).stdout.trim();
  if (NETWORK.test(type)) yield [`it is on a network file system: ${type}`, ANOTHER_DIR];
  else if (type) yield [`it is on a local file system: ${type}`];
  const tried = tryFiles(`${dir}/doctor.${system.pid}`);
  if ("problem" in tried) {
    return yield [`no control socket can be made there: ${tried.problem}`, ANOTHER_DIR];
  }
  yield ["sockets and hard links can be made there"];
  const apart = Math.round(Math.abs(tried.made - system.now()) / 1000);
  if (apart <= CLOCK_SLACK) yield ["the clock agrees with that of the file system"];
  else yield [`the clock and that of the file system differ by ${apart} s`, ANOTHER_DIR];
  const lanes = (await lanesMeant(here)).length;
  const connections = count(lanes, "connection");
  const pid = sleeperPid(dir, system);
  if (pid !== undefined) yield [`the sleeper is running (pid ${pid}), with ${connections}`];
  else if (lanes === 0) yield ["nothing is shared, and the sleeper is not running"];
  else yield [`the sleeper is not running, with ${connections}`, "ssh HOST true (starts it)"];
}

function* checkSettings({ given, system }: Here): Generator<Finding> {
  const file = readSettingsFile(system);
  const { problem } = settingsFor("", file, system);
  const mend = file?.problem ? `edit ${file.path}` : `unset ${problem?.split(" ", 1)[0]}`;
  if (problem) yield [`settings not understood: ${problem}`, mend];
  else if (file?.rules.length) yield [`settings are read from ${file.path}`];
  const variables: [name: string, takes: string, is: (value: string) => boolean][] = [
    ["SSHS", "off or only", (value) => /^(off|0|no|false|only)$/i.test(value)],
    ["SSHS_SSH", "the absolute path of an ssh", (value) => value === given.ssh],
    ["SSHS_LOOK", "seconds from 0.1 to 60", (value) => Number(value) === lookSeconds(system)],
  ];
  for (const [name, takes, is] of variables) {
    const value = system.env(name);
    if (value && !is(value)) yield [`${name} takes ${takes}, and not ${value}`, `unset ${name}`];
  }
}

/** Stands for a host that ssh's configuration does not name: RFC 6761 reserves `.invalid`. */
const ANY_HOST = "any-host.invalid";

/** Checks what a call would do, or one to any host. */
async function* checkHost(here: Here, argv: readonly string[]): AsyncGenerator<Finding> {
  const { given, system } = here;
  if (!given.ssh) return; // Said above.
  const isAny = argv.length === 0;
  const call = isAny ? "a host without configuration of its own" : commandLine(argv);
  const { told, shared, reason, remedy } = await answerFor(isAny ? [ANY_HOST] : argv, here);
  if (told.why === "state") return; // Said above.
  if (told.kind === "share") yield [`${call} would be shared`];
  else {
    const hint = remedy ?? commandLine(["sshs", "--why", ...isAny ? ["HOST"] : argv]);
    yield [`${call} would use plain ssh: ${reason}`, hint];
  }
  const home = told.home ?? "";
  const pings = pingsOf(home, system.now());
  const most = sessionsOf(home, system.now());
  const learned = [
    pings && (pings === "answers" ? "it answers pings" : "it has left pings unanswered"),
    most && `it bears ${count(most, "session")} on a connection`,
  ];
  const forget = commandLine(["sshs", "--fresh", ...argv]);
  for (const fact of learned.filter(Boolean)) {
    yield [`learned of its server: ${fact} (to forget it: ${forget})`];
  }
  const socket = shared && agentOf(shared.config, system);
  if (socket === undefined) return;
  const keys = await agentKeys(socket, { deadline: AGENT_DEADLINE });
  const agent = `the agent at ${socket}`;
  if (keys === "absent") yield [`${agent} is not there`, "unset SSH_AUTH_SOCK, or start it"];
  else if (keys !== "silent") yield [`${agent} answers, and has ${keys.length} keys`];
  else yield [`${agent} does not answer within ${AGENT_DEADLINE} ms`, "ssh-add -l"];
}
