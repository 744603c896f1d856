/**
 * What our commands say, except for `--help` (help.ts). The rule is that of os/terminal.ts: lower case and no
 * period; the fault first, then what to type as a hint. A result begins with the host that it is about. For
 * users, a lane is a "shared connection".
 */
import { quote } from "../os/program.ts";
import type { Message } from "../os/terminal.ts";
import type { SeenLane } from "./seen.ts";
import { duration } from "./table.ts";

/** Words for wrong use; the hint is the command's usage unless there is one here. */
export const misuseWords = {
  unknown: (word: string) => `unknown command ${word}`,
  didYouMean: (command: string) => `did you mean ${command}?`,
  noSuchOption: (command: string, word: string) => `--${command} has no option ${word}`,
  noHost: (command: string) => `--${command} takes a host`,
  noOperand: (command: string, word: string) => `--${command} takes no host: ${word}`,
  oneHost: (command: string, word: string) => `--${command} takes one host and no command: ${word}`,
  takesNothing: (command: string) => `--${command} takes no arguments`,
  hostOrAll: () => "--stop takes a host or --all, not both",
  lateOption: (word: string) => `options go before the hosts: ${word}`,
  noDuration: (word: string) => `not a duration: ${word}`,
  durationHint: (usage: string) => `${usage}, with 30m, 1h30m, 2d, forever, or 0 to release`,
  durationAndHost: () => "--hold takes a duration and a host",
  noCommand: () => "--with takes a command after --",
  noCall: () => "--why takes the arguments of an ssh call",
  prefixOrNothing: (command: string) => `--${command} takes --prefix and a directory, or nothing`,
  noShell: () => "--completions takes the name of a shell",
  watchOrJson: () => "--list takes --watch or --json, not both",
} as const;

export const commandWords = {
  nothingShared: () => "nothing is shared",
  noSleeper: () =>
    "the background process (sleeper) is not running; idle connections close soon; any call starts it",
  noTerminal: (): Message => ({
    fault: "--watch needs a terminal",
    hint: "sshs --list --json",
  }),
  watchKeys: () => "q to quit",
  directUntil: (why: string, until: Date) => `not shared until ${clock(until)}: ${why}`,
  asksOnTerminal: () => "not shared: its ProxyCommand asks on the terminal",
  freshHint: (argv: readonly string[]) => commandLine(["sshs", "--fresh", ...argv]),

  noMatch: (name: string, shared: readonly string[]): Message => ({
    fault: shared.length === 0
      ? `no shared connection matches "${name}"; nothing is shared now`
      : `no shared connection matches "${name}"; shared now: ${[...new Set(shared)].join(", ")}`,
  }),
  retired: (host: string, sessions: number) =>
    `${host}: accepts no new sessions; closes after the last one (${count(sessions, "session")})`,
  stopped: (host: string, sessions: number) =>
    sessions > 0 ? `${host}: stopped, with ${count(sessions, "session")}` : `${host}: stopped`,
  notStopped: (host: string, pid: number): Message => ({
    fault: `${host}: its connection master did not exit`,
    hint: `kill -KILL ${pid}`,
  }),

  failed: (host: string, { fault, hint }: Message): Message => ({
    fault: `${host}: ${fault}`,
    hint,
  }),
  cannotShare: (reason: string, remedy?: string): Message => ({
    fault: `cannot be shared: ${reason}`,
    hint: remedy,
  }),
  cannotLogIn: () => "ssh could not log in",
  busyElsewhere: () => "another call is still logging in, or this one may not open a connection",
  doesNotLinger: (host: string): Message => ({
    fault: "logged in, but the connection closes at once: its linger is 0",
    hint: `sshs --hold 10m ${host}, or set "linger" in config.json`,
  }),
  noHostLine: (line: number, text: string): Message => ({
    fault: `line ${line} is not a host: ${text}`,
    hint: "one host a line; options go before the - of --warm",
  }),
  warming: (open: number, failed: number, total: number) =>
    `sshs: ${open} of ${total} open${failed > 0 ? `, ${failed} failed` : ""} ...`,
  warmed: (open: number, failed: number, total: number) =>
    `${open} of ${total} open${failed > 0 ? `, ${failed} failed` : ""}`,

  held: (host: string, seconds: number, until: Date) =>
    seconds === Infinity
      ? `${host}: held forever`
      : `${host}: held for ${duration(seconds)}, until ${clock(until)}`,
  notHeld: (host: string): Message => ({ fault: `${host}: no connection is held` }),
  released: (host: string) => `${host}: no longer held`,

  inside: () => "the call would run inside another call of sshs (SSHS_INSIDE is set)",
  isOpen: () => "a shared connection is open",
  isUnverified: () =>
    "a shared connection is open; the call would first check that the server answers",
  isFull: () => "can be shared; all connections are full, so this call would log in once more",
  isNew: () => "can be shared; no connection is open, so this call would log in",
  laneFacts: ({ lane, record, sessions, state, pid }: SeenLane) =>
    `${lane.name} (${state}${
      pid ? `, pid ${pid}` : ""
    }, ${sessions} of ${record.maxSessions} in use)`,
  plan: (plan: PlanState) =>
    ({
      holds: "there is one for this command line, so the call needs no Deno",
      needless: "none is needed: the launcher itself sends the call to plain ssh, without Deno",
      none: "none yet for this command line; the call starts Deno, and saves one if it can",
      never: "none is possible for this command line; each call starts Deno to decide",
    })[plan],
  linger(seconds: number) {
    if (seconds === Infinity) return "never closes";
    if (seconds === 0) return "closes with the last session";
    return `closes ${duration(seconds)} after the last session`;
  },
  lingerHint: () =>
    'set "linger" for this host in config.json (0 by default with agent or X11 forwarding)',
  fullHint: () => 'set "maxSessions" in config.json if the server allows more',
} as const;

/**
 * - `holds`: the launcher has a plan for the call
 * - `needless`: the launcher goes direct without one
 * - `none`: the call may leave one
 * - `never`: the call can have none
 */
export type PlanState = "holds" | "needless" | "none" | "never";

/** Returns words as a user would type them, quoted for a shell where they need it. */
export function commandLine(words: readonly string[]): string {
  return words.map((word) =>
    /^[\w@%+=:,./~-]+$/.test(word) ? word : quote(word) ?? JSON.stringify(word)
  ).join(" ");
}

/** Counts things: `1 session`, `2 sessions`. */
export function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? "" : "s"}`;
}

/** Formats a moment much as ISO 8601 does, in local time: `2026-11-25 21:30:00`. */
function clock(moment: Date): string {
  return moment.toLocaleString("sv");
}

/** What the doctor finds. */
export interface Finding {
  readonly ok: boolean;
  readonly text: string;
  /** The next thing to type or to do, if something is wrong. */
  readonly hint?: string;
}

function ok(text: string): Finding {
  return { ok: true, text };
}

function warn(text: string, hint: string): Finding {
  return { ok: false, text, hint };
}

/** Findings about programs. */
export const programFindings = {
  noSsh: () =>
    warn("there is no real ssh in PATH", "install OpenSSH, or export SSHS_SSH=/path/to/ssh"),
  ssh: (version: string, path: string) => ok(`${version} at ${path}`),
  notOpenSsh: (version: string, path: string) =>
    warn(`${version} at ${path}: not OpenSSH`, "export SSHS_SSH=/path/to/the/ssh/of/OpenSSH"),
  slowTerminals: (version: string, path: string) =>
    warn(
      `${version} at ${path}: its new IPQoS handling makes shared terminals unusably slow`,
      "install OpenSSH 10.2 or later; until then: SSHS=off ssh HOST",
    ),
  deno: (version: string, path: string) => ok(`Deno ${version} at ${path}`),
  noLibc: () =>
    warn("Deno cannot call libc, so sshs runs ssh as a child", "run sshs with --allow-ffi"),
  isFirst: (name: string, path: string) => ok(`${name} in PATH is sshs: ${path}`),
  isBehind: (path: string, line: string) =>
    warn(`${path} comes before the launcher of sshs in PATH`, line),
  isNotInPath: (name: string, path: string, line: string) =>
    warn(`${name} in PATH is ${path}, though sshs is installed`, line),
  isNotOurs: (name: string, path: string) =>
    warn(`${name} in PATH is ${path}, which does not share`, "sshs --install"),
  otherVersion: (path: string, version: string) =>
    warn(`${path} belongs to sshs ${version}`, "sshs --install"),
  otherDeno: (path: string, deno: string) =>
    warn(`${path} needs ${deno}, which cannot be run`, "sshs --install"),
  session: (program: string) => ok(`proxies can be detached from a terminal: ${program}`),
  noSession: () =>
    warn("neither setsid nor perl is in PATH: hosts behind a proxy are not shared", "install perl"),
} as const;

/** Findings about the state directory, the sleeper and the settings. */
export const stateFindings = {
  dir: (path: string) => ok(`the state directory is ${path}, and yours alone`),
  dirRefused: (why: string, hint: string) => warn(`the state directory ${why}`, hint),
  others: (paths: readonly string[]) => ok(`other calls of yours use ${paths.join(", ")}`),
  sockets: () => ok("sockets and hard links can be made there"),
  noSockets: (why: string) =>
    warn(`no control socket can be made there: ${why}`, "export SSHS_DIR=/a/local/directory"),
  fileSystem: (type: string) => ok(`it is on a local file system: ${type}`),
  network: (type: string) =>
    warn(`it is on a network file system: ${type}`, "export SSHS_DIR=/a/local/directory"),
  clock: () => ok("the clock agrees with that of the file system"),
  clockIsOff: (seconds: number) =>
    warn(
      `the clock and that of the file system differ by ${Math.round(seconds)} s`,
      "export SSHS_DIR=/a/local/directory, or set the clock",
    ),
  fromTheFuture: (path: string) =>
    warn(`${path} has a time in the future: the clock was set back`, "sshs --stop --all"),
  sleeper: (pid: number, lanes: number) =>
    ok(`the sleeper is running (pid ${pid}), with ${count(lanes, "connection")}`),
  idle: () => ok("nothing is shared, and the sleeper is not running"),
  noSleeper: (lanes: number) =>
    warn(
      `the sleeper is not running, with ${count(lanes, "connection")}`,
      "ssh HOST true (any call starts it)",
    ),
  settings: (path: string) => ok(`settings are read from ${path}`),
  settingsWrong: (problem: string, path: string) =>
    warn(`the settings are not used: ${problem}`, `edit ${path}`),
  off: () => warn("SSHS=off: nothing is shared", "unset SSHS"),
  linger: (value: string) =>
    warn(`SSHS_LINGER is not a duration: ${value}`, "export SSHS_LINGER=10m"),
  maxSessions: (value: string) =>
    warn(
      `SSHS_MAX_SESSIONS is not a number from 1 to 999999: ${value}`,
      "export SSHS_MAX_SESSIONS=10",
    ),
} as const;

/** Findings about a host. */
export const hostFindings = {
  anyHost: () => "a host without configuration of its own",
  shares: (host: string) => ok(`${host} would be shared`),
  direct: (host: string, reason: string, hint: string) =>
    warn(`${host} would use plain ssh: ${reason}`, hint),
  plan: (plan: PlanState) => ok(`plan: ${commandWords.plan(plan)}`),
  agent: (socket: string, keys: number) =>
    ok(`the agent at ${socket} answers, and has ${count(keys, "key")}`),
  noAgent: (socket: string) =>
    warn(
      `no agent answers at ${socket}`,
      "unset SSH_AUTH_SOCK, or start the agent",
    ),
  silentAgent: (socket: string, ms: number) =>
    warn(
      `the agent at ${socket} does not answer within ${ms} ms, so each call starts Deno to decide`,
      "ssh-add -l (and see what it waits for)",
    ),
  proxyNeedsSession: () =>
    warn("its proxy cannot be detached from the terminal without setsid or perl", "install perl"),
} as const;
