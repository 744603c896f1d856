/**
 * How long a session's request to a master may be. It carries the command and all variables that SendEnv
 * and SetEnv name. A master closes the connection if it is too long (CHANNEL_MUX_MAX_PACKET in channels.c),
 * and the session's ssh then exits with 255, whereas an ssh with its own connection sends each variable
 * separately. Pure.
 */
import type { SshConfig } from "./config_dump.ts";

/** CHANNEL_MUX_MAX_PACKET, less what the rest of the request may take (the terminal type, for one). */
const MAX_REQUEST = 256 * 1024 - 4096;

/** Whether the request for a session with this command is short enough for a master, whatever a pattern matches. */
export function fitsRequest(
  command: readonly string[],
  config: SshConfig,
  environment: Readonly<Record<string, string>>,
): boolean {
  const names = sentNames(config);
  const sent = Object.entries(environment).filter(([name]) =>
    names === "all" || names.includes(name)
  )
    .map((variable) => variable.join("="));
  const strings = [command.join(" "), ...sent, ...config.all("setenv")];
  const lengths = strings.map((text) => new TextEncoder().encode(text).length + 4);
  return lengths.reduce((sum, length) => sum + length, 0) <= MAX_REQUEST;
}

/** What Debian and others send by default; no locale is long. */
const LOCALE = /^(LANG|LC_\w*\*?)$/;

/**
 * Returns the variables that SendEnv names, whose length a plan has to limit to
 * {@linkcode SMALL_ENVIRONMENT}. `"all"` if SendEnv has a pattern: which variables match it is not to be told
 * in sh, but that the whole environment is small.
 */
export function sentNames(config: SshConfig): string[] | "all" {
  const names = config.all("sendenv").filter((name) => !LOCALE.test(name));
  return names.some((name) => /[*?]/.test(name)) ? "all" : names;
}

/**
 * How many characters fit in any case, with any locale added: a quarter, since a character of UTF-8 has up
 * to 4 bytes.
 */
export const SMALL_ENVIRONMENT = 60_000;
