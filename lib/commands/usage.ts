/** Our commands: what each takes and does. */

/** The words that each command takes, and what it does, as the hints, --help and the manual give them. */
export const COMMANDS = {
  list: {
    takes: "[--watch|--json]",
    does: "list shared connections and when they close; --watch: keep it current",
  },
  stop: {
    takes: "HOST|--all [--now]",
    does: "stop accepting sessions; close after the last one, or --now",
  },
  warm: {
    takes: "[--json] [OPTIONS] HOST...|-",
    does: "log in to many hosts at once, so that the first calls need not;\n" +
      "      - reads hosts from stdin, one a line",
  },
  hold: {
    takes: "DURATION [OPTIONS] HOST",
    does: "keep a connection open for 30m, 2h, 1d ..., or forever; 0 releases it",
  },
  socket: {
    takes: "[OPTIONS] HOST",
    does: "print the control socket of an open connection, for other tools",
  },
  with: {
    takes: "[[OPTIONS] HOST...] -- COMMAND [ARG...]",
    does: "run a command with shared connections of its own, which close with it;\n" +
      "      log in to the hosts first, and exit 255 if a login fails",
  },
  fresh: {
    takes: "[OPTIONS] HOST [COMMAND...]",
    does: "log in anew, and forget what was learned of the server; the old\n" +
      "      connection accepts no new sessions",
  },
  why: {
    takes: "[--json] [OPTIONS] HOST [COMMAND...]",
    does: "say what would be done with a call, and why; use no network",
  },
  doctor: {
    takes: "[[OPTIONS] HOST]",
    does: "find what prevents sharing, and say what to do about it",
  },
  install: {
    takes: "[--prefix DIR]",
    does: "put launchers, man page and completions into DIR, or ~/.local",
  },
  uninstall: {
    takes: "[--prefix DIR] [--now]",
    does: "remove what was installed; close what is shared, unless another\n" +
      "      installation uses it; --now: end open sessions too",
  },
  completions: {
    takes: "bash|zsh|fish",
    does: "print the completions of sshs for that shell",
  },
  help: { takes: "", does: "show this text" },
  version: { takes: "", does: "show the versions of sshs, Deno and OpenSSH" },
} as const;

/** The name of a command. */
export type Name = keyof typeof COMMANDS;

/** The names of all commands. */
export const NAMES = Object.keys(COMMANDS) as Name[];

/** Returns how a command is typed. */
export function usageOf(name: Name): string {
  return `sshs --${name} ${COMMANDS[name].takes}`.trimEnd();
}
