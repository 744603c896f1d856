# shellcheck shell=sh disable=SC2154,SC2034,SC3013
# Which ssh is the real one and how a call becomes it; and what a warm call has settled without this file:
# a state directory that must be made, a long key, other namespaces, a sleeper of another version.

# ---- which ssh ----------------------------------------------------------------------------------------

# Sets sshs_found to the real program $1: for ssh $SSHS_SSH if that can be run, else the first in PATH.
# Skips launchers, which their second line marks even behind a link or in a copy, and scripts that have
# called us back; once calls go round in a circle, it skips programs that are no scripts too.
sshs_find() {
  sshs_found='' sshs_rest=${PATH-/usr/local/bin:/usr/bin:/bin}: sshs_circle=''
  case ${SSHS_INSIDE:-} in *:*:*:*:*:*:*:*:*:*:*:*:*:*:*) sshs_circle='#!' ;; esac
  [ "$1" != ssh ] || sshs_found=${SSHS_SSH:-}
  while :; do
    case $sshs_found in /*) ! sshs_is_real || return 0 ;; esac
    [ -n "$sshs_rest" ] || return
    sshs_found=${sshs_rest%%:*}/$1 sshs_rest=${sshs_rest#*:}
  done
}

# Is sshs_found a program, and not ours?
sshs_is_real() {
  [ -f "$sshs_found" ] && [ -x "$sshs_found" ] || return
  # A shell reads byte by byte, and the first line of a program is long. So not where every system has its
  # own ssh, if that has not changed since we were installed.
  if [ "$sshs_found ${SSHS_INSIDE:-}" = '/usr/bin/ssh ' ] && [ "$sshs_lib/launcher.sh" -nt "$sshs_found" ]
  then
    return 0
  fi
  sshs_head='' sshs_line=''
  { read -r sshs_head; read -r sshs_line; } <"$sshs_found"
  case $sshs_found,:${SSHS_INSIDE:-}:$sshs_circle$sshs_head:$sshs_line in
  *,*:"$sshs_found":*'#!'* | *':# sshs launcher'*) return 1 ;;
  esac
} 2>/dev/null

# Becomes the real ssh with the user's words. $sshs_why says why, for SSHS_TASK=why. If sshs_socket is set,
# ssh speaks (-O) to the master there. An open task has no session to run.
sshs_become() {
  trap - EXIT XFSZ
  case $sshs_task in
  why)
    sshs_tell direct
    exit
    ;;
  open*) exit 3 ;;
  esac
  if [ -n "$sshs_only" ] && [ -z "$sshs_socket" ] && [ "$sshs_why" != words ]; then
    sshs_say 'SSHS=only, and no shared connection is open for this call'
    exit 255
  fi
  [ "$sshs_why" != state ] || sshs_wants_quiet "$@" ||
    sshs_say "not shared: $sshs_refused cannot be used; set SSHS_DIR to a short path of your own"
  [ -x "$sshs_ssh" ] || { sshs_find ssh && sshs_ssh=$sshs_found; } || sshs_lacks ssh
  export SSHS_INSIDE="${SSHS_INSIDE:+$SSHS_INSIDE:}$sshs_ssh"
  exec "$sshs_ssh" ${sshs_socket:+-S "$sshs_socket"} "$@"
}

sshs_lacks() {
  echo "sshs: no $1 in PATH but the launcher of sshs" >&2
  exit 127
}

sshs_say() {
  [ -n "$sshs_quiet" ] || echo "sshs: $*" >&2
}

# Does the caller want no messages but ssh's?
sshs_wants_quiet() {
  OPTIND=1
  while getopts ":$sshs_letters" sshs_letter; do
    case $sshs_letter,${OPTARG-} in
    q,*) break ;;
    o,[Bb][Aa][Tt][Cc][Hh][Mm][Oo][Dd][Ee]*[Yy][Ee][Ss]) break ;;
    o,[Ll][Oo][Gg][Ll][Ee][Vv][Ee][Ll]*[Qq][Uu][Ii][Ee][Tt]) break ;;
    *) sshs_letter='' ;;
    esac
  done
  OPTARG=$sshs_optarg
  case $sshs_letter in q | o) ;; *) return 1 ;; esac
}

# Becomes a session on the lane though the words name a socket of the user's own ("share": "always"): ssh
# takes the last one, so ours goes right before the destination, or before the `--` there.
sshs_ride_instead() {
  sshs_count=0
  for sshs_word in "$@"; do
    case $((sshs_at - (sshs_count += 1))),$sshs_word in
    1,-- | 0,*)
      [ -z "$sshs_own" ] || set -- "$@" -S "$sshs_lane.sock"
      sshs_own=''
      ;;
    esac
    set -- "$@" "$sshs_word"
    shift
  done
  exec "$sshs_ssh" -o ControlMaster=no "$@"
}

# Answers an open task, or why, instead of becoming a session on the lane.
sshs_answer() {
  case $sshs_task in
  why)
    rm -f "$sshs_lane.leases/$sshs_lease"
    sshs_tell share "$sshs_lane"
    ;;
  *) echo "$sshs_lane" ;;
  esac
  exit
}

# Prints what the call would do, for `sshs --why`: $1 is direct or share, $2 the place.
sshs_tell() {
  printf '%s\n' "plan=${sshs_plan_is:-needless}" "kind=$1" "why=$sshs_why" "place=${2-}" \
    "void=$sshs_void" "home=$sshs_home" "socket=$sshs_socket"
}

# Runs plain ssh when the shell exits because it cannot fork: dash with status 2, bash with 254.
sshs_rescue() {
  [ -z "$sshs_child" ] || kill "$sshs_child" 2>/dev/null
  [ -z "$sshs_pipe" ] || exec 8<&- # nothing removes the pipe but the sleeper
  [ -z "$sshs_claim" ] || [ ! -e "$sshs_claim" ] || echo ended >"$sshs_claim"
  [ -z "$sshs_mine" ] || echo failed >>"$sshs_home/starter.$sshs_mine"
  sshs_plain "$@"
}

# ---- switches and words that are rare -------------------------------------------------------------------

# Acts on $SSHS.
sshs_switch() {
  ! sshs_is_off || { sshs_why=off && sshs_plain "$@"; }
  case $SSHS in [Oo][Nn][Ll][Yy]) sshs_only=yes ;; esac
}

sshs_is_off() {
  case ${SSHS:-} in [Oo][Ff][Ff] | 0 | [Nn][Oo] | [Ff][Aa][Ll][Ss][Ee]) ;; *) return 1 ;; esac
}

# May a call have the -o in OPTARG, which begins like ControlPath or ControlMaster? A settings file may say
# that calls with a master of their own are shared as well.
sshs_may_name() {
  case $OPTARG in
  *[Cc][Oo][Nn][Tt][Rr][Oo][Ll][Pp][Aa][Tt][Hh]*) [ -n "$sshs_settings" ] ;;
  *[Cc][Oo][Nn][Tt][Rr][Oo][Ll][Mm][Aa][Ss][Tt][Ee][Rr]*[Nn][Oo]) ;;
  *[Cc][Oo][Nn][Tt][Rr][Oo][Ll][Mm][Aa][Ss][Tt][Ee][Rr]*) [ -n "$sshs_settings" ] ;;
  esac
}

# May calls of this identity share, if a terminal is forced, or something was learned of the server? The file
# `direct` says that it bears no sharing, and counts until its mtime.
sshs_may_share() {
  [ ! -e "$sshs_home/terminal" ] || return
  # -tt without a terminal here: over a master the remote one would have no modes (echo, signals, newlines).
  case $sshs_forced,$sshs_task in yes, | yes,why) [ -t 0 ] || return ;; esac
  [ -e "$sshs_home/direct" ] || return 0
  true >"$sshs_dir/used"
  [ ! "$sshs_home/direct" -nt "$sshs_dir/used" ]
} 2>/dev/null

# Gives copies (scp, sftp, rsync) connections of their own, for "copies": "apart".
sshs_set_apart() {
  shift "$sshs_leading"
  case ${sshs_subsystem:+-s }$* in '-s sftp' | 'scp '* | 'rsync '*) sshs_home=$sshs_copies ;; esac
}

# Reduces sshs_max to the sessions that the server was seen to bear on one connection.
sshs_learn_max() {
  true >"$sshs_dir/used"
  [ "$sshs_home/sessions" -nt "$sshs_dir/used" ] && [ -f "$sshs_home/sessions" ] || return
  read -r sshs_word <"$sshs_home/sessions"
  [ "${sshs_word:-$sshs_max}" -ge "$sshs_max" ] || sshs_max=$sshs_word
} 2>/dev/null

# Is it sftp that has SIGINT ignored (connect_to_server() in sftp.c), so that Ctrl-C ends a transfer and not the
# connection? The client of a master handles it all the same: so it gets a session of its own, which no key reaches.
sshs_is_sftp() {
  [ -n "$sshs_subsystem" ] && sshs_alone=$(command -v setsid) || return
  sshs_stat
  [ "$sshs_group" != $$ ] # otherwise setsid(1) would fork
}

# Is this process in the background of its terminal? Without a terminal of its own (ansible gives its ssh one
# as stdin) nothing stops it: -1.
sshs_is_background() {
  sshs_stat
  [ "${sshs_foreground:-0}" -gt 0 ] && [ "$sshs_group" != "$sshs_foreground" ]
}

# Sets sshs_birth to when this process was born, sshs_group and sshs_foreground to the process groups of
# it and of its terminal, and sshs_nice and sshs_policy to its scheduling. What the system does not say is "".
sshs_stat() {
  sshs_birth='' sshs_group='' sshs_foreground='' sshs_nice='' sshs_policy='' sshs_line=''
  if read -r sshs_line </proc/$$/stat; then
    set -- ${sshs_line##*") "} # proc(5), from the state on
    sshs_birth=${20-} sshs_group=${3-} sshs_foreground=${6-} sshs_nice=${17-} sshs_policy=${39-}
  else
    set -- $(exec ps -o pgid= -o tpgid= -o nice= -p $$)
    sshs_group=${1-} sshs_foreground=${2-} sshs_nice=${3-}
  fi
} 2>/dev/null

# Is the version $1 later than ours, number by number?
sshs_is_later() {
  sshs_rest=$sshs_version. sshs_line=$1.
  while [ -n "$sshs_rest" ] && [ -n "$sshs_line" ]; do
    [ "${sshs_line%%.*}" -eq "${sshs_rest%%.*}" ] || { [ "${sshs_line%%.*}" -gt "${sshs_rest%%.*}" ]; return; }
    sshs_rest=${sshs_rest#*.} sshs_line=${sshs_line#*.}
  done
  [ -n "$sshs_line" ]
} 2>/dev/null

# Is the lane's master alive? Without a sleeper its mark stays.
sshs_has_master() {
  sshs_pid='' sshs_born=''
  [ -f "$sshs_lane.master" ] && read -r sshs_pid sshs_born <"$sshs_lane.master" &&
    sshs_is_alive "$sshs_pid" "$sshs_born"
}

# Does a master listen on the lane's socket, which no sleeper has taken over yet? It may have been killed since
# its login. Without /proc ssh finds out. ssh binds the socket under a longer name, and links it to this one.
sshs_listens() {
  [ ! -e /proc/net/unix ] || (exec grep -qF " $sshs_lane.sock" /proc/net/unix)
}

# ---- where the state is ---------------------------------------------------------------------------------

# Sets sshs_dir as sshs_state() says, where the directory has to be found or made. ssh expands % and ${} in
# -S. A longer path leaves no room for a socket's (state_dir.ts).
sshs_settle_state() {
  sshs_cut_slashes # they would make a link look like its target
  case $sshs_dir in *%* | *\$\{*) sshs_dir='' && [ -z "${SSHS_DIR:-}" ] || return ;; esac
  [ -n "$sshs_dir" ] || sshs_temporary
  # The first call of all makes it, so that calls at the same moment find each other in it. A job's is not
  # made again once the job is over (--with).
  case ${sshs_dir##*/} in
  sshs-job-*) ;;
  *)
    [ -e "$sshs_dir" ] || { [ ! -O "${sshs_dir%/*}/" ] && [ "${sshs_dir%/*}" != /tmp ]; } ||
      mkdir -m 700 "$sshs_dir" "$sshs_dir/plans" "$sshs_dir/waiting"
    ;;
  esac
  case $sshs_dir in
  /*) [ ! -d "$sshs_dir" ] || [ ! -O "$sshs_dir" ] || [ -L "$sshs_dir" ] || return 0 ;;
  esac
  sshs_refused=$sshs_dir sshs_dir=
  return 1
} 2>/dev/null

# Removes the slashes at the end of sshs_dir.
sshs_cut_slashes() {
  while :; do
    case $sshs_dir in ?*/) sshs_dir=${sshs_dir%/} ;; *) return ;; esac
  done
}

# Sets sshs_dir to sshs-UID in $TMPDIR or /tmp. Only a directory of ours that exists spares us id(1).
sshs_temporary() {
  sshs_dir=${TMPDIR:-/tmp}
  sshs_cut_slashes
  case $sshs_dir in /dev/* | /proc/* | /sys/* | *%* | *\$\{* | [!/]*) sshs_dir=/tmp ;; esac
  [ ${#sshs_dir} -le 43 ] || sshs_dir=/tmp
  for sshs_file in "$sshs_dir"/sshs-*; do
    case ${sshs_file##*/sshs-} in
    *[!0123456789]*) ;;
    *) [ ! -O "$sshs_file" ] || { sshs_dir=$sshs_file && return; } ;;
    esac
  done
  sshs_dir=${sshs_dir%/}/sshs-$(exec id -u)
}

# Makes a long sshs_key a path: names of 200 characters, each but the last followed by "!", with which no key
# ends.
sshs_split() {
  sshs_rest=$sshs_key sshs_key=''
  [ ${#sshs_rest} -le 3000 ] || return
  while [ ${#sshs_rest} -gt 200 ]; do
    sshs_word=${sshs_rest#??????????????????????????????????????????????????}
    sshs_word=${sshs_word#??????????????????????????????????????????????????}
    sshs_word=${sshs_word#??????????????????????????????????????????????????}
    sshs_word=${sshs_word#??????????????????????????????????????????????????}
    sshs_key=$sshs_key${sshs_rest%"$sshs_word"}!/ sshs_rest=$sshs_word
  done
  sshs_key=$sshs_key$sshs_rest
}

# Sets sshs_here to the namespaces of the call: "net:[1] pid:[2] mnt:[3] user:[4]", or "" if the system has none.
sshs_look_around() {
  sshs_here=''
  [ -e /proc/self/ns/net ] || return 0
  sshs_here=$(cd /proc/self/ns && PATH=$PATH:/usr/bin:/bin && exec readlink net pid mnt user)
  case $sshs_here in
  *user*) ;;
  *) sshs_here=$(cd /proc/self/ns && for sshs_word in net pid mnt user; do readlink "$sshs_word"; done) ;; # busybox
  esac
  set -- $sshs_here
  sshs_here=$*
} 2>/dev/null
