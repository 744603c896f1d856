# shellcheck shell=sh disable=SC2154,SC2034,SC3013
# The launcher: the installed `ssh`, `scp`, `sftp` and `sshs` all run it. It carries out plans and becomes
# ssh; the program (main.ts) makes the decisions and writes the plans. launcher.ts puts a head above this
# text: `#!/bin/sh`, the line that marks a launcher, and the settings sshs_version, sshs_uid, sshs_bin,
# sshs_deno, sshs_program, sshs_flags and sshs_sleeper_flags. lib/lane/layout.ts describes the state
# directory.
#
#   argv -> direct by its words alone --------------------------------------> exec ssh "$@"
#        -> a plan that holds? no -> the program, as a child, makes one
#        -> direct ----------------------------------------------------------> exec ssh "$@"
#        -> share: a place on a lane, or a new lane, or a wait for another's -> exec ssh -S <socket> "$@"
#
# If anything fails here or in the program, the call becomes plain ssh. sshs_begin() takes a call to a lane
# that is open. It forks nothing, and runs before the shell parses the rest of this file, which would take
# as long again. Our variables begin with sshs_: assigning to a name that the caller exports would change
# ssh's environment. -nt and -ef are not in POSIX, but dash, bash, busybox and zsh have them.
set +a +e +f +u +C # an exported SHELLOPTS turns these on in bash

# ---- which ssh ----------------------------------------------------------------------------------------

# Sets sshs_found to the real $1: $SSHS_SSH for ssh, else the first in PATH. Like findRealSsh() in
# real_ssh.ts it skips launchers, which their second line marks even behind a link or in a copy, and scripts
# that have called us back; once calls go round in a circle, it skips programs that are no scripts too.
sshs_find() {
  sshs_found='' sshs_rest=${PATH-/usr/local/bin:/usr/bin:/bin}: sshs_circle=''
  case ${SSHS_INSIDE:-} in *:*:*:*:*:*:*:*:*:*:*:*:*:*:*) sshs_circle='#!' ;; esac
  [ "$1" = ssh ] && sshs_found=${SSHS_SSH:-}
  while sshs_head='' sshs_line=''; do
    # A shell reads byte by byte, and the first line of a program is long. So not where every system has its
    # own ssh, if that has not changed since we were installed.
    { [ "$sshs_found ${SSHS_INSIDE:-}" = '/usr/bin/ssh ' ] && [ "$sshs_bin/ssh" -nt "$sshs_found" ]; } ||
      { [ -f "$sshs_found" ] && { read -r sshs_head; read -r sshs_line; } <"$sshs_found"; }
    case $sshs_found,:${SSHS_INSIDE:-}:$sshs_circle$sshs_head:$sshs_line in
    [!/]* | *:"$sshs_found":*'#!'* | *':# sshs launcher'*) ;;
    *) [ -f "$sshs_found" ] && [ -x "$sshs_found" ] && return 0 ;; # a status, for bash in a trap
    esac
    [ -n "$sshs_rest" ] || return
    sshs_found=${sshs_rest%%:*}/$1 sshs_rest=${sshs_rest#*:}
  done
} 2>/dev/null

# Becomes the real ssh with the user's words. If sshs_socket is set, ssh speaks (-O) to the master there.
# In open mode there is no session to run.
sshs_plain() {
  trap - EXIT XFSZ
  [ -z "$sshs_open" ] || exit 3
  [ -x "${sshs_ssh:-}" ] || { sshs_find ssh && sshs_ssh=$sshs_found; } || sshs_none ssh
  export SSHS_INSIDE="${SSHS_INSIDE:+$SSHS_INSIDE:}$sshs_ssh"
  exec "$sshs_ssh" ${sshs_socket:+-S "$sshs_socket"} "$@"
}

# Runs plain ssh when the shell exits because it cannot fork: dash with status 2, bash with 254.
sshs_rescue() {
  case $? in 2 | 254) ;; *) return ;; esac
  [ -z "$sshs_child" ] || kill "$sshs_child" 2>/dev/null
  [ -z "$sshs_claim" ] || [ ! -e "$sshs_claim" ] || echo ended >"$sshs_claim"
  [ -z "$sshs_mine" ] || echo failed >>"$sshs_home/starter.$sshs_mine"
  sshs_plain "$@"
}

sshs_none() {
  echo "sshs: no $1 in PATH but the launcher of sshs" >&2
  exit 127
}

# ---- direct by words alone ----------------------------------------------------------------------------

# Parses the words as ssh's main() does, and sets sshs_leading to the number of words before the command.
# Fails if the call goes direct whatever the configuration says: it has options whose work must end with
# the process, or that control a master of the user's own. A settings file may allow some of these; then
# the program decides.
sshs_words() {
  sshs_leading=0 sshs_verbose='' sshs_via='' sshs_target='' sshs_forwards='' sshs_control='' OPTIND=1
  sshs_options "$@" || return
  [ "$OPTIND" -le $# ] || return # no destination
  sshs_leading=$OPTIND
  # ssh reads options after the destination too, unless `--` stands before it.
  eval "sshs_word=\${$((OPTIND > 1 ? OPTIND - 1 : OPTIND))}"
  [ "$sshs_word" = -- ] && [ "$OPTIND" -gt 1 ] && return
  shift "$sshs_leading"
  OPTIND=1
  sshs_options "$@" || return
  sshs_leading=$((sshs_leading + OPTIND - 1))
}

sshs_options() {
  while getopts :1246ACGKMNTVXYZafgknqstvxyB:D:E:F:I:J:L:O:P:Q:R:S:W:b:c:e:i:l:m:o:p:w: sshs_letter; do
    case $sshs_letter in
    G | M | N | Q | S | V | Z | f | w | \? | :) return 1 ;;
    D | L | R) sshs_forwards=yes ;;
    O) sshs_control=yes ;;
    E | v | y) sshs_verbose=yes ;; # where a login's words go
    W) sshs_via=.via sshs_target=$OPTARG ;;
    o)
      case $OPTARG in
      *[Cc][Oo][Nn][Tt][Rr][Oo][Ll][Pp][Aa][Tt][Hh]*) [ -n "$sshs_settings" ] || return ;;
      *[Cc][Oo][Nn][Tt][Rr][Oo][Ll][Mm][Aa][Ss][Tt][Ee][Rr]*[Nn][Oo]) ;;
      *[Cc][Oo][Nn][Tt][Rr][Oo][Ll][Mm][Aa][Ss][Tt][Ee][Rr]*) [ -n "$sshs_settings" ] || return ;;
      esac
      ;;
    esac
  done
  return 0
}

# Would a session over a master behave differently from plain ssh? The client of a master catches HUP and
# TERM even if the call was started with them ignored (nohup), and the master would read a terminal where
# plain ssh, in the background, is stopped.
sshs_is_apart() {
  sshs_caught=''
  trap 'sshs_caught=H$sshs_caught' HUP
  trap 'sshs_caught=T$sshs_caught' TERM
  kill -HUP $$
  kill -TERM $$
  trap - HUP TERM
  case $sshs_caught in *T*T*) kill -TERM $$ ;; *H*H*) kill -HUP $$ ;; esac # one was not ours
  [ "$sshs_caught" = TH ] || return 0
  [ -t 0 ] || return
  sshs_stat
  # Without a terminal of its own (ansible gives its ssh one as stdin) nothing stops it: -1.
  [ "${sshs_foreground:-0}" -gt 0 ] && [ "$sshs_group" != "$sshs_foreground" ]
}

# Sets sshs_group and sshs_foreground to the process groups of this process and of its terminal, and
# sshs_nice and sshs_policy to its scheduling. A value that the system does not report is empty.
sshs_stat() {
  sshs_group='' sshs_foreground='' sshs_nice='' sshs_policy='' sshs_line=''
  if read -r sshs_line </proc/$$/stat; then
    set -- ${sshs_line##*) } # proc(5), from the state on
    sshs_group=${3-} sshs_foreground=${6-} sshs_nice=${17-} sshs_policy=${39-}
  else
    set -- $(exec ps -o pgid= -o tpgid= -o nice= -p $$)
    sshs_group=${1-} sshs_foreground=${2-} sshs_nice=${3-}
  fi
} 2>/dev/null

# ---- plans --------------------------------------------------------------------------------------------

# Sets sshs_dir to the state directory, as stateDirPath() in state_dir.ts does. Fails if it is not ours.
sshs_state() {
  if [ -n "${SSHS_DIR:-}" ]; then
    sshs_dir=$SSHS_DIR
    while case $sshs_dir in ?*/) ;; *) false ;; esac do sshs_dir=${sshs_dir%/}; done
  elif [ -d "${XDG_RUNTIME_DIR:-}" ] && [ -O "$XDG_RUNTIME_DIR" ]; then
    sshs_dir=$XDG_RUNTIME_DIR/sshs
  else
    sshs_dir=${TMPDIR:-/tmp}
    while case $sshs_dir in */) ;; *) false ;; esac do sshs_dir=${sshs_dir%/}; done
    sshs_dir=$sshs_dir/sshs-$sshs_uid
    # Deno opens nothing there, or the path is too long for a socket.
    case $sshs_dir in /dev/* | /proc/* | /sys/*) sshs_dir='' ;; esac
    [ -n "$sshs_dir" ] && [ ${#sshs_dir} -le 59 ] || sshs_dir=/tmp/sshs-$sshs_uid
  fi
  # The first call of all creates it, so that calls at the same moment find each other in it.
  [ -e "$sshs_dir" ] || { [ ! -O "${sshs_dir%/*}/" ] && [ "${sshs_dir%/*}" != /tmp ]; } ||
    mkdir -m 700 "$sshs_dir" 2>/dev/null
  case $sshs_dir in
  /*) [ -d "$sshs_dir" ] && [ -O "$sshs_dir" ] && [ ! -L "$sshs_dir" ] ;;
  *) false ;;
  esac
}

# Sets sshs_key to the name of the plan for the words before the command: planKey() in plan.ts. The letters
# are listed because [a-z] depends on the locale.
sshs_name() {
  sshs_key='' sshs_count=0 sshs_word=$*
  [ ${#sshs_word} -le 50000 ] || return # A master takes no session whose command is too long.
  for sshs_word in "$@"; do
    [ "$((sshs_count += 1))" -le "$sshs_leading" ] || break
    # All hosts behind a jump host use one plan for it.
    [ "$sshs_task,$sshs_word" != "jump,$sshs_target" ] || sshs_word='[%h]:%p'
    case $sshs_word in
    '' | *[!][ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+=:,./_~\ -]*)
      sshs_key=''
      return 1
      ;;
    esac
    sshs_key=$sshs_key${sshs_key:+!}$sshs_word
  done
  # No file can have the name "." or "..".
  case $sshs_key in . | ..) sshs_key='' && return 1 ;; esac
  [ ${#sshs_key} -le 200 ] || { sshs_key='' && return 1; }
  while case $sshs_key in */*) ;; *) false ;; esac do sshs_key=${sshs_key%%/*}^${sshs_key#*/}; done
}

# Sets sshs_service to the service that this call belongs to: serviceOf() in os/system.ts.
sshs_service() {
  sshs_service=''
  while [ -z "$sshs_service" ] && read -r sshs_line; do
    sshs_line=$sshs_line/
    case $sshs_line in
    */system.slice/*.service/*) sshs_line=${sshs_line#*/system.slice/} ;;
    */user@*.service/app-*.service/* | */user@*.service/*/app-*.service/*) continue ;;
    */user@*.service/*.service/*) sshs_line=${sshs_line#*/user@*.service/} ;;
    *) continue ;;
    esac
    sshs_line=${sshs_line%%.service/*}
    sshs_service=${sshs_line##*/}.service
  done </proc/self/cgroup
} 2>/dev/null

# Reads the plan, and fails if it does not hold: planText() in plan.ts wrote tests, and after them the
# settings that the rest of this file uses. `command` keeps a damaged plan from ending the shell.
sshs_read() {
  sshs_plan=$sshs_dir/plans/$sshs_key sshs_kind=''
  [ -f "$sshs_plan" ] && [ -O "$sshs_plan" ] && [ ! -L "$sshs_plan" ] || return
  command . "$sshs_plan" && [ -n "$sshs_kind" ] && [ -x "$sshs_ssh" ]
} 2>/dev/null

# ---- places on lanes ----------------------------------------------------------------------------------

# Is a master of this identity in the same network and pid namespace as this call? An identity belongs to
# one pair of namespaces, so the plan was made in these too.
sshs_meets_master() {
  [ -n "$sshs_spaces" ] || return 0
  for sshs_file in "$sshs_home"/*.master; do
    read -r sshs_pid sshs_birth <"$sshs_file" &&
      [ /proc/self/ns/net -ef "/proc/$sshs_pid/ns/net" ] &&
      [ /proc/self/ns/pid -ef "/proc/$sshs_pid/ns/pid" ] && return
  done
  return 1
} 2>/dev/null

# May calls of this identity share? The file `direct` records a server that accepts one session per
# connection, and counts until its mtime.
sshs_may_share() {
  [ ! -e "$sshs_home/terminal" ] || return
  # -tt without a terminal here: over a master the remote one would have no modes (echo, signals, newlines).
  [ -z "$sshs_forced" ] || [ -n "$sshs_open" ] || [ -t 0 ] || return
  # Without one of these a proxy cannot be detached: sshs_run_proxy().
  [ -z "$sshs_proxy" ] || command -v setsid >/dev/null || command -v perl >/dev/null || return
  [ -e "$sshs_home/direct" ] || return 0
  true >"$sshs_dir/used"
  [ ! "$sshs_home/direct" -nt "$sshs_dir/used" ]
} 2>/dev/null

# Takes a place on an open lane: sets sshs_placed and sshs_lane, and leaves our lease on it. Otherwise
# sshs_full says that all lanes are full, sshs_crowded that other calls were faster on one that was not,
# and sshs_doubted that the far end of one has not answered lately. sshs_tried lists their names.
sshs_find_place() {
  sshs_placed='' sshs_full='' sshs_crowded='' sshs_doubted='' sshs_tried=:
  for sshs_file in "$sshs_home"/*.lane; do
    sshs_lane=${sshs_file%.lane}
    sshs_tried=$sshs_tried${sshs_lane##*/}:
    [ -S "$sshs_lane.sock" ] && [ -O "$sshs_lane.sock" ] && [ -d "$sshs_lane.leases" ] || continue
    sshs_take || continue
    # The mark's mtime is when the last answer expires, and our lease was made just now. A lane that the
    # sleeper has not taken over yet has only just logged in.
    { [ "$sshs_lane.verified" -nt "$sshs_lane.leases/$sshs_lease" ] && sshs_has_master; } ||
      [ ! -e "$sshs_lane.master" ] && {
      true >"$sshs_dir/used"
      sshs_placed=yes && return
    }
    rm -f "$sshs_lane.leases/$sshs_lease"
    sshs_doubted=yes
  done
  return 1
} 2>/dev/null

# Is the lane's master alive? Without a sleeper that saw its end its mark stays.
sshs_has_master() {
  sshs_pid=''
  read -r sshs_pid sshs_birth <"$sshs_lane.master"
  [ -z "$sshs_pid" ] || sshs_lives "$sshs_pid"
}

# Takes a place on the lane so that two calls cannot take the last one: a call makes its lease, then counts
# all running leases, and runs only if there are no more than places. At later looks it first makes a
# waiting lease, and takes its turn behind the running leases and the waiting ones with a lower pid.
sshs_take() {
  sshs_refused=''
  if [ -n "$sshs_via" ] || [ "$sshs_looks" -eq 0 ]; then
    true >"$sshs_lane.leases/$sshs_lease" || return # closed meanwhile
    sshs_tally
  else
    sshs_tally
    [ "$sshs_running" -lt "$sshs_max" ] || { sshs_full=yes && return 1; }
    true >"$sshs_lane.leases/$$.w" || return
    sshs_tally
    if [ "$((sshs_running + sshs_before))" -lt "$sshs_max" ]; then
      mv "$sshs_lane.leases/$$.w" "$sshs_lane.leases/$$"
      sshs_tally
    else
      sshs_running=$((sshs_max + 1))
    fi
  fi
  [ -n "$sshs_via" ] || [ "$sshs_running" -le "$sshs_max" ] || sshs_crowded=yes sshs_refused=yes
  # Without a linger a lane accepts calls only while another session is open on it.
  [ -n "$sshs_lingers" ] || [ "$sshs_others" -gt 1 ] || [ -e "$sshs_lane.keep" ] ||
    sshs_full=yes sshs_refused=yes
  [ -n "$sshs_refused" ] || return 0
  rm -f "$sshs_lane.leases/$sshs_lease" "$sshs_lane.leases/$$.w"
  return 1
}

# Counts the live leases on the lane: sshs_running, sshs_before (waiting, with a lower pid) and sshs_others
# (all of them). Removes the leases of calls that have ended once there are many.
sshs_tally() {
  sshs_running=0 sshs_before=0 sshs_others=0 sshs_dead=''
  for sshs_file in "$sshs_lane.leases"/*; do
    sshs_word=${sshs_file##*/}
    sshs_pid=${sshs_word%%.*}
    kill -0 "$sshs_pid" || { sshs_dead="$sshs_dead $sshs_word" && continue; }
    : $((sshs_others += 1))
    case $sshs_word in
    *.via) ;;
    *.w) [ "$sshs_pid" -ge $$ ] || : $((sshs_before += 1)) ;;
    *) : $((sshs_running += 1)) ;;
    esac
  done
  # shellcheck disable=SC2086 # several words
  [ ${#sshs_dead} -lt 120 ] || (cd "$sshs_lane.leases" && exec rm -f $sshs_dead)
} 2>/dev/null

# Becomes a session on the lane. In open mode prints the lane instead.
sshs_ride() {
  sshs_is_awake || sshs_wake
  [ -z "$sshs_open" ] || { echo "$sshs_lane" && exit; }
  export SSHS_INSIDE="$sshs_ssh"
  [ -z "$sshs_listens" ] || sshs_forward "$@"
  trap - XFSZ
  exec "$sshs_ssh" -S "$sshs_lane.sock" -o ControlMaster=no "$@"
}

# Is a sleeper of this version running?
sshs_is_awake() {
  sshs_line='' sshs_file=''
  { read -r sshs_pid && read -r sshs_line && read -r sshs_word && read -r sshs_file; } <"$sshs_dir/sleeper"
  [ "$sshs_line" = "$sshs_version" ] && sshs_lives "$sshs_pid" || return
  # After a reboot or in a container another process may have its pid.
  [ -z "$sshs_file" ] || [ ! -e /proc/self/exe ] || [ "/proc/$sshs_pid/exe" -ef "$sshs_file" ]
} 2>/dev/null

# Is this process of ours alive? A zombie still has its pid, but no exe.
sshs_lives() {
  kill -0 "$1" && { [ ! -e /proc/self/exe ] || [ -e "/proc/$1/exe" ]; }
} 2>/dev/null

# ---- the way to a lane that is open -------------------------------------------------------------------

# Becomes a session, or plain ssh, if the words, a plan and an open lane suffice for that. Otherwise returns
# with sshs_role (what this process is), sshs_kind (of a plan that holds), and the variables of the functions
# above set.
sshs_begin() {
  # open: only open a lane, and print its path; open-batch: the same without asking the user; plan: does one
  # hold? jump: the call comes from a ProxyCommand of ours.
  sshs_task=${SSHS_TASK:-} sshs_open='' sshs_silent='' sshs_role=${0##*/}
  unset SSHS_TASK
  [ -z "${SSHS_PATH+set}" ] || { PATH=$SSHS_PATH && unset SSHS_PATH; }
  [ -z "${SSHS_SHELL:-}" ] || sshs_role=proxy
  case $sshs_role,${1-} in
  proxy,* | scp,* | sftp,*) return ;;
  sshs,--?*) sshs_role=command && return ;;
  esac
  case $sshs_task in
  open | plan) sshs_open=yes ;;
  open-batch) sshs_open=yes sshs_silent=yes ;;
  esac
  sshs_role=ssh sshs_ssh='' sshs_kind='' sshs_settings='' sshs_socket='' sshs_listens='' sshs_met=''
  sshs_claim='' sshs_mine='' sshs_asked='' sshs_child=''
  [ "${SSHS:-}" != off ] && { [ -z "${SSHS_INSIDE:-}" ] || [ -n "$sshs_task" ]; } || sshs_plain "$@"
  [ -e "${XDG_CONFIG_HOME:-${HOME:-}/.config}/sshs/config.json" ] && sshs_settings=yes
  sshs_words "$@" || sshs_plain "$@"
  [ -z "$sshs_forwards" ] || [ -n "$sshs_settings$sshs_control" ] || sshs_plain "$@"
  trap 'sshs_rescue "$@"' EXIT
  trap '' XFSZ # under `ulimit -f` a write fails, as on a full disk
  sshs_is_apart && sshs_plain "$@"
  sshs_state || sshs_dir=''
  sshs_service
  sshs_name "$@"
  [ -n "$sshs_dir" ] && [ -n "$sshs_key" ] && sshs_read || { sshs_kind='' && return; }
  [ "$sshs_task" != plan ] || return
  if [ "$sshs_kind" = share ]; then
    [ -z "$sshs_listens" ] && sshs_meets_master && sshs_met=yes || return
  fi
  sshs_carry_out "$@"
}

# Carries out the decision if that needs no login, no wait, and no sleeper to be started.
sshs_carry_out() {
  [ -z "$sshs_notice" ] || echo "$sshs_notice" >&2
  [ "$sshs_kind" = share ] && sshs_may_share || sshs_plain "$@"
  sshs_lease=$$$sshs_via sshs_looks=0
  sshs_find_place && sshs_is_awake && sshs_ride "$@"
}

sshs_begin "$@"

# ---- asking the program -------------------------------------------------------------------------------

# Asks the program for a decision. Of several calls with the same words at the same moment one asks, and the
# others wait for the plan that it leaves.
sshs_decide() {
  sshs_claim='' sshs_waited=0
  if [ -n "$sshs_dir" ] && [ -n "$sshs_key" ]; then
    [ -d "$sshs_dir/plans" ] || mkdir -m 700 "$sshs_dir/plans" 2>/dev/null
    # A call that came too late for an answer waits for the next one, or asks for it.
    for sshs_word in 1 2 3; do
      sshs_claim=$sshs_dir/plans/$sshs_key#
      sshs_create "$sshs_claim" "$$" && break
      sshs_wait_for_plan && return
      sshs_claim=''
      [ "$sshs_waited" -lt 10000 ] || return
      [ -z "$sshs_asked" ] || break
    done
  fi
  # The braces silence the shell's own message about a child that a signal has killed.
  { sshs_answer=$(sshs_program --decide "$@") || sshs_answer=''; } 2>/dev/null
  sshs_kind='' sshs_met=yes # as it was asked here
  # The last line shows that the answer is complete. The program has removed the claim by then, so that it may
  # be the next call's.
  case $sshs_answer in
  *'
sshs_kind='*) eval "$sshs_answer" ;;
  *) [ -z "$sshs_claim" ] || rm -f "$sshs_claim" 2>/dev/null ;;
  esac
  [ -n "$sshs_kind" ] && [ -x "$sshs_ssh" ]
}

# Waits for the call that has the claim. Sets sshs_asked to its pid if we came before the program looked at
# ssh's configuration: then its answer is ours too, even if it is good for this moment only.
sshs_wait_for_plan() {
  sshs_first='' sshs_asked='' sshs_since=''
  while [ "$sshs_waited" -lt 10000 ] && [ -e "$sshs_claim" ]; do
    sshs_pid='' sshs_line=''
    { read -r sshs_pid && read -r sshs_line; } <"$sshs_claim"
    if [ -z "$sshs_pid" ]; then
      # The claim is empty for a moment after it was created, and on a busy machine for longer.
      : "${sshs_since:=$sshs_waited}"
      [ "$((sshs_waited - sshs_since))" -lt 1000 ] || { rm -f "$sshs_claim" && break; }
    else
      [ "${sshs_first:=$sshs_pid}" = "$sshs_pid" ] || break
      [ -n "$sshs_line" ] || sshs_asked=$sshs_pid
      sshs_lives "$sshs_pid" || { rm -f "$sshs_claim" && break; }
    fi
    sshs_pause 50
  done 2>/dev/null
  # No decision takes that long: another process has its pid by now.
  [ "$sshs_waited" -lt 10000 ] || rm -rf "$sshs_claim" 2>/dev/null
  sshs_read && return
  # If it was killed, one of the calls that wait asks next, and not each of them.
  [ -z "$sshs_asked" ] || sshs_lives "$sshs_asked" || sshs_asked=''
  return 1
}

# Becomes the program, for at most 10 s. The user does not see Deno's panics. NODE_OPTIONS would make Deno
# load other code, and without DENO_NO_UPDATE_CHECK it would use the network.
sshs_program() {
  umask 077
  [ -x "$sshs_deno" ] || { sshs_find deno && sshs_deno=$sshs_found; } || exit
  sshs_deadline
  # shellcheck disable=SC2086 # several words
  SSHS_CALLER=$$ SSHS_CLAIM=$sshs_claim SSHS_LAUNCHER=$sshs_bin/ssh NODE_OPTIONS='' DENO_NO_UPDATE_CHECK=1 \
    exec $sshs_within "$sshs_deno" run $sshs_flags "$sshs_program" "$@"
} </dev/null 2>/dev/null

# Sets sshs_within to the words before a program that may run for at most 10 s.
sshs_deadline() {
  # Ctrl-C must reach it. busybox has no --foreground, and its timeout is always so.
  sshs_within='timeout --foreground -s KILL 10'
  $sshs_within true 2>/dev/null && return
  sshs_within='timeout -s KILL 10'
  command -v timeout >/dev/null && return
  sshs_within='perl -e alarm(shift);exec(@ARGV) 10'
  command -v perl >/dev/null || sshs_within=''
}

# Makes the program ping the far ends of the identity's lanes.
sshs_check() {
  (sshs_program --check "$sshs_home")
} >/dev/null 2>&1

# Is this call in the network and pid namespaces that the plan was made in?
sshs_is_here() {
  [ "$sshs_kind" = direct ] || [ -n "$sshs_met" ] || sshs_meets_master ||
    [ "$(exec readlink /proc/self/ns/net /proc/self/ns/pid)" = "$sshs_spaces" ]
} 2>/dev/null

# Starts the sleeper. It holds nothing of the caller's (descriptors that this shell has saved for a
# redirection close at the exec), and starts working a second later, so that the call itself goes first.
# If the caller has descriptors above 9 open (a lock, a pipe of `> >(tee log)`), bash closes them; without
# bash the sleeper starts at once and closes them itself.
sshs_wake() {
  (
    trap '' HUP INT QUIT
    exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
    cd /
    umask 077
    sshs_close='for fd in /dev/fd/??*; do [ ! -e "$fd" ] || eval "exec ${fd##*/}>&-"; done; sleep 1; exec "$@"'
    # shellcheck disable=SC2016,SC2086 # for the shell that is started; several words
    exec /bin/sh -c '
      for fd in /dev/fd/??*; do
        [ -e "$fd" ] || continue
        BASH_ENV=
        command -v bash >/dev/null && exec bash -c "$0" sh "$@"
        exec "$@"
      done
      sleep 1
      exec "$@"' "$sshs_close" env -i PATH="$PATH" HOME="${HOME:-/}" \
      TMPDIR="${TMPDIR:-/tmp}" ${DENO_DIR:+"DENO_DIR=$DENO_DIR"} \
      ${XDG_CACHE_HOME:+"XDG_CACHE_HOME=$XDG_CACHE_HOME"} ${SSHS_LOOK:+"SSHS_LOOK=$SSHS_LOOK"} \
      SSHS_DIR="$sshs_dir" SSHS_INSIDE=sleeper DENO_NO_UPDATE_CHECK=1 \
      "$sshs_deno" run $sshs_sleeper_flags $sshs_flags "$sshs_program" --sleeper "$sshs_dir" &
    printf '%s\n' "$!" "$sshs_version" waking >"$sshs_dir/sleeper.$!"
    exec mv -f "$sshs_dir/sleeper.$!" "$sshs_dir/sleeper"
  ) </dev/null >/dev/null 2>&1
}

# ---- logging in, one at a time ------------------------------------------------------------------------

# Runs the call over a lane: takes a place on one, else logs in, else waits while another call logs in.
sshs_share() {
  sshs_waited=0 sshs_seen='' sshs_empty='' sshs_was_full='' sshs_in_vain='' sshs_checked=''
  sshs_patience
  while :; do
    # Once: it may take 3 s, which sshs_waited does not count.
    if [ -n "$sshs_doubted" ] && [ -z "$sshs_checked" ]; then
      sshs_checked=yes
      sshs_check
      sshs_find_place && sshs_ride "$@"
    fi
    : $((sshs_looks += 1))
    # Sessions may be short: a lane counts as full only after two looks.
    if [ -n "$sshs_crowded" ] ||
      { [ -n "$sshs_full$sshs_was_full" ] && [ "$sshs_full" != "$sshs_was_full" ]; }; then
      sshs_was_full=$sshs_full
      sshs_pause 50
      sshs_find_place && sshs_ride "$@"
      continue
    fi
    sshs_look
    case $sshs_attempt in
    running)
      sshs_seen=$sshs_last
      [ "$sshs_waited" -lt "$sshs_limit" ] || sshs_plain "$@"
      if [ -n "$sshs_asks" ] && [ "$sshs_waited" -ge 3000 ]; then
        sshs_asks=''
        sshs_say "waiting for the login to $sshs_host of another call (pid $sshs_starter)"
      fi
      # Look less often later: 200 calls that look every 50 ms keep two processors busy.
      sshs_pause $((sshs_waited < 300 ? 50 : sshs_waited < 3000 ? 100 : 300))
      ;;
    up)
      # The lane may have opened only after we looked for a place.
      case $sshs_tried in
      *:"$sshs_last":*) sshs_start "$@" ;;
      *) [ -e "$sshs_home/$sshs_last.lane" ] || sshs_start "$@" ;;
      esac
      ;;
    failed)
      # A call that waited for this attempt does not repeat it.
      [ "$sshs_seen" != "$sshs_last" ] || sshs_plain "$@"
      sshs_start "$@"
      ;;
    *) sshs_start "$@" ;;
    esac
    sshs_find_place && sshs_ride "$@"
  done
}

# Sets sshs_limit to how long the call waits for another call's login, ms: no longer than for its own.
sshs_patience() {
  sshs_limit=120000 sshs_asks=''
  [ -z "$sshs_batch" ] || sshs_limit=3000
  if [ -z "$sshs_batch" ] && [ -t 2 ]; then sshs_limit=10000 sshs_asks=yes; fi
  [ -z "$sshs_timeout" ] || [ "$((sshs_timeout * 500))" -ge "$sshs_limit" ] ||
    sshs_limit=$((sshs_timeout * 500))
}

# Sets sshs_last to the number of the newest attempt to log in, sshs_attempt to none, running, up, failed or
# broken (its process died without saying how it ended), and sshs_starter to its pid.
sshs_look() {
  sshs_last=0 sshs_attempt=none sshs_starter='' sshs_line=''
  for sshs_file in "$sshs_home"/starter.*; do
    sshs_word=${sshs_file##*.}
    case $sshs_word in
    *[!0123456789]*) ;;
    *) [ "$sshs_word" -le "$sshs_last" ] || sshs_last=$sshs_word ;;
    esac
  done
  [ "$sshs_last" -gt 0 ] || return 0
  { read -r sshs_starter sshs_word; read -r sshs_line; } <"$sshs_home/starter.$sshs_last"
  # The file is empty for a moment whenever it is written, and on a busy machine for longer.
  if [ -n "$sshs_starter" ]; then
    sshs_empty=''
  elif [ "$sshs_empty" != "$sshs_last" ]; then
    sshs_empty=$sshs_last sshs_since=$sshs_waited
  fi
  case $sshs_line in
  up | failed) sshs_attempt=$sshs_line ;;
  *)
    sshs_attempt=running
    if [ -n "$sshs_empty" ]; then
      [ "$((sshs_waited - sshs_since))" -lt 5000 ] || sshs_attempt=broken
    else
      sshs_lives "$sshs_starter" || sshs_attempt=broken
    fi
    ;;
  esac
} 2>/dev/null

# Logs in, unless another call was faster: becomes a session on the new lane or plain ssh, or exits as the
# login failed. Returns if the attempt is another call's.
sshs_start() {
  # -v, -E and -y show or redirect the messages of a login, and a master must not hold such a file.
  [ -z "$sshs_verbose" ] && ! sshs_is_limited || sshs_plain "$@"
  [ -d "$sshs_home" ] || mkdir -m 700 "$sshs_home" 2>/dev/null || [ -d "$sshs_home" ] || sshs_plain "$@"
  sshs_end_broken
  sshs_number=$((sshs_last + 1))
  sshs_lane=$sshs_home/$sshs_number
  sshs_create "$sshs_home/starter.$sshs_number" "$$ 0" || {
    [ ! -e "$sshs_home/starter.$sshs_number" ] || return
    # Its holder has just given up; or the disk is full or read-only, and the second try fails too.
    [ -z "$sshs_in_vain" ] || sshs_plain "$@"
    sshs_in_vain=yes
    return
  }
  sshs_look # If older ones were removed since the last look, ours may not be the newest.
  [ "$sshs_last" = "$sshs_number" ] || { rm -f "$sshs_home/starter.$sshs_number" && return; }
  sshs_mine=$sshs_number
  for sshs_word in HUP INT QUIT TERM; do trap "sshs_interrupted $sshs_word" "$sshs_word"; done
  sshs_log_in
  trap - HUP INT QUIT TERM
  [ -z "$sshs_up" ] || ! sshs_open_lane || sshs_ride "$@"
  sshs_give_up && {
    printf %s "$sshs_unsaid" >&2 # no session will print it
    exit 255                     # ssh has said why
  }
  sshs_end_stray
  sshs_plain "$@"
}

# Records that the lane is open.
sshs_open_lane() (
  umask 077
  printf '%s\n' "$sshs_record" >"$sshs_lane.lane" || exit
  echo up >>"$sshs_home/starter.$sshs_mine"
  true >"$sshs_dir/used"
) 2>/dev/null

# Records that the login failed. Fails if the cause may be on our side, so that plain ssh may do better: the
# proxy wants the terminal, our files are gone, or no socket can be created and linked into place, which
# is how ssh does it.
sshs_give_up() {
  [ -d "$sshs_lane.leases" ] && echo failed >>"$sshs_home/starter.$sshs_mine" || sshs_status=0
  [ -z "$sshs_wants_terminal" ] || { true >"$sshs_home/terminal" && sshs_status=0; }
  { true >"$sshs_lane.try" && ln "$sshs_lane.try" "$sshs_lane.tried"; } || sshs_status=0
  rm -rf "$sshs_lane".*
  [ "$sshs_status" -eq 255 ]
} 2>/dev/null

# Does this call run at a low priority, or with a limit to its CPU time, its files' size, or its open files
# (below 100: a session takes five)? The user's other calls must not depend on a master that inherits these.
sshs_is_limited() {
  sshs_stat
  [ "${sshs_nice:-0}" -gt 0 ] || [ "${sshs_policy:-0}" -gt 0 ] && return
  set -- $(ulimit -t; ulimit -f; ulimit -n)
  [ "$1 $2" != 'unlimited unlimited' ] || [ "$3" -lt 100 ]
} 2>/dev/null

# Ends the login of an attempt whose call was killed, and removes its files.
sshs_end_broken() {
  [ "$sshs_attempt" = broken ] || return 0
  sshs_lane=$sshs_home/$sshs_last
  sshs_end_stray # its pid may not have been noted
  rm -rf "$sshs_lane".*
} 2>/dev/null

# Starts the master and waits until it has logged in: sets sshs_status, and sshs_up if its socket exists.
sshs_log_in() {
  sshs_status=1 sshs_up='' sshs_wants_terminal='' sshs_lister='' sshs_unsaid=''
  # The log holds what is copied to the user until the login is done: a proxy's messages, or ssh's without
  # the warnings about its configuration, which the session will print.
  [ -z "$sshs_proxy$sshs_warnings" ] ||
    { (umask 077 && : >"$sshs_lane.log") && command exec 9<"$sshs_lane.log"; } || return
  if [ "$sshs_proxy" = jump ]; then
    (sshs_jump) </dev/null >/dev/null &
    sshs_await || return
  fi
  (
    trap - XFSZ
    [ -z "$sshs_warnings" ] || exec 2>>"$sshs_lane.log"
    [ -z "$sshs_proxy" ] ||
      export SSHS_SHELL="${SHELL:-/bin/sh}" SHELL="$sshs_bin/ssh" SSHS_LOG="$sshs_lane.log"
    export SSHS_INSIDE="$sshs_ssh"
    # A shell starts a job (&) with SIGINT ignored, and ssh would go on to its next question.
    sshs_defaults='env --default-signal=INT,QUIT'
    $sshs_defaults true 2>/dev/null || {
      set -f
      sshs_defaults='perl -e $SIG{INT}=$SIG{QUIT}="DEFAULT";exec{$ARGV[0]}@ARGV'
      $sshs_defaults true 2>/dev/null || sshs_defaults=''
    }
    # shellcheck disable=SC2086 # two words or none
    cd "$sshs_cwd" && sshs_master "$sshs_lane.sock" ${sshs_silent:+-o BatchMode=yes}
  ) </dev/null >/dev/null &
  sshs_await
  exec 9<&-
  [ "$sshs_status" -ne 0 ] || [ ! -S "$sshs_lane.sock" ] || sshs_up=yes
}

# Waits for the child that was started last. Notes its pid for the call that may take over from us, and
# makes the directory that opens the lane, with our lease in it.
sshs_await() {
  sshs_child=$!
  { echo "$$ $sshs_child" >"$sshs_home/starter.$sshs_mine"; } 2>/dev/null
  [ -d "$sshs_lane.leases" ] || sshs_prepare
  # bash may lose a SIGINT while it waits.
  while [ -n "$sshs_proxy$sshs_warnings${BASH_VERSION:-}" ] && kill -0 "$sshs_child" 2>/dev/null; do
    [ -z "$sshs_proxy$sshs_warnings" ] || sshs_copy
    sshs_pause $((sshs_waited < 1000 ? 20 : 100))
  done
  { wait "$sshs_child"; } 2>/dev/null # silences the shell's message about a killed child
  sshs_status=$? sshs_child=''
  # An agent that takes this long may be showing a dialog.
  [ -z "$sshs_lister" ] || ! kill "$sshs_lister" 2>/dev/null || rm -f "$sshs_lane.agent"
  sshs_lister=''
  # The last messages of a proxy that failed may still be on their way.
  [ -z "$sshs_proxy" ] || [ "$sshs_status" -eq 0 ] || sshs_pause 50
  [ -z "$sshs_proxy$sshs_warnings" ] || sshs_copy
  return "$sshs_status"
}

sshs_prepare() {
  mkdir -m 700 "$sshs_lane.leases" && true >"$sshs_lane.leases/$sshs_lease"
  # List the keys that this login may use: notedKeys() in lane/health.ts.
  if [ -n "$sshs_agent" ] && [ -x "${sshs_ssh%/*}/ssh-add" ]; then
    (
      umask 077
      export SSH_AUTH_SOCK="$sshs_agent"
      exec "${sshs_ssh%/*}/ssh-add" -L </dev/null >"$sshs_lane.agent"
    ) &
    sshs_lister=$!
  fi
  # Only the newest is needed, so that its number is not used again.
  for sshs_file in "$sshs_home"/starter.*; do
    [ "${sshs_file##*.}" -ge "$sshs_mine" ] || rm -f "$sshs_file"
  done
} 2>/dev/null

# Copies new lines of the log to stderr. If a proxy complains that it has no terminal, the call goes plain.
sshs_copy() {
  while IFS= read -r sshs_line <&9; do
    case $sshs_line in *dev/tty*) sshs_wants_terminal=yes ;; esac
    # Most lines of ssh end with a carriage return.
    case "
$sshs_warnings
" in *"
$sshs_line
"* | *"
${sshs_line%?}
"*)
      sshs_unsaid="$sshs_unsaid$sshs_line
"
      continue
      ;;
    esac
    printf '%s\n' "$sshs_line" >&2
  done
  [ -z "$sshs_line" ] || printf '%s' "$sshs_line" >&2
}

# Ends the attempt, and then this process by the same signal.
sshs_interrupted() {
  trap '' HUP INT QUIT TERM
  # The signal may have come before the child was noted. And a child may lose its first TERM, as it begins with
  # the handlers of this shell, or may be stopped.
  : "${sshs_child:=$!}"
  [ "${sshs_child:-0}" -le 0 ] ||
    while kill "$sshs_child" && kill -CONT "$sshs_child"; do sshs_pause 10; done 2>/dev/null
  [ -z "$sshs_mine" ] || rm -rf "$sshs_home/$sshs_mine".*
  trap - HUP INT QUIT TERM
  kill "-$1" $$
  exit 255
}

# Ends the lane's master, which no call can use: its call was killed, or it has logged in without a socket
# ("disabling multiplexing") and would never exit.
sshs_end_stray() {
  # ps may cut its lines to COLUMNS.
  COLUMNS=99999 ps -A -o pid= -o args= | while read -r sshs_pid sshs_line; do
    case $sshs_line in *"-S $sshs_lane.sock "*) kill "$sshs_pid" ;; esac
  done
} 2>/dev/null

# ---- other roles --------------------------------------------------------------------------------------

# Asks the master for the session's forwards, and records them: the sleeper cancels them when the session has
# ended. ssh itself asks for them again, which succeeds. If the master refuses, ssh would print an error before
# it logs in by itself; we become plain ssh silently.
sshs_forward() {
  {
    [ -d "$sshs_lane.forwards" ] || mkdir -m 700 "$sshs_lane.forwards"
    sshs_deadline
    # shellcheck disable=SC2086 # several words
    printf '%s\n' "$sshs_listens" >"$sshs_lane.forwards/$$" &&
      $sshs_within "$sshs_ssh" -S "$sshs_lane.sock" -O forward "$@" && return
    rm -f "$sshs_lane.leases/$sshs_lease"
    (sshs_program --take-back "$sshs_home" "${sshs_lane##*/}")
  } </dev/null >/dev/null 2>&1
  sshs_plain "$@"
}

# Runs a proxy command in place of the user's shell (ssh_proxy_connect() in sshconnect.c): in a session of
# its own, out of reach of the caller's terminal, with its stderr in the lane's log.
sshs_run_proxy() {
  SHELL=$SSHS_SHELL
  exec 2>>"$SSHS_LOG"
  unset SSHS_SHELL SSHS_LOG
  command -v setsid >/dev/null && exec setsid "$SHELL" "$@"
  exec perl -e 'use POSIX; POSIX::setsid(); exec @ARGV; exit 127' "$SHELL" "$@"
}

# Becomes the real scp or sftp, with the launcher as its ssh. Runs it by name rather than by path, since its
# error messages begin with argv[0]; the launcher that it calls restores PATH.
sshs_copy_files() {
  sshs_find "$sshs_role" || sshs_none "$sshs_role"
  export SSHS_PATH="$PATH"
  PATH=${sshs_found%/*}:$PATH
  [ "${SSHS:-}" != off ] && [ -x "$sshs_bin/ssh" ] && exec "$sshs_role" -S "$sshs_bin/ssh" "$@"
  exec "$sshs_role" "$@"
}

# Becomes the program: `sshs --list` and the like.
sshs_run_command() {
  [ -x "$sshs_deno" ] || { sshs_find deno && sshs_deno=$sshs_found; } || sshs_none deno
  # shellcheck disable=SC2086 # several words
  NODE_OPTIONS='' DENO_NO_UPDATE_CHECK=1 exec "$sshs_deno" run $sshs_flags "$sshs_program" "$@"
}

# ---- small things -------------------------------------------------------------------------------------

sshs_say() {
  [ -n "${sshs_quiet:-}" ] || echo "sshs: $*" >&2
}

# Creates the file $1 with the line $2, mode 0600; fails if it exists. Leaves no file behind on a full disk.
sshs_create() (
  umask 077
  set -C
  command exec 9>"$1" || exit # opened once: while it is empty another call may remove it
  echo "$2" >&9 || { rm -f "$1" && exit 1; }
) 2>/dev/null

# Sleeps for $1 milliseconds (below 1000), and adds them to sshs_waited.
sshs_pause() {
  sshs_waited=$((sshs_waited + $1))
  sshs_ms=000$1
  sleep "0.${sshs_ms#"${sshs_ms%???}"}" || sleep 1
} 2>/dev/null

# Continues where sshs_begin() has returned.
sshs_go_on() {
  case $sshs_role in
  proxy) sshs_run_proxy "$@" ;;
  scp | sftp) sshs_copy_files "$@" ;;
  command) sshs_run_command "$@" ;;
  esac
  if [ "$sshs_task" = plan ]; then # --why
    [ -n "$sshs_kind" ] && sshs_is_here
    exit
  fi
  # bash ignores a SIGINT if its child ends by itself meanwhile.
  [ -z "${BASH_VERSION:-}" ] || trap 'sshs_interrupted INT' INT
  if [ -z "$sshs_met" ]; then
    { [ -n "$sshs_kind" ] && sshs_is_here; } || { sshs_decide "$@" && sshs_is_here; } ||
      sshs_plain "$@"
    sshs_carry_out "$@"
  fi
  [ -z "$sshs_placed" ] || sshs_ride "$@"
  sshs_share "$@"
}

sshs_go_on "$@"
