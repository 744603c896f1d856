# shellcheck shell=sh disable=SC2154,SC2034,SC3013
# Logging in, one call at a time for each identity: the call that creates starter.<n> starts the connection
# master of lane <n>, on the user's terminal, and waits until ssh has gone to the background.

# Logs in, unless another call was faster: becomes a session on the new lane or plain ssh, or exits as the
# login failed. Returns if the attempt is another call's.
sshs_start() {
  [ -d "$sshs_home" ] || mkdir -m 700 "$sshs_home" 2>/dev/null || [ -d "$sshs_home" ] || sshs_plain "$@"
  [ "$sshs_attempt" != broken ] || sshs_end_broken
  sshs_number=$((sshs_last + 1))
  sshs_lane=$sshs_home/$sshs_number
  sshs_more wait
  sshs_create "$sshs_home/starter.$sshs_number" "$$ $sshs_birth" || {
    [ ! -e "$sshs_home/starter.$sshs_number" ] || return 0
    # Its holder has just given up; or the disk is full or read-only, and the second try fails too.
    [ -z "$sshs_in_vain" ] || sshs_plain "$@"
    sshs_in_vain=yes
    return 0
  }
  sshs_look # If older ones were removed since the last look, ours may not be the newest.
  [ "$sshs_last" = "$sshs_number" ] || { rm -f "$sshs_home/starter.$sshs_number" && return; }
  sshs_mine=$sshs_number sshs_earlier=${!-}
  for sshs_word in HUP INT QUIT TERM; do trap "sshs_interrupted $sshs_word" "$sshs_word"; done
  sshs_log_in
  trap - HUP INT QUIT TERM
  [ -z "$sshs_up" ] || ! sshs_is_as_decided "$@" || ! sshs_open_lane || sshs_ride "$@"
  sshs_give_up && {
    printf %s "$sshs_unsaid" >&2 # no session will print it
    exit 255                     # ssh has said why
  }
  sshs_end_stray
  sshs_plain "$@"
}

# May this call open a lane for others? -v, -E and -y show or redirect the messages of a login, and a master
# must not hold such a file.
sshs_may_open() {
  [ -z "$sshs_verbose" ] && ! sshs_is_limited
}

# Does this call run at a low priority, or with a limit to its CPU time, its files' size, or its open files
# (below 100: a session takes five)? The user's other calls must not depend on a master that inherits these.
sshs_is_limited() {
  sshs_more settle
  sshs_stat
  [ "${sshs_nice:-0}" -gt 0 ] || [ "${sshs_policy:-0}" -gt 0 ] && return
  set -- $(ulimit -t; ulimit -f; ulimit -n)
  [ "$1 $2" != 'unlimited unlimited' ] || [ "$3" -lt 100 ]
} 2>/dev/null

# Starts the master and waits until it has logged in: sets sshs_status, and sshs_up if its socket exists.
sshs_log_in() {
  sshs_status=1 sshs_up='' sshs_listing='' sshs_tail='' sshs_unsaid='' sshs_shower=''
  # What a proxy says goes to the log, and so does what ssh says if its warnings about the configuration would
  # be said once more by the session, or if it would keep the caller's stderr (before OpenSSH 8.5). Until the
  # login is done the log is copied to the user. A touch of a key is only asked for on a terminal.
  sshs_warned='' sshs_silent=''
  [ "$sshs_task" != open-batch ] || sshs_silent=yes
  [ -z "$sshs_warnings" ] || [ -t 2 ] || sshs_warned=yes
  [ -z "$sshs_proxy$sshs_warned$sshs_logged" ] || sshs_show_log || return
  sshs_prepare
  if [ "$sshs_proxy" = jump ]; then
    (sshs_jump) </dev/null >/dev/null &
    sshs_await || { sshs_end_show && return 1; }
  fi
  (
    trap - XFSZ
    [ -z "$sshs_warned$sshs_logged" ] || exec 2>>"$sshs_lane.log"
    [ -z "$sshs_proxy" ] ||
      export SSHS_SHELL="${SHELL:-/bin/sh}" SHELL="$sshs_lib/bin/proxy" SSHS_LOG="$sshs_lane.log"
    export SSHS_INSIDE="$sshs_ssh"
    set -f
    # shellcheck disable=SC2086 # several words
    cd "$sshs_cwd" &&
      sshs_master exec $sshs_before "$sshs_ssh" -S "$sshs_lane.sock" ${sshs_silent:+-o BatchMode=yes}
  ) </dev/null >/dev/null &
  sshs_await
  sshs_end_show
  [ "$sshs_status" -ne 0 ] || [ ! -S "$sshs_lane.sock" ] || sshs_up=yes
}

# Makes the directory that opens the lane, if the sleeper has not, with our lease in it. Lists the keys that
# this login may use: notedKeys() in lane/agent_keys.ts. Holds nothing of the caller's.
sshs_prepare() {
  [ -d "$sshs_lane.leases" ] || mkdir -m 700 "$sshs_lane.leases"
  true >"$sshs_lane.leases/$sshs_lease"
  if [ -n "$sshs_agent" ] && [ -n "$sshs_lister" ]; then
    (
      sshs_close
      umask 077
      export SSH_AUTH_SOCK="$sshs_agent"
      exec "$sshs_lister" -L </dev/null >"$sshs_lane.agent"
    ) &
    sshs_listing=$!
  fi
  # Only the newest is needed, so that its number is not used again.
  sshs_word=
  for sshs_file in "$sshs_home"/starter.*; do
    [ "${sshs_file##*.}" -ge "$sshs_mine" ] || sshs_word=$sshs_file
  done
  [ -z "$sshs_word" ] || true >"$sshs_dir/used" # the sleeper removes them
} 2>/dev/null

# Waits for the child that was started last: sets sshs_status.
sshs_await() {
  sshs_child=$!
  { wait "$sshs_child"; } 2>/dev/null # silences the shell's message about a killed child
  sshs_status=$? sshs_child=''
  # An agent that takes this long may be showing a dialog.
  [ -z "$sshs_listing" ] || ! kill "$sshs_listing" 2>/dev/null || rm -f "$sshs_lane.agent"
  sshs_listing=''
  return "$sshs_status"
}

# Starts to copy the lane's log to stderr: tail(1) follows it, by way of a pipe. Without pipes it is copied once
# the login is done. tail ends with this call, however that ends: the copying holds the caller's stderr.
sshs_show_log() {
  (umask 077 && : >"$sshs_lane.log") || return
  mkfifo -m 600 "$sshs_lane.words" 2>/dev/null || return 0
  ${sshs_setpriv:+"$sshs_setpriv" --pdeathsig TERM} tail -n +1 -f "$sshs_lane.log" >"$sshs_lane.words" 2>/dev/null &
  sshs_tail=$!
  sshs_show <"$sshs_lane.words" 3<"$sshs_lane.log" &
  sshs_shower=$!
}

# Copies lines to stderr, less the warnings that the session will print: those that tail gives (stdin) until it
# is ended, and then the others in the log (3). (It may look only once a second.)
sshs_show() {
  trap - EXIT HUP INT QUIT TERM
  exec 9>&2 2>/dev/null # a call that is interrupted removes the log
  sshs_count=0
  while IFS= read -r sshs_line; do
    : $((sshs_count += 1))
    sshs_is_warning || printf '%s\n' "$sshs_line" >&9
  done
  while IFS= read -r sshs_line <&3; do
    [ "$((sshs_count -= 1))" -ge 0 ] || sshs_is_warning || printf '%s\n' "$sshs_line" >&9
  done
  printf %s "$sshs_line" >&9
}

# Most lines of ssh end with a carriage return.
sshs_is_warning() {
  case "
$sshs_warnings
" in *"
$sshs_line
"* | *"
${sshs_line%?}
"*) return 0 ;; esac
  return 1
}

# Ends the copying once all has been copied. Sets sshs_wants_terminal if a proxy has complained that it has none,
# and sshs_unsaid to the warnings that were not printed.
sshs_end_show() {
  sshs_wants_terminal=''
  [ -f "$sshs_lane.log" ] || return 0
  # The last messages of a proxy that failed may still be on their way.
  [ "$sshs_status" -eq 0 ] || [ -z "$sshs_proxy" ] || sleep 0.05 2>/dev/null
  if [ -n "$sshs_shower" ]; then
    { kill "$sshs_tail" && wait "$sshs_shower"; } 2>/dev/null
    rm -f "$sshs_lane.words"
    sshs_shower=''
  else
    (sshs_show </dev/null 3<"$sshs_lane.log")
  fi
  [ "$sshs_status" -ne 0 ] || return 0
  while IFS= read -r sshs_line; do
    case $sshs_line in *dev/tty*) sshs_wants_terminal=yes ;; esac
    ! sshs_is_warning || sshs_unsaid="$sshs_unsaid$sshs_line
"
  done <"$sshs_lane.log"
}

# Is the connection the one that was decided on? What may have changed between the decision and the login (a
# Match exec) is asked again.
sshs_is_as_decided() {
  [ -z "$sshs_expects" ] || (sshs_program --same "$sshs_expects" -- "$@") >/dev/null && return
  sshs_status=0
  return 1
}

# Records that the lane is open, and wakes as many as have a place on it.
sshs_open_lane() {
  (
    umask 077
    printf '%s\n' "$sshs_record" >"$sshs_lane.lane" || exit
    echo up >>"$sshs_home/starter.$sshs_mine"
    true >"$sshs_dir/used"
  ) 2>/dev/null || return
  sshs_mine=''
  sshs_wake_all "${sshs_home##*/}" place "$((sshs_max - 1))"
}

# Records that the login failed, and wakes all who wait for it. Fails if the cause may be on our side, so that
# plain ssh may do better: the proxy wants the terminal, our files are gone, or no socket can be made, which
# ssh links into place.
sshs_give_up() {
  [ -d "$sshs_lane.leases" ] && echo failed >>"$sshs_home/starter.$sshs_mine" || sshs_status=0
  [ -z "$sshs_wants_terminal" ] || { true >"$sshs_home/terminal" && sshs_status=0; }
  [ "$sshs_status" -ne 255 ] || (sshs_program --try-socket "$sshs_home") >/dev/null || sshs_status=0
  rm -rf "$sshs_lane".*
  sshs_mine=''
  sshs_wake_all "${sshs_home##*/}" login
  [ "$sshs_status" -eq 255 ]
} 2>/dev/null

# Ends the attempt, and then this process by the same signal.
sshs_interrupted() {
  trap '' HUP INT QUIT TERM
  # The signal may have come before the child was noted: the newest, unless that is of before the login. And a
  # child may lose its first TERM, as it begins with the handlers of this shell, or may be stopped.
  [ "${!-}" = "$sshs_earlier" ] || : "${sshs_child:=${!-}}"
  [ "${sshs_child:-0}" -le 0 ] ||
    while kill "$sshs_child" && kill -CONT "$sshs_child"; do sleep 0.01 || sleep 1; done 2>/dev/null
  # shellcheck disable=SC2086 # several words
  kill $sshs_shower $sshs_listing $sshs_tail 2>/dev/null
  [ -z "$sshs_shower" ] || wait "$sshs_shower"
  [ -z "$sshs_mine" ] || rm -rf "$sshs_home/$sshs_mine".*
  [ -z "$sshs_mine" ] || sshs_wake_all "${sshs_home##*/}" login 1
  trap - EXIT HUP INT QUIT TERM # mksh would end with the status of its EXIT trap
  kill "-$1" $$
  exit 255
}

# Ends the login of an attempt whose call was killed, and removes its files.
sshs_end_broken() {
  sshs_lane=$sshs_home/$sshs_last
  [ -n "$sshs_setpriv" ] || sshs_end_stray # ended with its call
  rm -rf "$sshs_lane".*
} 2>/dev/null

# Ends the lane's master, which no call can use: its call was killed, or it has logged in without a socket
# ("disabling multiplexing") and would never exit.
sshs_end_stray() {
  # ps may cut its lines to COLUMNS.
  COLUMNS=99999 ps -A -o pid= -o args= | while read -r sshs_pid sshs_line; do
    case $sshs_line in *"-S $sshs_lane.sock "*) kill "$sshs_pid" ;; esac
  done
} 2>/dev/null
