/**
 * Decides whether a call goes direct, and why. Pure. Whether it does by its arguments alone is the launcher's
 * rule (launcher.sh); here are the reasons that `--why` prints for that, and the rules that need `ssh -G`.
 */
import { forwardsOf } from "../lane/forwards.ts";
import { MUX_FWD_REMOTE } from "../lane/mux_protocol.ts";
import {
  parseSshArgs,
  type SshArgs,
  type SshCall,
  type SshOption,
  withoutOptions,
} from "../ssh/arguments.ts";
import type { SshConfig } from "../ssh/config_dump.ts";
import { parseConfigOption } from "../ssh/config_text.ts";
import { type Direct, direct } from "./decision.ts";
import type { Settings } from "./settings.ts";

/** Options whose effect ends with their own process, or that talk to a master themselves. */
const DIRECT: Readonly<Record<string, string>> = {
  M: "-M starts a connection master of your own",
  S: "-S names a control socket of your own",
  O: "-O controls a connection master, and sshs has none for this call",
  G: "-G only prints the configuration",
  Q: "-Q only prints what ssh supports",
  V: "-V only prints the version",
  Z: "-Z is unknown to sshs",
  P: "-P takes a value only since OpenSSH 9.4, so what follows it may be the host or not",
  N: "-N runs no session, and over a master it would end at once",
  // Before OpenSSH 9.4 it blocks over a master. Since then the session runs in another process than the
  // call, so a lane would think that the session has ended, and end as well.
  f: "-f goes to the background, where sshs would lose track of the session",
  w: "-w makes a tunnel, which cannot be shared",
};

/** Returns why a call goes direct by its arguments alone, if it does. */
export function directByWords(args: SshArgs): Direct | undefined {
  if (args.kind === "invalid") return direct(args.reason);
  const isCall = args.kind === "call";
  const option = args.options.find(({ letter }) =>
    letter in DIRECT && (isCall || "QV".includes(letter))
  );
  if (!option) return isCall ? undefined : direct("there is no destination");
  const { letter } = option;
  // Without one of these it would be another call.
  return direct(DIRECT[letter], "GOQV".includes(letter) ? undefined : `leave out -${letter}`);
}

/**
 * Returns the call without the options with which a tool brings its own connection master (`-S`,
 * `-o ControlPath=...`), if the settings say to share even so. `-S none` and `ControlPath=none` ask for no
 * master at all, and are kept.
 */
export function putMasterAside(call: SshCall, { share }: Settings): SshCall {
  if (share !== "always" || call.options.some(wantsNoMaster)) return call;
  const isOfMaster = (option: SshOption) =>
    option.letter === "S" ||
    ["controlpath", "controlmaster", "controlpersist"].includes(configOption(option)?.key ?? "");
  const words = withoutOptions(call, isOfMaster);
  return parseSshArgs([...words, ...call.command]) as SshCall;
}

function wantsNoMaster(option: SshOption): boolean {
  const { key, value } = configOption(option) ?? {};
  const path = option.letter === "S" ? option.value : key === "controlpath" ? value : undefined;
  return path?.toLowerCase() === "none";
}

function configOption({ letter, value }: SshOption): { key: string; value: string } | undefined {
  return letter === "o" ? parseConfigOption(value ?? "") : undefined;
}

/** Returns why a call that names its own connection master goes direct. */
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

/** How long a `Match exec` may take before logging in is better than asking first, ms. */
const SLOW = 400;

/**
 * Returns why a call goes direct by ssh's configuration and our own settings, if it does. `took` is how long
 * the configuration took to read, ms.
 */
export function directByConfig(
  call: SshCall,
  config: SshConfig,
  settings: Settings,
  took: number,
): Direct | undefined {
  // With a slow one, asking costs more than a shared connection saves, since ssh runs it again for the session.
  if (config.execs.length > 0 && took > SLOW) {
    return direct(`Match exec takes ${(took / 1000).toFixed(1)} s, and sharing would run it again`);
  }
  if (settings.problem) return direct(`sharing is off: ${settings.problem}`, "correct that");
  if (!settings.share) {
    return direct(
      "sharing is switched off for this host in config.json",
      'set "share" to true for this host in config.json',
    );
  }
  return directByMaster(call) ?? directByForwards(call, config, settings) ??
    directByKeyword(call, config);
}

/** Returns why a call goes direct because of a single keyword, if it does. */
function directByKeyword({ options }: SshCall, config: SshConfig): Direct | undefined {
  const is = (key: string, ...values: string[]) => values.includes(config.get(key) ?? "");
  const isSet = (key: string, ...unset: string[]) =>
    config.get(key) !== undefined && !is(key, ...unset);
  if (isSet("tunnel", "no", "false")) return direct("the configuration makes a tunnel");
  // -W only opens a channel.
  if (is("sessiontype", "none") && !options.some(({ letter }) => letter === "W")) {
    return direct("SessionType none runs no session");
  }
  if (is("permitlocalcommand", "yes") && isSet("localcommand", "none")) {
    const reason = "LocalCommand runs for each connection, not for each session";
    return direct(reason, "pass -o PermitLocalCommand=no");
  }
  if (is("forkafterauthentication", "yes")) {
    const reason = "the configuration sends ssh to the background";
    return direct(reason, "pass -o ForkAfterAuthentication=no");
  }
  // From the start of a connection (client_x11_get_proto()).
  const isUntrusted = is("forwardx11", "yes") && !is("forwardx11trusted", "yes");
  if (isUntrusted && isSet("forwardx11timeout", "0")) {
    return direct("untrusted X11 forwarding ends some time after its connection began");
  }
  if (is("controlmaster", "ask", "autoask")) {
    return direct(`ControlMaster ${config.get("controlmaster")} asks before each session`);
  }
}

/** Returns why a call that forwards ports goes direct, if it does. */
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
      ? direct(`-${word.letter} forwards ports, which a shared connection keeps open`, setting)
      : direct(
        "the configuration forwards ports",
        `pass -o ClearAllForwardings=yes, or ${setting}`,
      );
  }
  if (!forwards) return direct("it forwards a path that is relative or has a blank");
  if (forwards.some(([type, , port]) => type === MUX_FWD_REMOTE && port === 0)) {
    return direct("it forwards a port that the server chooses, which only plain ssh tells");
  }
}

/** Seconds that a lane to this machine itself stays: it may use a tunnel, and would keep that open. */
const LOOPBACK_LINGER = 10;

/** Returns the seconds that a lane stays after its last session, taking ssh_config into account. */
export function lingerOf(config: SshConfig, settings: Settings, forwards: boolean): number {
  if (settings.lingerFrom === "host") return settings.linger;
  const persist = config.get("controlpersist");
  // ssh prints "no" when nothing is set, so it means nothing.
  if (persist === "yes") return Infinity;
  if (persist && /^\d+$/.test(persist)) return Number(persist);
  if (settings.lingerFrom === "user") return settings.linger;
  // An idle master that can forward would leave the agent exposed to the server.
  if (forwards) return 0;
  const isLoopback = /^(localhost|127(\.\d+){3}|::1)$/i.test(config.get("hostname") ?? "");
  return isLoopback ? LOOPBACK_LINGER : settings.linger;
}
