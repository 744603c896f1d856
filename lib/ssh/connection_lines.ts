/** The lines of `ssh -G` that affect a connection. Pure. */
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
