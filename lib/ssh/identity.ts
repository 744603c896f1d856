/**
 * A connection identity: two calls share a master only if ssh would have connected the same way for
 * both. It consists of the answer of `ssh -G`, without the session's own part, and whatever else ssh
 * looks at.
 */
import { exists, isExecutable } from "../os/files.ts";
import { inPath } from "../os/program.ts";
import { keyOf, type SshConfig } from "./configuration.ts";
import { digestOf } from "./keys.ts";

/**
 * The keywords that do not affect a connection. Any other keyword separates connections, so that a keyword
 * of a future OpenSSH never joins two. ServerAlive*, IPQoS, ObscureKeystrokeTiming, ChannelTimeout,
 * PermitRemoteOpen, ForwardAgent and ForwardX11* separate too: the master's values are in force. So does
 * SetEnv: a master puts its own over that of each session (client_session2_setup()).
 */
const SESSION_KEYS = new Set([
  // The mux client sends these with each session (mux_client_request_session() in mux.c), SendEnv as
  // far as the master lets it through; see connectionOptions().
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

// Keywords whose values are files, relative to the directory that ssh is started in.
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

/** Where a call is made from. */
export interface IdentityContext {
  /** The path of the real ssh. */
  readonly ssh: string;
  /** The destination as written. */
  readonly destination: string;
  /** The directory that the call is made in. */
  readonly cwd: string;
  /** The network namespace, if there is one: a container may share our files but not our network. */
  readonly network?: string;
  /** The pid namespace, likewise: leases and masters are known by their pids. */
  readonly pids?: string;
  /** The systemd service that the call runs in: its masters end with it. */
  readonly service?: string;
  /** A digest of the contents of the key and certificate files (readKeys()). */
  readonly keys?: string;
  /** The identity of the jump host's connection, if known. */
  readonly jump?: string;
  env(name: string): string | undefined;
}

/** Returns the identity as text, one fact per line. If the texts are equal, calls can share a connection. */
export function identityText(config: SshConfig, context: IdentityContext): string {
  const lines = [...connectionLines(config), `ssh ${context.ssh}`];
  for (const name of environmentNames(config)) {
    lines.push(`environment ${name} ${JSON.stringify(context.env(name) ?? null)}`);
  }
  for (const fact of ["network", "pids", "service", "keys"] as const) {
    if (context[fact] !== undefined) lines.push(`${fact} ${context[fact]}`);
  }
  if (dependsOnName(config)) lines.push(`destination ${context.destination}`);
  if (dependsOnDirectory(config, context.cwd)) lines.push(`directory ${context.cwd}`);
  if (context.jump) {
    lines.push(...context.jump.trimEnd().split("\n").map((line) => `jump ${line}`));
  } else {
    const program = proxyProgram(config, context.env("PATH"));
    if (program) lines.push(`program ${program}`);
  }
  if (!context.jump && config.get("proxyjump")) {
    // Another ssh reads the jump host's own settings, from these files (-F is passed on to it).
    lines.push(...config.files.map((file) => `file ${file}`));
  }
  return lines.join("\n") + "\n";
}

/** Returns a short name for a text, such as an identity: 16 hex digits of its SHA-256. */
export async function shortDigest(text: string): Promise<string> {
  return (await digestOf(new TextEncoder().encode(text))).slice(0, 16);
}

/** Removes the values of variables, which may be secrets, so that the text may be stored in a file. */
export function withoutValues(text: string): string {
  return text.replace(/^((?:jump )*(?:environment \S+|setenv [^\s=]+))[ =].*$/gm, "$1");
}

/** Whether a master for this configuration may open the caller's agent or display to the far side. */
export function sharesAgentOrDisplay(config: SshConfig): boolean {
  return (config.get("forwardagent") ?? "no") !== "no" || config.get("forwardx11") === "yes";
}

/**
 * Variables that load code into ssh or replace one host by another, so that it may connect elsewhere:
 * torsocks, proxychains, tsocks, resolv.conf(5), hostname(7).
 */
export const REDIRECTING: readonly string[] = [
  ...["LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "HOSTALIASES", "LOCALDOMAIN"],
  ...["TORSOCKS_CONF_FILE", "PROXYCHAINS_CONF_FILE", "TSOCKS_CONF_FILE"],
];

/**
 * Variables that tell the programs which serve as ProxyCommand where to connect, or as whom. None that may
 * hold a secret: plans contain their values.
 */
export const OF_TUNNELS: readonly string[] = [
  ...["HOME", "KUBECONFIG", "DOCKER_HOST", "DOCKER_CONTEXT", "AZURE_CONFIG_DIR"],
  ...["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"],
  ...["CLOUDSDK_CONFIG", "CLOUDSDK_ACTIVE_CONFIG_NAME", "CLOUDSDK_CORE_PROJECT"],
  ...["TELEPORT_HOME", "TELEPORT_CLUSTER", "TELEPORT_PROXY", "BOUNDARY_ADDR", "VAULT_ADDR"],
];

/** Returns the variables that affect the connection besides those that `ssh -G` has expanded, sorted. */
export function environmentNames(config: SshConfig): string[] {
  const names = new Set<string>(REDIRECTING);
  if (asksCallersAgent(config)) names.add("SSH_AUTH_SOCK");
  if (config.get("forwardx11") === "yes") names.add("DISPLAY").add("XAUTHORITY");
  if (config.get("gssapiauthentication") === "yes" || config.get("gssapikeyexchange") === "yes") {
    names.add("KRB5CCNAME");
  }
  for (const name of hasProxyCommand(config) ? OF_TUNNELS : []) names.add(name);
  // ssh's own ${NAME}, and $NAME: in IdentityAgent, in SecurityKeyProvider, in a command's shell.
  for (const line of connectionLines(config)) {
    for (const [, name] of line.matchAll(/\$\{?([A-Za-z_][A-Za-z0-9_]*)/g)) names.add(name);
  }
  return [...names].sort();
}

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

/** Returns the lines of `ssh -G` that affect the connection. */
function connectionLines(config: SshConfig): string[] {
  const lines = config.lines.filter((line) => !SESSION_KEYS.has(keyOf(line)));
  // Debian's ssh sets an unset interval to 300 under BatchMode, and to 0 otherwise.
  if (config.get("batchmode") !== "yes") return lines;
  return lines.map((line) => line === "serveraliveinterval 300" ? "serveraliveinterval 0" : line);
}

/**
 * Whether the agent of SSH_AUTH_SOCK matters. With another IdentityAgent ssh puts that one into the
 * variable, but only after it has started a ProxyCommand or a jump host (main() in ssh.c).
 */
function asksCallersAgent(config: SshConfig): boolean {
  const agent = config.get("identityagent") ?? "SSH_AUTH_SOCK";
  return agent === "SSH_AUTH_SOCK" || config.get("proxyjump") !== undefined ||
    hasProxyCommand(config);
}

/** Whether a program connects for ssh. */
export function hasProxyCommand(config: SshConfig): boolean {
  return (config.get("proxycommand") ?? "none") !== "none";
}

/** Returns the program that a ProxyCommand begins with, as PATH finds it, if it is a bare name. */
function proxyProgram(config: SshConfig, path?: string): string | undefined {
  const [, name] = /^(?:exec\s+)?([\w.+-]+)(?:\s|$)/.exec(config.get("proxycommand") ?? "") ?? [];
  return name && inPath(name, path).find(isExecutable);
}

/** Whether a value still contains %n, the destination as written, or %k, which is the same by default. */
function dependsOnName(config: SshConfig): boolean {
  const aliased = (config.get("hostkeyalias") ?? "none") !== "none";
  return connectionLines(config).some((line) =>
    Array.from(line.matchAll(/%(.)/g), ([, token]) => token)
      .some((token) => token === "n" || (token === "k" && !aliased))
  );
}
