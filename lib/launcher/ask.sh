# shellcheck shell=sh disable=SC2154,SC2034,SC3013
# The program (Deno): how a call asks it for a decision, and how the sleeper is started.

# Continues where sshs_begin() has returned.
sshs_go_on() {
  # bash ignores a SIGINT if its child ends by itself meanwhile.
  [ -z "${BASH_VERSION:-}" ] || trap 'sshs_more login && sshs_interrupted INT' INT
  if [ -z "$sshs_kind" ]; then
    sshs_decide "$@" || { sshs_why=program && sshs_plain "$@"; }
    sshs_carry_out "$@"
  fi
  sshs_more wait && sshs_share "$@"
}

# Asks the program for a decision, and sets what it answers. Of several calls with the same words at the same
# moment one asks, and the others wait for the plan that it leaves. Fails if there is no answer.
sshs_decide() {
  sshs_claim='' sshs_limit=10
  sshs_more settle && sshs_more wait && sshs_look_around && sshs_stat
  sshs_find ssh && sshs_ssh=$sshs_found || sshs_lacks ssh
  if [ -n "$sshs_key" ]; then
    # A call that came too late for an answer waits for the next one, or asks for it.
    for sshs_try in 1 2 3; do
      sshs_claim=$sshs_dir/plans/$sshs_key#
      sshs_create "$sshs_claim" "$$ $sshs_birth" && break
      case $sshs_key in
      */*) [ -d "${sshs_claim%/*}" ] || mkdir -p -m 700 "${sshs_claim%/*}" 2>/dev/null ;;
      *) [ -d "$sshs_dir/plans" ] || mkdir -m 700 "$sshs_dir/plans" 2>/dev/null ;;
      esac
      [ ! -e "$sshs_claim" ] || ! sshs_wait_for_plan || return 0
      sshs_claim=''
      [ -n "$sshs_limit" ] || return
    done
  fi
  # The braces silence the shell's own message about a child that a signal has killed.
  sshs_word=--
  [ "$sshs_task" != why ] || sshs_word=why
  { sshs_answer=$(sshs_program --decide "$$" "$sshs_claim" "$sshs_key" "$sshs_leading" "$sshs_word" "$@") ||
    sshs_answer=''; } 2>/dev/null
  sshs_kind='' sshs_plan_is=made sshs_word=place
  # The last line shows that the answer is complete. The program has removed the claim by then, so that it may
  # be the next call's.
  case $sshs_answer in
  *'
sshs_kind='*) eval "$sshs_answer" ;;
  *)
    [ -z "$sshs_claim" ] || rm -f "$sshs_claim" 2>/dev/null
    sshs_word=failed
    ;;
  esac
  sshs_wake_all "$$" "$sshs_word"
  sshs_claim=''
  [ -n "$sshs_kind" ] && [ -x "$sshs_ssh" ]
}

# Waits for the call that has the claim. Sets sshs_asked to its pid if we came before the program looked at
# ssh's configuration: then its answer is ours too, even if it is good for this moment only. Sets sshs_limit
# to "" if it does not answer.
sshs_wait_for_plan() {
  sshs_first='' sshs_asked='' sshs_ticks=0 sshs_news=''
  while [ -f "$sshs_claim" ]; do
    sshs_pid='' sshs_born='' sshs_word=''
    { read -r sshs_pid sshs_born && read -r sshs_word; } 2>/dev/null <"$sshs_claim"
    # The claim is empty for a moment after it was made, and on a busy machine for longer.
    if [ -z "$sshs_pid" ]; then
      [ "$sshs_ticks" -lt 2 ] || { rm -f "$sshs_claim" && break; }
    elif [ "${sshs_first:=$sshs_pid}" != "$sshs_pid" ]; then
      break
    else
      sshs_is_alive "$sshs_pid" "$sshs_born" || { rm -f "$sshs_claim" && break; }
      [ -n "$sshs_word" ] || sshs_asked=$sshs_pid
    fi
    # Looks once more after it has queued: the plan may have come meanwhile.
    sshs_queue "${sshs_pid:-0}" || sshs_doze || { sshs_limit='' && break; }
  done # not silenced as a whole: the shell would keep stderr open above 9, see sshs_keep_ticking()
  sshs_leave
  sshs_read && sshs_plan_is=held && return
  [ "$sshs_news" != failed ] || sshs_limit=''
  sshs_asked=''
  return 1
}

# Becomes the program, with the words $*, for at most 10 s. The user does not see Deno's panics.
sshs_program() {
  umask 077
  sshs_find_deno || exit
  sshs_deadline
  sshs_run_deno "$@"
} </dev/null 2>/dev/null

# Sets sshs_deno and sshs_program, the path of what it runs. Fails if there is no Deno.
sshs_find_deno() {
  sshs_deno='' sshs_within='' sshs_closes=''
  [ ! -r "$sshs_lib/program" ] || . "$sshs_lib/program"
  [ -x "$sshs_deno" ] || { sshs_more settle && sshs_find deno && sshs_deno=$sshs_found; }
}

# Becomes the program with the words "$@", told what is settled. NODE_OPTIONS would make Deno load other code,
# and without DENO_NO_UPDATE_CHECK it would use the network.
sshs_run_deno() {
  [ -n "$sshs_here" ] || { sshs_more settle && sshs_look_around; }
  unset NODE_OPTIONS
  export DENO_NO_UPDATE_CHECK=1
  set -- "$sshs_deno" run $sshs_flags "$sshs_program" \
    --from "$sshs_lib" "$sshs_dir" "$sshs_ssh" "$sshs_job" "$sshs_here" "$@"
  [ -z "$sshs_closes" ] || exec bash "$sshs_lib/closed.sh" "$@"
  # shellcheck disable=SC2086 # several words
  exec $sshs_within "$@"
}

# Sets sshs_within to the words before a program that may run for at most 10 s.
sshs_deadline() {
  sshs_within=$(command -v timeout)
  if [ -z "$sshs_within" ]; then
    sshs_within=$(command -v perl) && sshs_within="$sshs_within -e alarm(shift);exec(@ARGV) 10"
  elif [ "$sshs_within" -ef "$(command -v busybox)" ]; then
    sshs_within="$sshs_within -s KILL 10" # it stays in the foreground, and knows no word for that
  else
    sshs_within="$sshs_within --foreground -s KILL 10" # Ctrl-C must reach it
  fi
}

# ---- the sleeper ----------------------------------------------------------------------------------------

# Starts the sleeper, unless another call does. It holds nothing of the caller's: neither files nor the
# environment. It starts a second later, so that the call itself goes first: at once if $1 is now, as calls
# wait. It removes the file sleeper.start, which names its process, once it is there.
sshs_wake() {
  sshs_find_deno || return 0
  sshs_now=${1-} sshs_awake=yes sshs_pid=''
  sshs_file=$sshs_dir/sleeper.start
  if ! sshs_create "$sshs_file" "$$"; then
    [ ! -f "$sshs_file" ] || read -r sshs_pid sshs_born <"$sshs_file"
    ! sshs_is_alive "$sshs_pid" "$sshs_born" || return 0
    rm -f "$sshs_file"
    sshs_create "$sshs_file" "$$" || return 0
  fi
  sshs_spawn "$sshs_file" sshs_sleep_first || rm -f "$sshs_file"
} 2>/dev/null

sshs_sleep_first() {
  trap - EXIT
  trap '' HUP INT QUIT
  sshs_close
  cd /
  umask 077
  # sh cannot name what the caller has open above 9: bash closes it, else the sleeper does, and at once.
  if sshs_has_high; then
    sshs_now=yes
    ! command -v bash >/dev/null || sshs_closes=yes
  fi
  [ -n "$sshs_now" ] || sleep 1
  for sshs_word in $(export -p); do
    case $sshs_word in
    HOME=* | PATH=* | TMPDIR=* | DENO_DIR=* | XDG_CACHE_HOME=* | SSHS_LOOK=*) ;;
    [ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_]*=*) command unset "${sshs_word%%=*}" ;;
    esac
  done
  export SSHS_INSIDE=sleeper
  sshs_flags="$sshs_sleeper_flags $sshs_flags"
  sshs_run_deno --sleeper
}

# ---- small things ----------------------------------------------------------------------------------------

# Runs the function $2 in a process of its own, which it writes to the file $1. By a process that ends at once: the
# ssh that this one becomes has no child, as plain ssh has none.
sshs_spawn() (
  "$2" </dev/null >/dev/null 2>&1 &
  sshs_read_birth "$!"
  echo "$! $sshs_born" >"$1"
)

# Closes what the caller has open above stderr, as far as sh can name it.
sshs_close() {
  exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
}

# Sets sshs_born to the birth of the process $1, "" if the system does not say.
sshs_read_birth() {
  sshs_born='' sshs_line=''
  read -r sshs_line <"/proc/$1/stat"
  set -- ${sshs_line##*") "}
  sshs_born=${20-}
} 2>/dev/null

# Does the caller have files open above 9, which sh cannot name? The shell's own are closed at an exec: Linux
# says so; elsewhere its scripts are known.
sshs_has_high() {
  for sshs_word in /dev/fd/??*; do
    sshs_line=''
    { read -r sshs_line && read -r sshs_line; } </proc/self/fdinfo/"${sshs_word##*/}"
    case $sshs_line in flags:*[2367]??????) continue ;; esac # O_CLOEXEC
    [ ! -e "$sshs_word" ] || [ "$sshs_word" -ef "$0" ] || [ "$sshs_word" -ef "$sshs_lib/launcher.sh" ] || return 0
  done
  return 1
} 2>/dev/null

# Creates the file $1 with the line $2, mode 0600; fails if it exists. Leaves no file behind on a full disk.
sshs_create() (
  umask 077
  set -C
  # A named pipe would be waited for. Opened once: while it is empty another call may remove it.
  [ ! -e "$1" ] && command exec 9>"$1" || exit
  echo "$2" >&9 || { rm -f "$1" && exit 1; }
) 2>/dev/null
