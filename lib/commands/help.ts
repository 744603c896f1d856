/**
 * `sshs --help`: a short manual, 80 columns wide; each description starts with a verb. `sshs --version`: the
 * versions that a bug report needs, on one line.
 */
import { DEFAULT_LINGER, DEFAULT_MAX_SESSIONS } from "../call/settings.ts";
import type { Given } from "../os/given.ts";
import { DENO_VERSION, VERSION } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { sshVersion } from "../ssh/real_ssh.ts";
import { duration } from "./phrases.ts";
import { COMMANDS, NAMES, usageOf } from "./usage.ts";

/** What `--help` prints. */
export const HELP = `sshs - ssh with opportunistic connection sharing

  sshs [SSH ARGUMENTS]
      run ssh over a shared connection; open one if there is none

For example:

  ssh web1 uptime        logs in, and leaves the connection open
  ssh web1 uptime        uses it, and so do scp, sftp, git and rsync
  sshs --list            shows it
  sshs --why web1        says why a call is shared, or why not
  SSHS=off ssh web1      does without sshs

Commands, only as the first word and only under the name sshs:

${NAMES.map((name) => `  ${usageOf(name)}\n      ${COMMANDS[name].does}`).join("\n")}

ssh -O check|exit|stop|forward|cancel HOST controls the shared connection,
unless you name a control socket of your own.

--list, --warm and --why print JSON with --json. Commands exit 0, 1 if
something failed or is wrong, 2 for wrong use. A call exits as ssh does: 255
if ssh fails, 126 or 127 if no ssh can be run; --with exits as its command.

Environment:

  SSHS=off            become plain ssh
  SSHS=only           use an open connection, or exit 255: never log in or ask
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
      { "linger": "10m", "maxAge": "8h", "maxSessions": 10, "share": true,
        "hosts": [{ "host": "*.example.com", "linger": 0, "share": false }] }
      "share": "always" is for tools that bring a control socket of their own,
      "forwards": true for calls with -L, -R and -D, "copies": "apart" for
      copies that would slow down a shell on the same connection
  ~/.ssh/config, /etc/ssh/ssh_config
      ssh's own, used as always; ControlPersist is the linger
`;

/** `sshs 0.3.0, Deno 2.9.0, OpenSSH_9.2p1 ...`. */
export async function versionLine(given: Given, system: Pick<System, "run">): Promise<string> {
  const openssh = given.ssh === "" ? "no ssh in PATH" : await sshVersion(given.ssh, system);
  return `sshs ${VERSION}, Deno ${DENO_VERSION}, ${openssh}`;
}
