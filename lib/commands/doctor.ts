/** `sshs --doctor [HOST]`: finds what prevents sharing, and gives the next thing to type for each. */
import { dirname } from "@std/path/posix/dirname";
import { decide, type DecideSystem, type Shared } from "../call/decide.ts";
import { proxyOf } from "../call/plan.ts";
import { versionOf } from "../call/rules.ts";
import { parseDuration, readSettingsFile } from "../call/settings.ts";
import { startOf } from "../lane/record.ts";
import { identityDir } from "../lane/layout.ts";
import { allStateDirs, openStateDir, StateDirError, stateDirPath } from "../lane/state_dir.ts";
import { placesBelow, prefixOf } from "../launcher/install.ts";
import { pathLine, shellOf } from "../launcher/startup_lines.ts";
import { isExecutable, readKernelFile, readText, tryFiles } from "../os/files.ts";
import { hasLibc } from "../os/libc.ts";
import { DENO, DENO_VERSION, inPath, PROGRAM, VERSION } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { print } from "../os/terminal.ts";
import { sleeperPid } from "../sleeper/sleeper_file.ts";
import { AGENT_DEADLINE, agentKeys } from "../ssh/agent.ts";
import { agentOf } from "../ssh/keys.ts";
import { findRealSsh, isLauncher, sshVersion } from "../ssh/real_ssh.ts";
import { learnedOf, seeLanes, type SeeSystem } from "./seen.ts";
import { cell, colour } from "./table.ts";
import { planOf } from "./why.ts";
import {
  commandLine,
  commandWords,
  type Finding,
  hostFindings,
  programFindings,
  stateFindings,
} from "./words.ts";

/** Prints all findings, without logging in. Returns 1 if something is wrong. */
export async function doctor(
  argv: readonly string[],
  system: DecideSystem & SeeSystem & Pick<System, "pid">,
): Promise<number> {
  const findings = [
    ...await checkPrograms(system),
    ...await checkState(system),
    ...await checkHost(argv, system),
  ];
  print(...findings.flatMap(findingLines));
  return findings.every(({ ok }) => ok) ? 0 : 1;
}

/** Checks programs: the real ssh, Deno, the one that detaches a proxy, and what comes first in PATH. */
async function checkPrograms(system: Pick<System, "env" | "run">): Promise<Finding[]> {
  const ssh = findRealSsh(system);
  const detacher = proxyDetacher(system);
  return [
    ssh === undefined ? programFindings.noSsh() : checkVersion(ssh, await sshVersion(ssh, system)),
    programFindings.deno(DENO_VERSION, DENO),
    ...(hasLibc() ? [] : [programFindings.noLibc()]),
    detacher === undefined ? programFindings.noSession() : programFindings.session(detacher),
    ...["ssh", "scp", "sftp"].flatMap((name) => checkPath(name, system)),
  ];
}

/** Says whether a version of OpenSSH shares well. `text` is what `ssh -V` prints. */
export function checkVersion(path: string, text: string): Finding {
  const [major, minor] = versionOf(text);
  const version = text.split(",")[0];
  if (major === 0) return programFindings.notOpenSsh(version, path);
  // 10.1 sets IPQoS by which sessions have a terminal, and gets it wrong for those over a master;
  // 10.2 was made to fix that (release notes of both, bz3872).
  if (major === 10 && minor === 1) return programFindings.slowTerminals(version, path);
  return programFindings.ssh(version, path);
}

/** Returns the program that starts a proxy in its own session, as sshs_run_proxy() in launcher.sh does. */
function proxyDetacher(system: Pick<System, "env">): string | undefined {
  return ["setsid", "perl"].flatMap((name) => inPath(name, system.env("PATH"))).find(isExecutable);
}

/** Checks that the first program of this name in PATH is ours, and works. */
function checkPath(name: string, system: Pick<System, "env">): Finding[] {
  const found = inPath(name, system.env("PATH")).filter((path) => isLauncher(path) !== undefined);
  const [first] = found;
  if (!first) return [];
  if (isLauncher(first)) return [programFindings.isFirst(name, first), ...checkLauncher(first)];
  const behind = found.find(isLauncher);
  if (behind) return [programFindings.isBehind(first, pathLine(shellOf(system), dirname(behind)))];
  const prefix = prefixOf(dirname(PROGRAM));
  return [
    prefix === undefined ? programFindings.isNotOurs(name, first) : programFindings.isNotInPath(
      name,
      first,
      pathLine(shellOf(system), placesBelow(prefix).bin),
    ),
  ];
}

/** Checks the version and the Deno that a launcher was installed with. */
function checkLauncher(path: string): Finding[] {
  const text = readText(path) ?? "";
  const setting = (name: string) => new RegExp(`^sshs_${name}='(.*)'$`, "m").exec(text)?.[1];
  const [version, deno] = [setting("version"), setting("deno")];
  if (version !== undefined && version !== VERSION) {
    return [programFindings.otherVersion(path, version)];
  }
  if (deno !== undefined && !isExecutable(deno)) return [programFindings.otherDeno(path, deno)];
  return [];
}

/** Checks the state directory, the sleeper and the settings. */
async function checkState(
  system: SeeSystem & Pick<System, "pid">,
): Promise<Finding[]> {
  let dir: string;
  try {
    dir = openStateDir({ stateDir: stateDirPath(system) }, system);
  } catch (error) {
    if (!(error instanceof StateDirError)) throw error;
    return [stateFindings.dirRefused(error.message, error.hint), ...checkSettings(system)];
  }
  const others = allStateDirs({ stateDir: stateDirPath(system) }, system).filter((other) =>
    other !== dir
  );
  return [
    stateFindings.dir(dir),
    ...(others.length > 0 ? [stateFindings.others(others)] : []),
    ...checkFileSystem(dir),
    ...checkFiles(dir, system),
    ...await checkLanes(dir, system),
    ...checkSettings(system),
  ];
}

/** Whether the state directory can be used. If not, checkState() reports why. */
function isStateDirUsable(system: Pick<System, "env" | "uid">): boolean {
  try {
    openStateDir({ stateDir: stateDirPath(system) }, system);
    return true;
  } catch (error) {
    if (error instanceof StateDirError) return false;
    throw error;
  }
}

/** How far apart clocks may be, s; beyond that, marks of lanes lapse too soon or too late. */
const CLOCK_SLACK = 2;

/** Checks that a control socket can be made in `dir`, and that files there are dated by our clock. */
function checkFiles(dir: string, system: Pick<System, "now" | "pid">): Finding[] {
  const tried = tryFiles(`${dir}/doctor.${system.pid}`);
  if ("problem" in tried) return [stateFindings.noSockets(tried.problem)];
  const apart = Math.abs(tried.made - system.now()) / 1000;
  return [
    stateFindings.sockets(),
    apart > CLOCK_SLACK ? stateFindings.clockIsOff(apart) : stateFindings.clock(),
  ];
}

/** File systems that machines share: statfs(2), mount(8). */
const NETWORK = /^(nfs|cifs|smb|afs|ceph|lustre|gpfs|9p|glusterfs|fuse\.(sshfs|glusterfs|s3fs))/;

function checkFileSystem(dir: string): Finding[] {
  const type = fileSystemOf(dir, readKernelFile("/proc/self/mounts") ?? "");
  if (type === undefined) return [];
  return [NETWORK.test(type) ? stateFindings.network(type) : stateFindings.fileSystem(type)];
}

/** Returns the type of the file system that a path is on. `mounts` is the text of /proc/mounts (proc(5)). */
export function fileSystemOf(path: string, mounts: string): string | undefined {
  let best: { point: string; type: string } | undefined;
  for (const line of mounts.split("\n")) {
    const [, mounted, type] = line.split(" ");
    if (!type) continue;
    const point = mounted.replace(
      /\\(\d{3})/g,
      (_, octal) => String.fromCharCode(parseInt(octal, 8)),
    );
    const holds = point === "/" || path === point || path.startsWith(`${point}/`);
    // Of two mounts at one point, the later covers the earlier.
    if (holds && point.length >= (best?.point.length ?? 0)) best = { point, type };
  }
  return best?.type;
}

async function checkLanes(dir: string, system: SeeSystem): Promise<Finding[]> {
  const lanes = (await seeLanes(system)).filter(({ state }) => state !== "dead");
  const ahead = lanes.find(({ lane }) => (startOf(lane) ?? 0) > system.now() + CLOCK_SLACK * 1000);
  const pid = sleeperPid(dir, system);
  const sleeper = pid !== undefined
    ? stateFindings.sleeper(pid, lanes.length)
    : lanes.length === 0
    ? stateFindings.idle()
    : stateFindings.noSleeper(lanes.length);
  return ahead ? [sleeper, stateFindings.fromTheFuture(ahead.lane.record)] : [sleeper];
}

/** Checks the settings file, and the variables whose wrong values are silently ignored. */
function checkSettings(system: Pick<System, "env">): Finding[] {
  const file = readSettingsFile(system);
  const linger = system.env("SSHS_LINGER");
  const sessions = system.env("SSHS_MAX_SESSIONS");
  return [
    ...(file?.problem
      ? [stateFindings.settingsWrong(file.problem, file.path)]
      : file?.rules.length
      ? [stateFindings.settings(file.path)]
      : []),
    ...(system.env("SSHS") === "off" ? [stateFindings.off()] : []),
    ...(linger !== undefined && parseDuration(linger) === undefined
      ? [stateFindings.linger(linger)]
      : []),
    ...(sessions !== undefined && !/^[1-9]\d{0,5}$/.test(sessions)
      ? [stateFindings.maxSessions(sessions)]
      : []),
  ];
}

/** Stands for a host that ssh's configuration does not name: RFC 6761 reserves `.invalid`. */
const ANY_HOST = "any-host.invalid";

/** Finds what prevents sharing for a call or, without arguments, for hosts that no rule names. */
async function checkHost(
  argv: readonly string[],
  system: DecideSystem,
): Promise<Finding[]> {
  const ssh = findRealSsh(system);
  // Each of these has a finding of its own.
  if (ssh === undefined || system.env("SSHS") === "off" || !isStateDirUsable(system)) return [];
  const isAny = argv.length === 0;
  const host = isAny ? hostFindings.anyHost() : commandLine(argv);
  const decision = await decide(isAny ? [ANY_HOST] : argv, ssh, system);
  if (decision.kind === "direct") {
    const why = `sshs --why ${isAny ? "HOST" : commandLine(argv)}`;
    return [hostFindings.direct(host, decision.reason, decision.remedy ?? why)];
  }
  const learned = learnedOf(identityDir(decision), system);
  return [
    learned
      ? hostFindings.direct(host, learned, commandWords.freshHint(argv))
      : hostFindings.shares(host),
    ...(isAny ? [] : [hostFindings.plan(await planOf(argv, decision, system))]),
    ...await checkAgent(decision, system),
    ...(proxyOf(decision) !== "" && !proxyDetacher(system)
      ? [hostFindings.proxyNeedsSession()]
      : []),
  ];
}

async function checkAgent({ config }: Shared, system: DecideSystem): Promise<Finding[]> {
  const socket = agentOf(config, system);
  if (socket === undefined) return [];
  const keys = await agentKeys(socket, { deadline: AGENT_DEADLINE });
  if (keys === "absent") return [hostFindings.noAgent(socket)];
  if (keys === "silent") return [hostFindings.silentAgent(socket, AGENT_DEADLINE)];
  return [hostFindings.agent(socket, keys.length)];
}

function findingLines({ ok, text, hint }: Finding): string[] {
  const mark = ok ? colour("ok  ", "green") : colour("warn", "yellow");
  const lines = [`${mark}  ${cell(text)}`];
  return hint === undefined ? lines : [...lines, `      hint: ${cell(hint)}`];
}
