/** The variables that a connection depends on, besides those whose values `ssh -G` has filled in. Pure. */
import type { SshConfig } from "./config_dump.ts";
import { connectionLines } from "./connection_lines.ts";

/**
 * Variables that load code into ssh or replace one host by another, so that it may connect elsewhere:
 * ld.so(8), torsocks, proxychains, tsocks, resolv.conf(5), hostname(7).
 */
export const REDIRECTING: readonly string[] = [
  ...["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES"],
  ...["HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS"],
  ...["TORSOCKS_CONF_FILE", "PROXYCHAINS_CONF_FILE", "TSOCKS_CONF_FILE"],
];

/**
 * Names (as patterns of sh) of variables that are the session's own, or describe the place where a command
 * is typed, and lead no program to another server.
 */
export const OF_SESSION: readonly string[] = [
  ...["_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES", "LANG", "LANGUAGE", "LC_*", "TZ"],
  ...["TERM", "TERM_*", "TERMINFO*", "COLORTERM", "CLICOLOR*", "NO_COLOR", "LS_COLORS", "*_COLORS"],
  ...["COLORFGBG", "WINDOW", "WINDOWID", "STY", "TMUX", "TMUX_*", "ZELLIJ*", "VTE_*", "ITERM_*"],
  ...["KITTY_*", "ALACRITTY_*", "KONSOLE_*", "GNOME_TERMINAL_*", "WEZTERM_*", "GHOSTTY_*", "WT_*"],
  ...["DESKTOP_STARTUP_ID", "XDG_ACTIVATION_TOKEN", "XDG_SESSION_*", "XDG_SEAT*", "XDG_VTNR"],
  ...["INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "SSH_CLIENT", "SSH_CONNECTION"],
  ...["SSH_TTY", "GPG_TTY", "EDITOR", "VISUAL", "PAGER", "MANPAGER", "LESS*", "HIST*", "PS[0-9]"],
  ...["GIT_*", "RSYNC_*", "VSCODE_*", "SSHS", "SSHS_*", "DENO_*", "NODE_OPTIONS"],
];

const IS_OF_SESSION = new RegExp(`^(${OF_SESSION.join("|").replaceAll("*", ".*")})$`);

/**
 * Returns the variables that affect the connection, sorted, whether or not they are set. Where a program or
 * a library of the user's has a part in it, that is the whole environment but the session's own.
 *
 * @param options.hasJump its jump host's connection has an identity of its own
 */
export function environmentNames(
  config: SshConfig,
  environment: Readonly<Record<string, string>>,
  options: { readonly hasJump: boolean },
): string[] {
  const names = new Set<string>(REDIRECTING);
  // With another IdentityAgent ssh puts that one into the variable, but only after it has started a ProxyCommand
  // or a jump host (main() in ssh.c).
  const hasOwnAgent = (config.get("identityagent") ?? "SSH_AUTH_SOCK") !== "SSH_AUTH_SOCK";
  if (!hasOwnAgent || config.get("proxyjump") || hasProxyCommand(config)) {
    names.add("SSH_AUTH_SOCK");
  }
  if (config.get("forwardx11") === "yes") names.add("DISPLAY").add("XAUTHORITY");
  if (usesTickets(config)) names.add("KRB5CCNAME").add("KRB5_CONFIG");
  if (runsOthers(config, options)) {
    Object.keys(environment).filter((name) => !IS_OF_SESSION.test(name))
      .forEach((name) => names.add(name));
  }
  // ssh's own ${NAME}, and $NAME: in IdentityAgent, in SecurityKeyProvider, in a command's shell.
  for (const line of connectionLines(config)) variablesIn(line).forEach((name) => names.add(name));
  return [...names].sort();
}

/** Returns the names of the variables in a text: `$NAME` and `${NAME}`. */
export function variablesIn(text: string): string[] {
  return Array.from(text.matchAll(/\$\{?([A-Za-z_][A-Za-z0-9_]*)/g), ([, name]) => name);
}

/** Whether a program or a library of the user's has a part in the connection, which may read any variable. */
export function runsOthers(config: SshConfig, options: { readonly hasJump: boolean }): boolean {
  const isSet = (key: string, ...unset: string[]) =>
    ![undefined, "none", ...unset].includes(config.get(key));
  return (!options.hasJump && (hasProxyCommand(config) || isSet("proxyjump"))) ||
    isSet("knownhostscommand") || isSet("pkcs11provider") ||
    isSet("securitykeyprovider", "internal", "$SSH_SK_PROVIDER");
}

/** Whether a program connects for ssh. */
export function hasProxyCommand(config: SshConfig): boolean {
  return (config.get("proxycommand") ?? "none") !== "none";
}

/** Whether a login may use Kerberos. */
export function usesTickets(config: SshConfig): boolean {
  return config.get("gssapiauthentication") === "yes" || config.get("gssapikeyexchange") === "yes";
}
