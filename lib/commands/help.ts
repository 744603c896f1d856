/** `sshs --help`: the manual in short, 80 columns wide. */
import { DEFAULT_LINGER, DEFAULT_MAX_SESSIONS } from "../call/settings.ts";
import { duration } from "./table.ts";
import { USAGE } from "./command.ts";

/** What each command does. */
const COMMANDS = {
  list: "what is shared, and for how long yet",
  stop: "no new sessions, and the end with the last; --now: sessions end too",
  warm: "log in to many hosts at once, so that the first calls need not",
  hold: "keep the connection for 30m, 2h, 1d ..., or forever; 0 takes it back",
  fresh: "log in anew now; the old connection takes no more sessions",
  why: "what would be done with such a call, and why; touches no network",
  doctor: "what stands in the way of sharing, and what to do about it",
  help: "this text",
  version: "the versions of sshs, Deno and OpenSSH",
} as const satisfies Record<keyof typeof USAGE, string>;

export const HELP = `sshs - ssh with opportunistic connection sharing

  sshs [all that ssh takes]
      runs ssh over a shared connection, and opens one if there is none

Commands, only as the first word and only under the name sshs:

${
  Object.entries(USAGE).map(([name, usage]) =>
    `  ${usage}\n      ${COMMANDS[name as keyof typeof USAGE]}`
  ).join("\n")
}

--list and --why print JSON with --json. Commands exit 0, 1 when something
failed or is wrong, 2 for wrong use. A call exits as ssh does: 255 where ssh
fails, 126 or 127 where no ssh can be run.

Environment:

  SSHS=off            become plain ssh
  SSHS_SSH            the real ssh, else the first in PATH that is not sshs
  SSHS_DIR            where sockets and state are, else $XDG_RUNTIME_DIR/sshs,
                      else \${TMPDIR:-/tmp}/sshs-UID
  SSHS_LINGER         how long an idle connection stays: 90, 10m, 0, forever;
                      ${duration(DEFAULT_LINGER)} unless set. ControlPersist goes before it
  SSHS_MAX_SESSIONS   sessions on one connection, ${DEFAULT_MAX_SESSIONS} unless set
  SSHS_LOOK           seconds between two looks of the sleeper, 5 unless set
  NO_COLOR            no colours

Files:

  ~/.config/sshs/config.json
      { "linger": "10m", "maxSessions": 10, "share": true,
        "hosts": [{ "host": "*.example.com", "linger": 0, "share": false }] }
  ~/.ssh/config, /etc/ssh/ssh_config
      ssh's own, in force as ever: ControlPersist is the linger there
`;
