/**
 * What will be done with a call, and why: pure. Two looks, since the second needs `ssh -G`: what the
 * arguments alone say, and what ssh's configuration makes of them. `--why` prints the reasons.
 */
import { parseConfigOption, type SshArgs, type SshOption } from "../ssh/arguments.ts";
import type { SshConfig } from "../ssh/configuration.ts";
import type { Settings } from "./settings.ts";

/** A call of ssh that names a destination. */
export type Call = Extract<SshArgs, { kind: "call" }>;

export type Plan =
  | { readonly kind: "share"; readonly call: Call }
  /** Becomes plain ssh with the user's own argv. */
  | { readonly kind: "direct"; readonly reason: string; readonly remedy?: string };

/** Options whose work ends with their own process, or that speak to a master themselves. */
const DIRECT: Readonly<Record<string, string>> = {
  M: "-M starts a connection master of your own",
  S: "-S names a control socket of your own",
  O: "-O speaks to a connection master of your own",
  G: "-G only prints the configuration",
  Q: "-Q only prints what ssh supports",
  V: "-V only prints the version",
  Z: "-Z is unknown to sshs",
  N: "-N runs no session, and over a master it would end at once",
  // Before OpenSSH 9.4 it blocks over a master. Since then the session's process is another one than the
  // call's, so that a lane would take it for ended, and end with it.
  f: "-f goes to the background, where a lane would lose sight of the session",
  D: "-D forwards ports, and over a master they would stay bound after this call",
  L: "-L forwards ports, and over a master they would stay bound after this call",
  R: "-R forwards ports, and over a master they would stay bound after this call",
  w: "-w makes a tunnel, which cannot be shared",
};

/** What the arguments alone say. */
export function planArgs(args: SshArgs): Plan {
  switch (args.kind) {
    case "invalid":
      return direct(args.reason);
    case "no-destination":
      return direct("there is no destination");
    case "call":
      return directOption(args.options) ?? { kind: "share", call: args };
    default:
      return args satisfies never;
  }
}

function directOption(options: readonly SshOption[]): Plan | undefined {
  for (const { letter, value } of options) {
    if (letter in DIRECT) return direct(DIRECT[letter], `leave out -${letter}`);
    if (letter !== "o") continue;
    const option = parseConfigOption(value ?? "");
    if (option.key === "controlpath") return direct("ControlPath is given on the command line");
    if (option.key === "controlmaster" && option.value.toLowerCase() !== "no") {
      return direct("ControlMaster is given on the command line");
    }
  }
}

/** What ssh's configuration and our own settings make of it. */
export function planConfig(call: Call, config: SshConfig, settings: Settings): Plan {
  if (!settings.share) return direct("sshs is switched off for this host in its config.json");
  for (const key of ["localforward", "remoteforward", "dynamicforward"]) {
    // A forward that the session itself asks to clear is none: scp and sftp do so.
    if (config.get(key) !== undefined && config.get("clearallforwardings") !== "yes") {
      return direct(
        `the configuration forwards ports (${key})`,
        "pass -o ClearAllForwardings=yes, or keep forwards under a Host name of their own",
      );
    }
  }
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
  const master = config.get("controlmaster") ?? "no";
  if (master === "ask" || master === "autoask") {
    return direct(`ControlMaster ${master} wants to be asked for each session`);
  }
  return { kind: "share", call };
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
export function takesPlace(call: Call): boolean {
  return !call.options.some(({ letter }) => letter === "W");
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

/** Seconds that a lane stays after its last session, once ssh_config has been heard. */
export function lingerOf(config: SshConfig, settings: Settings, forwards: boolean): number {
  if (settings.lingerForHost) return settings.linger;
  const persist = config.get("controlpersist");
  // "no" is what ssh prints when nothing is set, so it says nothing.
  if (persist === "yes") return Infinity;
  if (persist && /^\d+$/.test(persist)) return Number(persist);
  // An idle master that can forward would leave the agent open to the far side.
  return forwards && !settings.lingerSet ? 0 : settings.linger;
}

function direct(reason: string, remedy?: string): Plan {
  return { kind: "direct", reason, remedy };
}
