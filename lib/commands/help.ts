/**
 * `sshs --help`: a short manual, 80 columns wide; each description starts with a verb. `sshs --version`: the
 * versions that a bug report needs, on one line.
 */
import { DEFAULT_LINGER, DEFAULT_MAX_SESSIONS } from "../call/settings.ts";
import { DENO_VERSION, VERSION } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { findRealSsh, sshVersion } from "../ssh/real_ssh.ts";
import { USAGE } from "./command.ts";
import { duration } from "./table.ts";

/** What each command does. */
const COMMANDS = {
  list: "list shared connections and when they close; --watch: keep it current",
  stop: "stop accepting sessions; close after the last one, or --now",
  warm: "log in to many hosts at once, so that the first calls need not;\n" +
    "      - reads hosts from stdin, one a line",
  hold: "keep a connection open for 30m, 2h, 1d ..., or forever; 0 releases it",
  with: "run a command with shared connections of its own, which close with it;\n" +
    "      log in to the hosts first, and exit 255 if a login fails",
  fresh: "log in anew; the old connection accepts no new sessions",
  why: "say what would be done with a call, and why; use no network",
  doctor: "find what prevents sharing, and say what to do about it",
  install: "put launchers, man page and completions into DIR, or ~/.local",
  uninstall: "remove what was installed; close what is shared, unless another\n" +
    "      installation uses it",
  completions: "print the completions of sshs for that shell",
  help: "show this text",
  version: "show the versions of sshs, Deno and OpenSSH",
} as const satisfies Record<keyof typeof USAGE, string>;

export const HELP = `sshs - ssh with opportunistic connection sharing

  sshs [SSH ARGUMENTS]
      run ssh over a shared connection; open one if there is none

Commands, only as the first word and only under the name sshs:

${
  Object.entries(USAGE).map(([name, usage]) =>
    `  ${usage}\n      ${COMMANDS[name as keyof typeof USAGE]}`
  ).join("\n")
}

ssh -O check|exit|stop|forward|cancel HOST controls the shared connection,
unless you name a control socket of your own.

--list, --warm and --why print JSON with --json. Commands exit 0, 1 if
something failed or is wrong, 2 for wrong use. A call exits as ssh does: 255
if ssh fails, 126 or 127 if no ssh can be run; --with exits as its command.

Environment:

  SSHS=off            become plain ssh
  SSHS_SSH            the real ssh, else the first in PATH that is not sshs
  SSHS_DIR            where sockets and state are, else $XDG_RUNTIME_DIR/sshs,
                      else \${TMPDIR:-/tmp}/sshs-UID
  SSHS_LINGER         how long an idle connection stays: 90, 10m, 0, forever;
                      ${duration(DEFAULT_LINGER)} unless set; ControlPersist takes precedence
  SSHS_MAX_SESSIONS   sessions on one connection, ${DEFAULT_MAX_SESSIONS} unless set
  SSHS_LOOK           seconds between checks of connections in use, 1 unless set
  NO_COLOR            no colours

Files:

  ~/.config/sshs/config.json
      { "linger": "10m", "maxSessions": 10, "share": true,
        "hosts": [{ "host": "*.example.com", "linger": 0, "share": false }] }
      "share": "always" is for tools that bring a ControlPath of their own,
      "forwards": true for calls with -L, -R and -D
  ~/.ssh/config, /etc/ssh/ssh_config
      ssh's own, used as always; ControlPersist is the linger
`;

/** `sshs 0.2.0, Deno 2.9.0, OpenSSH_9.2p1 ...`. */
export async function versionLine(system: Pick<System, "env" | "run">): Promise<string> {
  const ssh = findRealSsh(system);
  const openssh = ssh === undefined ? "no ssh in PATH" : await sshVersion(ssh, system);
  return `sshs ${VERSION}, Deno ${DENO_VERSION}, ${openssh}`;
}
