/** `sshs --help`: a short manual, 80 columns wide, which is also the table of what each command takes. */
import { DEFAULT_LINGER, DEFAULT_MAX_SESSIONS } from "../call/settings.ts";
import { duration } from "./phrases.ts";

/** What `--help` prints. The options of a command of ours are those that its usage names: see command.ts. */
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

  sshs --list [--watch|--json]
      list shared connections and when they close; --watch: keep it current
  sshs --stop HOST|--all [--now]
      stop accepting sessions; close after the last one, or --now
  sshs --warm [--json] [OPTIONS] HOST...|-
      log in to many hosts at once, so that the first calls need not;
      - reads hosts from stdin, one a line
  sshs --hold DURATION [OPTIONS] HOST
      keep a connection open for 30m, 2h, 1d ..., or forever; 0 releases it
  sshs --socket [OPTIONS] HOST
      print the control socket of an open connection, for other tools
  sshs --with [[OPTIONS] HOST...] -- COMMAND [ARG...]
      run a command with shared connections of its own, which close with it;
      log in to the hosts first, and exit 255 if a login fails
  sshs --fresh [OPTIONS] HOST [COMMAND...]
      log in anew, and forget what was learned of the server; the old
      connection accepts no new sessions
  sshs --why [--json] [OPTIONS] HOST [COMMAND...]
      say what would be done with a call, and why; use no network
  sshs --doctor [[OPTIONS] HOST]
      find what prevents sharing, and say what to do about it
  sshs --install [--prefix DIR]
      put launchers, man page and completions into DIR, or ~/.local
  sshs --uninstall [--prefix DIR] [--now]
      remove what was installed; close what is shared, unless another
      installation uses it; --now: end open sessions too
  sshs --completions bash|zsh|fish
      print the completions of sshs for that shell
  sshs --help
      show this text
  sshs --version
      show the versions of sshs, Deno and OpenSSH

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
      for all hosts or some: linger, maxAge, maxSessions, share, forwards and
      copies, as sshs(1) describes them
  ~/.ssh/config, /etc/ssh/ssh_config
      ssh's own, used as always; ControlPersist is the linger
`;

/** The usage of each command, by its name. */
export const USAGE: ReadonlyMap<string, string> = new Map(
  Array.from(HELP.matchAll(/^ {2}(sshs --(\w+).*)$/gm), ([, usage, name]) => [name, usage]),
);
