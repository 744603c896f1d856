/**
 * Why a call goes direct, if it does: pure. Two looks, since the second needs `ssh -G`: what the words
 * alone say, and what ssh's configuration and our settings make of them. `--why` prints the reasons.
 */
import { parseConfigOption, type SshArgs, type SshCall, type SshOption } from "../ssh/arguments.ts";
import { isUntrustedX11, slowExec, type SshConfig } from "../ssh/configuration.ts";
import { forwardsOf } from "../lane/forwards.ts";
import type { Basis } from "./decide.ts";
import type { Settings } from "./settings.ts";
import type { Message } from "../os/terminal.ts";

/** The call becomes plain ssh with the user's own words. */
export interface Direct {
  readonly kind: "direct";
  readonly reason: string;
  /** What to type so that the call shares. */
  readonly remedy?: string;
  /** What the user should hear now: something is wrong, and it is no choice of theirs. */
  readonly notice?: Message;
  /** What it was decided from, once that is more than the words. */
  readonly basis?: Basis;
  /** The control socket of the lane that the call speaks to (-O): see answer.ts. */
  readonly socket?: string;
}

/** Options whose work ends with their own process, or that speak to a master themselves. */
const DIRECT: Readonly<Record<string, string>> = {
  M: "-M starts a connection master of your own",
  S: "-S names a control socket of your own",
  O: "-O speaks to a connection master, and none is shared for this host",
  G: "-G only prints the configuration",
  Q: "-Q only prints what ssh supports",
  V: "-V only prints the version",
  Z: "-Z is unknown to sshs",
  N: "-N runs no session, and over a master it would end at once",
  // Before OpenSSH 9.4 it blocks over a master. Since then the session's process is another one than the
  // call's, so that a lane would take it for ended, and end with it.
  f: "-f goes to the background, where a lane would lose sight of the session",
  w: "-w makes a tunnel, which cannot be shared",
};

/** What the arguments alone say. */
export function directByWords(args: SshArgs): Direct | undefined {
  switch (args.kind) {
    case "invalid":
      return direct(args.reason);
    case "no-destination":
      return direct("there is no destination");
    case "call":
      return directOption(args.options);
    default:
      return args satisfies never;
  }
}

function directOption(options: readonly SshOption[]): Direct | undefined {
  for (const { letter } of options) {
    if (letter in DIRECT) return direct(DIRECT[letter], `leave out -${letter}`);
  }
}

/**
 * The call without the words by which a tool brings a connection master of its own (`-o ControlPath=...`),
 * where the settings say that it shares even so. `ControlPath=none` asks for no master at all, and stays.
 */
export function putMasterAside(call: SshCall, { share }: Settings): SshCall {
  if (share !== "always" || call.options.some(wantsNoMaster)) return call;
  const stays = (option: SshOption) =>
    !["controlpath", "controlmaster", "controlpersist"].includes(configOption(option)?.key ?? "");
  return {
    ...call,
    options: call.options.filter(stays),
    ahead: call.options.slice(0, call.ahead).filter(stays).length,
  };
}

function wantsNoMaster(option: SshOption): boolean {
  const { key, value } = configOption(option) ?? {};
  return key === "controlpath" && value?.toLowerCase() === "none";
}

function configOption({ letter, value }: SshOption): { key: string; value: string } | undefined {
  return letter === "o" ? parseConfigOption(value ?? "") : undefined;
}

/** Why a call goes direct that names a connection master of its own. */
function directByMaster({ options }: SshCall): Direct | undefined {
  for (const option of options) {
    const { key, value } = configOption(option) ?? {};
    const remedy = wantsNoMaster(option)
      ? undefined
      : 'set "share" to "always" for this host in config.json';
    if (key === "controlpath") return direct("ControlPath is given on the command line", remedy);
    if (key === "controlmaster" && value?.toLowerCase() !== "no") {
      return direct("ControlMaster is given on the command line", remedy);
    }
  }
}

/** What ssh's configuration, which took so many ms to read, and our own settings make of it. */
export function directByConfig(
  call: SshCall,
  config: SshConfig,
  settings: Settings,
  took: number,
): Direct | undefined {
  const slow = slowExec(config, took);
  if (slow) return direct(slow);
  if (!settings.share) {
    return direct(
      "sharing is switched off for this host in config.json",
      'set "share" to true for this host in config.json',
    );
  }
  const master = directByMaster(call);
  if (master) return master;
  const forwards = directByForwards(call, config, settings);
  if (forwards) return forwards;
  if (isSet(config.get("tunnel"), "no", "false")) return direct("the configuration makes a tunnel");
  if (config.get("sessiontype") === "none" && takesPlace(call)) {
    return direct("SessionType none runs no session");
  }
  if (config.get("permitlocalcommand") === "yes" && isSet(config.get("localcommand"), "none")) {
    return direct(
      "LocalCommand runs with each connection of its own",
      "pass -o PermitLocalCommand=no",
    );
  }
  if (config.get("forkafterauthentication") === "yes") {
    return direct(
      "the configuration sends ssh to the background",
      "pass -o ForkAfterAuthentication=no",
    );
  }
  if (isUntrustedX11(config)) {
    return direct("untrusted X11 ends a while after its connection began");
  }
  const mode = config.get("controlmaster") ?? "no";
  if (mode === "ask" || mode === "autoask") {
    return direct(`ControlMaster ${mode} wants to be asked for each session`);
  }
}

/** Why a call goes direct that forwards ports. */
function directByForwards(
  { options }: SshCall,
  config: SshConfig,
  settings: Settings,
): Direct | undefined {
  const forwards = forwardsOf(config);
  if (forwards?.length === 0) return undefined;
  if (!settings.forwards) {
    const word = options.find(({ letter }) => "DLR".includes(letter));
    const setting = 'set "forwards" to true for this host in config.json';
    return word
      ? direct(`-${word.letter} forwards ports, and over a master they would stay bound`, setting)
      : direct(
        "the configuration forwards ports",
        `pass -o ClearAllForwardings=yes, or ${setting}`,
      );
  }
  if (!forwards) return direct("a path that it forwards is relative, or has a blank");
  if (forwards.some(({ type, listenPort }) => type === "remote" && listenPort === 0)) {
    return direct("it forwards a port of the server's choice, which only plain ssh tells");
  }
}

function isSet(value: string | undefined, ...unset: string[]): boolean {
  return value !== undefined && !unset.includes(value);
}

/** Major and minor of `ssh -V`'s "OpenSSH_9.2p1 ..."; 0.0 of anything else. */
export function versionOf(text: string): [number, number] {
  const match = /OpenSSH_(\d+)\.(\d+)/.exec(text);
  return match ? [Number(match[1]), Number(match[2])] : [0, 0];
}

/** Whether the call asks for a session, which takes one of sshd's MaxSessions: `-W` opens a mere channel. */
export function takesPlace(call: SshCall): boolean {
  return !call.options.some(({ letter }) => letter === "W");
}

/** Whether the session has a terminal even where the call has none: `-tt`, `RequestTTY force`. */
export function forcesTerminal(call: SshCall, config: SshConfig): boolean {
  const letters = call.options.map(({ letter }) => letter).filter((letter) => /[tT]/.test(letter));
  if (letters.length === 0) return config.get("requesttty") === "force";
  return letters.at(-1) === "t" && letters.at(-2) === "t";
}

/** Whether the user wants no words but ssh's: `-q`, BatchMode, LogLevel QUIET. */
export function wantsQuiet(options: readonly SshOption[]): boolean {
  return options.some(({ letter, value }) => {
    if (letter === "q") return true;
    if (letter !== "o") return false;
    const option = parseConfigOption(value ?? "");
    return (option.key === "batchmode" && /^(yes|true)$/i.test(option.value)) ||
      (option.key === "loglevel" && /^(quiet|fatal)$/i.test(option.value));
  });
}

/** Seconds that a lane to this machine itself stays: it may run through a tunnel, and keep that open. */
const LOOPBACK_LINGER = 10;

/** Seconds that a lane stays after its last session, once ssh_config has been heard. */
export function lingerOf(config: SshConfig, settings: Settings, forwards: boolean): number {
  if (settings.lingerForHost) return settings.linger;
  const persist = config.get("controlpersist");
  // "no" is what ssh prints when nothing is set, so it says nothing.
  if (persist === "yes") return Infinity;
  if (persist && /^\d+$/.test(persist)) return Number(persist);
  if (settings.lingerSet) return settings.linger;
  // An idle master that can forward would leave the agent open to the far side.
  if (forwards) return 0;
  return isLoopback(config.get("hostname") ?? "") ? LOOPBACK_LINGER : settings.linger;
}

function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d+){3}|::1)$/i.test(host);
}

function direct(reason: string, remedy?: string): Direct {
  return { kind: "direct", reason, remedy };
}
