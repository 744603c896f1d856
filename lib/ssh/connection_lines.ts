/** The lines of `ssh -G` that affect a connection, and what they depend on themselves. */
import { exists } from "../os/files.ts";
import { keyOf, type SshConfig } from "./config_dump.ts";

/**
 * The keywords that do not affect a connection. Any other keyword separates connections, so that a keyword
 * of a future OpenSSH never joins two. ServerAlive*, IPQoS, ObscureKeystrokeTiming, ChannelTimeout,
 * PermitRemoteOpen, ForwardAgent and ForwardX11* separate too: the master's values are in force. So does
 * SetEnv: a master puts its own over that of each session (client_session2_setup()).
 */
const SESSION_KEYS = new Set([
  // The mux client sends these with each session (mux_client_request_session() in mux.c), SendEnv as
  // far as the master lets it through; see connectionWords().
  ...["requesttty", "sessiontype", "remotecommand", "escapechar", "sendenv"],
  ...["stdinnull", "forkafterauthentication"],
  // A session over a master has no ~C (process_escapes() in clientloop.c).
  "enableescapecommandline",
  // What a process logs, and where.
  ...["loglevel", "logverbose", "syslogfacility"],
  // How hard and how loudly ssh tries for a connection, not which connection.
  ...["batchmode", "connecttimeout", "connectionattempts", "numberofpasswordprompts"],
  "visualhostkey",
  // We control multiplexing.
  ...["controlmaster", "controlpath", "controlpersist"],
  // Forwards are requested from the master, whose GatewayPorts and StreamLocalBind* count.
  ...["localforward", "remoteforward", "dynamicforward"],
  ...["clearallforwardings", "exitonforwardfailure"],
  // A call with a LocalCommand goes direct, and a master is started without one.
  ...["permitlocalcommand", "localcommand"],
  // Names that only matter while the configuration is read.
  ...["host", "tag"],
]);

/** Returns the lines that affect the connection. */
export function connectionLines(config: SshConfig): string[] {
  const lines = config.lines.filter((line) => !SESSION_KEYS.has(keyOf(line)));
  // Debian's ssh sets an unset interval to 300 under BatchMode, and to 0 otherwise.
  if (config.get("batchmode") !== "yes") return lines;
  return lines.map((line) => line === "serveraliveinterval 300" ? "serveraliveinterval 0" : line);
}

/** Whether a value still contains %n, the destination as written, or %k, which is the same by default. */
export function dependsOnName(config: SshConfig): boolean {
  const aliased = (config.get("hostkeyalias") ?? "none") !== "none";
  return connectionLines(config).some((line) =>
    Array.from(line.matchAll(/%(.)/g), ([, token]) => token)
      .some((token) => token === "n" || (token === "k" && !aliased))
  );
}

// Keywords whose values are files, relative to that directory.
const FILE_KEYS = new Set([
  ...["identityfile", "certificatefile", "globalknownhostsfile", "userknownhostsfile"],
  ...["revokedhostkeys", "identityagent", "forwardagent", "xauthlocation"],
]);
const NO_FILES = new Set(["none", "no", "yes", "SSH_AUTH_SOCK"]);

// Keywords in whose values any word may be a file: commands, and libraries, which dlopen() searches for
// unless there is a slash.
const COMMAND_KEYS = new Set([
  ...["proxycommand", "knownhostscommand", "pkcs11provider", "securitykeyprovider"],
]);

/**
 * Whether a relative path makes the configuration depend on the directory of the call, `cwd`. A word of a
 * command without a slash counts if there is such a file.
 */
export function dependsOnDirectory(config: SshConfig, cwd: string): boolean {
  if (config.files.some((file) => !file.startsWith("/"))) return true;
  return connectionLines(config).some((line) => {
    const key = keyOf(line);
    const value = line.slice(key.length + 1);
    if (FILE_KEYS.has(key)) return value.split(" ").some(isRelativeFile);
    return COMMAND_KEYS.has(key) && (RELATIVE_SCRIPT.test(value) ||
      value.split(/[\s;|&<>()"'`=:,]+/).some((word, i) =>
        isRelativeFile(word) && (word.includes("/") || (i > 0 && exists(`${cwd}/${word}`)))
      ));
  });
}

/** Matches `python3 relay.py %h %p`, but not every word that ends so, as hosts in Poland (.pl) do. */
const RELATIVE_SCRIPT =
  /\b(?:(?:ba|da|k|z)?sh|deno run|lua|node|perl|php|python[\d.]*|ruby|tclsh)(?:\s+-\S+)*\s+\w[\w.-]*\.(?:js|lua|mjs|php|pl|py|rb|sh|tcl|ts)\b(?!\/)/;

function isRelativeFile(word: string): boolean {
  return !/^([/~$-]|%d|$)/.test(word) && !NO_FILES.has(word);
}
