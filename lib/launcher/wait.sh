# shellcheck shell=sh disable=SC2154,SC2034,SC3013
# How a call waits: for a plan, for another's login, for a place on a lane, or for an answer about a lane in
# doubt. Who waits sleeps in the kernel, in a read from a pipe of its own in <state>/waiting, and whoever ends the
# wait (the call that logs in, the program, the sleeper) writes a line to it:
#
#   place   look again: there may be a place on a lane
#   login   look again, and log in if there is no place and nobody logs in
#   tick    a second has passed: the same, should all the others be gone
#   failed  the program gave no plan
#
# Being woken means no more than to look again: a wake that is lost or false costs time, never correctness.
# A program that holds the pipe open and ends at the call's patience is the deadline: the read then ends.

# ---- waiting --------------------------------------------------------------------------------------------

# Makes this call one that waits for $1 (an identity, or the pid of a call that asks the program), until
# sshs_ticks is sshs_limit, also if it has waited before. Fails if it waits already. Look once more before the
# first sshs_doze(): what you wait for may have come before the pipe was there. Without pipes the call looks
# once a second.
sshs_queue() {
  [ "$sshs_queued" != "$1" ] || return
  sshs_leave
  sshs_queued=$1 sshs_pipe=$sshs_dir/waiting/$1.$$
  [ -d "$sshs_dir/waiting" ] || mkdir -m 700 "$sshs_dir/waiting"
  mkfifo -m 600 "$sshs_pipe" || { sshs_pipe='' && return 0; }
  true >"$sshs_dir/used" # the sleeper watches this file
  # Opened for both, it does not wait for another side. The timer begins before the traps: a child that begins
  # with them may lose the signal that ends it. Then the timer alone has it open for writing.
  command exec 8<>"$sshs_pipe" || { rm -f "$sshs_pipe"; sshs_pipe='' && return 0; }
  sshs_timer_for "$((sshs_limit - sshs_ticks))" >&8 &
  sshs_timer=$!
  for sshs_word in HUP INT TERM; do trap "sshs_end_by $sshs_word" "$sshs_word"; done
  command exec 8<"$sshs_pipe"
} 2>/dev/null

# Ends $1 seconds from now, or with this call, and holds nothing of the caller's.
sshs_timer_for() {
  trap - EXIT HUP INT TERM
  exec </dev/null 2>/dev/null
  sshs_close
  [ ! -x "${sshs_setpriv:-/usr/bin/setpriv}" ] ||
    exec "${sshs_setpriv:-/usr/bin/setpriv}" --pdeathsig TERM sleep "$1"
  exec sleep "$1"
}

# Sleeps until woken, and sets sshs_news to the word. Fails when the call's patience is over.
sshs_doze() {
  if [ -z "$sshs_pipe" ] || ! sshs_keep_ticking; then
    sleep 1
    sshs_news=tick
    [ "$((sshs_ticks += 1))" -lt "$sshs_limit" ]
  else
    read -r sshs_news <&8 || return
    [ "$sshs_news" != tick ] || : $((sshs_ticks += 1))
  fi
}

# Makes this call one that does not wait.
sshs_leave() {
  sshs_queued=''
  [ -n "$sshs_pipe" ] || return 0
  kill "$sshs_timer"
  exec 8<&-
  rm -f "$sshs_pipe"
  sshs_pipe=''
  trap - HUP INT TERM
} 2>/dev/null

# Ends this call, which waits, by the signal $1.
sshs_end_by() {
  sshs_leave
  trap - EXIT HUP INT TERM # the call may just have left
  kill "-$1" $$
  exit 255
}

# Wakes those who wait for $1, with the word $2: the first $3 of them, or all.
sshs_wake_all() {
  sshs_count=0
  for sshs_file in "$sshs_dir/waiting/$1".*; do
    [ -p "$sshs_file" ] && [ "$sshs_count" -lt "${3:-1000000}" ] || continue
    : $((sshs_count += 1))
    sshs_poke "$sshs_file" "$2"
  done
} 2>/dev/null

# Writes the line $2 to the pipe $1. Opened for reading too, it never blocks, and the line is lost if nobody
# reads. To open a pipe that has just been removed is to create a file.
sshs_poke() {
  echo "$2" 1<>"$1"
  [ ! -f "$1" ] || rm -f "$1"
}

# Sees to it that a process wakes all who wait once a second, whoever else is gone. Fails if this call cannot
# start it: that would hold what the caller has open above 9 for as long as others wait.
sshs_keep_ticking() {
  sshs_file=$sshs_dir/waiting/ticker
  sshs_pid=''
  { [ ! -f "$sshs_file" ] || read -r sshs_pid sshs_born <"$sshs_file"; } 2>/dev/null
  ! sshs_is_alive "$sshs_pid" "$sshs_born" || return 0
  ! sshs_has_high || return
  [ -z "$sshs_pid" ] || rm -f "$sshs_file"
  sshs_create "$sshs_file" "$$" || return 0
  sshs_spawn "$sshs_file" sshs_tick
}

# Wakes all who wait once a second, as long as any does, and removes the pipes of those that were killed.
sshs_tick() {
  trap - EXIT
  trap '' HUP INT QUIT TERM
  sshs_close
  cd "$sshs_dir/waiting" || exit
  while :; do
    sleep 1 || exit
    sshs_waits=''
    for sshs_file in *.*; do
      [ -p "$sshs_file" ] || continue
      if kill -0 "${sshs_file#*.}"; then
        sshs_waits=yes
        sshs_poke "$sshs_file" tick
      else
        rm -f "$sshs_file"
      fi
    done
    [ -n "$sshs_waits" ] || break
  done
  rm -f ticker
  # Who came meanwhile has seen that file: woken, it starts another ticker.
  for sshs_file in *.*; do
    [ ! -p "$sshs_file" ] || sshs_poke "$sshs_file" tick
  done
  exit
}

# ---- sharing --------------------------------------------------------------------------------------------

# Runs the call over a lane: waits for a place, for another's login, or for an answer about a lane in doubt;
# or logs in.
sshs_share() {
  sshs_patience
  sshs_seen='' sshs_failures=0 sshs_empty='' sshs_in_vain='' sshs_ticks=0
  # Sessions may be short: the sleeper says whether to wait for a place.
  sshs_news=login
  [ -z "$sshs_full$sshs_doubted" ] || sshs_news=place
  while :; do
    sshs_look
    if sshs_may_start; then
      [ -z "$sshs_only" ] || { sshs_why=only && sshs_plain "$@"; }
      sshs_leave
      ! sshs_find_place || sshs_ride "$@" # the lane may have opened only after we looked
      { sshs_more login && sshs_may_open; } || { sshs_why=limits && sshs_plain "$@"; }
      [ "$sshs_task" != why ] || { sshs_tell share login; exit; }
      sshs_start "$@"
    elif [ "$sshs_failures" -ge 2 ]; then
      sshs_leave
      sshs_plain "$@"
    elif [ -n "$sshs_task$sshs_only" ] && sshs_does_not_wait; then
      sshs_leave
      sshs_plain "$@"
    elif ! sshs_queue "${sshs_home##*/}"; then
      [ -n "$sshs_awake" ] || sshs_is_awake || sshs_wake now
      sshs_doze || { sshs_leave && sshs_plain "$@"; }
      sshs_say_why
    fi
    case $sshs_attempt in
    running) sshs_awaited=$sshs_last && : "${sshs_seen:=$sshs_last}" ;; # the first one that it waits for
    up) sshs_seen='' ;;
    esac
    ! sshs_find_place || { sshs_leave && sshs_ride "$@"; }
  done
}

# May this call log in now? Not while another does. If a lane is full, or its far end has not answered, the
# sleeper says when; a second or, for an answer, five are enough if it says nothing.
sshs_may_start() {
  case $sshs_attempt in
  running) return 1 ;;
  failed)
    # The server may only have been busy: one of those who waited tries again. If that fails as well, no
    # other does, and all become plain ssh, also those who have not seen the second one run.
    [ -z "$sshs_seen" ] || sshs_failures=$((sshs_last - sshs_seen + 1))
    [ "$sshs_failures" -lt 2 ] || return
    ;;
  esac
  [ "$sshs_news" != login ] || return 0
  if [ -n "$sshs_doubted" ]; then
    [ "$sshs_ticks" -ge 5 ]
  else
    [ -z "$sshs_full" ] || [ "$sshs_news" = tick ]
  fi
}

# Sets sshs_limit to how many seconds the call waits for another call's login: no longer than for its own.
sshs_patience() {
  sshs_limit=120 sshs_asks=''
  [ -z "$sshs_batch" ] || sshs_limit=3
  if [ -z "$sshs_batch" ] && [ -t 2 ]; then sshs_limit=10 sshs_asks=yes; fi
  [ -z "$sshs_timeout" ] || [ "$(((sshs_timeout + 1) / 2))" -ge "$sshs_limit" ] ||
    sshs_limit=$(((sshs_timeout + 1) / 2))
}

# Tells the user on a terminal after 3 s what the call waits for.
sshs_say_why() {
  [ -n "$sshs_asks" ] && [ "$sshs_ticks" -ge 3 ] && [ "$sshs_attempt" = running ] || return 0
  sshs_asks=''
  sshs_say "waiting for the login to $sshs_host of another call (pid $sshs_starter)"
}

# For SSHS_TASK=why, which says what the call would wait for; and for SSHS=only, which waits for no login.
sshs_does_not_wait() {
  if [ "$sshs_task" = why ]; then
    sshs_more settle
    case $sshs_attempt,$sshs_doubted in
    running,*) sshs_tell share wait ;;
    *,yes) sshs_tell share doubt ;;
    *) sshs_tell share full ;;
    esac
    exit
  fi
  [ -n "$sshs_only" ] && [ "$sshs_attempt" = running ]
}

# Sets sshs_last to the number of the newest attempt to log in, sshs_attempt to none, running, up, failed or
# broken (its process died without saying how it ended), and sshs_starter to its pid.
sshs_look() {
  sshs_last=0 sshs_attempt=none sshs_starter='' sshs_born='' sshs_word=''
  for sshs_file in "$sshs_home"/starter.*; do
    case ${sshs_file##*.} in
    *[!0123456789]*) ;;
    *) [ "${sshs_file##*.}" -le "$sshs_last" ] || sshs_last=${sshs_file##*.} ;;
    esac
  done
  [ "$sshs_last" -gt 0 ] || return 0
  { read -r sshs_starter sshs_born; read -r sshs_word; } <"$sshs_home/starter.$sshs_last"
  case $sshs_word in
  up | failed) sshs_attempt=$sshs_word && return ;;
  esac
  if [ -e "$sshs_home/$sshs_last.lane" ]; then
    sshs_attempt=up # it was killed before it could say so
  elif [ -z "$sshs_starter" ]; then
    # The file is empty for a moment after it was made, and on a busy machine for longer.
    [ "${sshs_empty%% *}" = "$sshs_last" ] || sshs_empty="$sshs_last $sshs_ticks"
    sshs_attempt=running
    [ "$((sshs_ticks - ${sshs_empty##* }))" -lt 5 ] || sshs_attempt=broken
  elif sshs_is_alive "$sshs_starter" "$sshs_born"; then
    sshs_attempt=running
  else
    sshs_attempt=broken
  fi
} 2>/dev/null
