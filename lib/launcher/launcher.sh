# shellcheck shell=sh disable=SC2154,SC2034,SC3013
# The launcher: the installed `ssh`, `scp`, `sftp` and `sshs` all run it. It carries out plans and becomes
# ssh; the program (main.ts) makes the decisions and writes the plans. launcher.ts puts a head above this
# text, with ssh's letters for getopts, and scripts in bin/ that set sshs_lib to its directory.
# lib/lane/layout.ts describes the state directory.
#
#   argv -> direct by its words alone ---------------------------------------> exec ssh "$@"  (settle.sh)
#        -> a plan that holds? no: the program, as a child, makes one                          (wait.sh)
#        -> direct -----------------------------------------------------------> exec ssh "$@"
#        -> share: a place on an open lane -----------------------------------> exec ssh -S <socket> "$@"
#                  none: wait for another's login (wait.sh), or log in (login.sh)
#
# This file is the way to an open lane: it forks nothing, and it is all that such a call parses. roles.sh has
# what is no call of ssh. If anything fails, here or in the program, the call becomes plain ssh.
# Our variables begin with sshs_: assigning to a name that the caller exports would change ssh's
# environment. -nt and -ef are not in POSIX, but dash, bash, busybox, ksh and zsh have them.
set +a +e +f +u +C # an exported SHELLOPTS turns these on in bash, which takes exported functions for commands
case ${BASH_VERSION-} in ?*) unset -f [ kill read printf echo sleep rm mkdir exec trap wait ;; esac

# ---- direct by words alone ----------------------------------------------------------------------------

# Parses the words as ssh's main() does, and sets sshs_leading to the number of words before the command.
# Fails if the call goes direct whatever the configuration says: its options have work that must end with
# the process, or control a master of the user's own. A settings file may allow some of these; then the
# program decides.
sshs_words() {
  sshs_verbose='' sshs_via='' sshs_target='' sshs_forwards='' sshs_control=''
  sshs_tty='' sshs_subsystem='' sshs_own='' sshs_leading=0 OPTIND=1
  sshs_options "$@" || return
  [ "$OPTIND" -le $# ] || return # no destination
  sshs_leading=$OPTIND sshs_at=$OPTIND
  eval "sshs_word=\${$((OPTIND > 1 ? OPTIND - 1 : OPTIND))}"
  shift "$sshs_leading"
  OPTIND=1
  # ssh reads options after the destination too, unless `--` stands before it.
  { [ "$sshs_word" = -- ] && [ "$sshs_at" -gt 1 ]; } || sshs_options "$@" || return
  sshs_leading=$((sshs_leading + OPTIND - 1))
  [ $# -ge "$OPTIND" ] || sshs_tty=yes
  [ -z "$sshs_subsystem" ] || [ $# -ge "$OPTIND" ] # ssh refuses a subsystem without a name
}

sshs_options() {
  while getopts ":$sshs_letters" sshs_letter; do
    case $sshs_letter in
    G | M | N | P | Q | V | Z | f | w | \? | :) return 1 ;; # -P takes a tag since 9.4, and nothing before
    S) [ -n "$sshs_settings" ] && [ "$sshs_leading" -eq 0 ] && sshs_own=yes || return ;;
    D | L | R) sshs_forwards=yes ;;
    O) sshs_control=yes ;;
    E | v | y) sshs_verbose=yes ;; # where a login's words go
    t) sshs_tty=yes ;;
    s) sshs_subsystem=yes ;;
    W) # ssh refuses a second one, and one without a port
      case $sshs_target,$OPTARG in ,*:*) ;; *) return 1 ;; esac
      sshs_via=.via sshs_target=$OPTARG
      ;;
    o) # a tool may bring a master of its own
      case $OPTARG in *[Cc][Oo][Nn][Tt][Rr][Oo][Ll]*) sshs_more settle && sshs_may_name || return ;; esac
      ;;
    esac
  done
  return 0
}

# Would a session over a master behave differently from plain ssh? The client of a master handles HUP, INT
# and TERM even if the call was started with them ignored (mux.c), and the master would read a terminal
# where plain ssh, in the background, is stopped. INT is ignored in all that sh starts by `&`, too, with
# /dev/null as stdin: such calls are shared.
sshs_is_apart() {
  sshs_caught=''
  for sshs_word in HUP INT TERM; do
    trap "sshs_caught=\$sshs_caught,$sshs_word" "$sshs_word"
    kill "-$sshs_word" $$
  done
  trap - HUP INT TERM
  case $sshs_caught in
  ,HUP,INT,TERM) ;;
  ,HUP,TERM) [ /dev/fd/0 -ef /dev/null ] || { sshs_more settle && sshs_is_sftp; } || return 0 ;;
  *TERM*TERM*) kill -TERM $$ ;; # one was not ours
  *INT*INT*) kill -INT $$ ;;
  *HUP*HUP*) kill -HUP $$ ;;
  *) return 0 ;;
  esac
  [ -t 0 ] && sshs_more settle && sshs_is_background
} 2>/dev/null

# Is the process $1 alive, and born at $2 ("": unknown)? A zombie is not: its parent may never reap it.
sshs_is_alive() {
  [ "${1:-0}" -gt 1 ] && kill -0 "$1" || return
  sshs_line=''
  read -r sshs_line <"/proc/$1/stat" || [ -e /proc/self/stat ] || return 0
  set -- "${2-}" ${sshs_line##*") "}
  [ "${2-Z}" != Z ] && { [ -z "$1" ] || [ "$1" = "${21-}" ]; }
} 2>/dev/null

# ---- where the state is, and for whom -----------------------------------------------------------------

# Sets sshs_dir to the state directory: $SSHS_DIR, else in the user's runtime directory, else in a temporary
# one. Fails, with "", if there is none that is ours and that ssh can use.
sshs_state() {
  sshs_dir=${SSHS_DIR:-}
  [ -n "$sshs_dir" ] || ! [ -d "${XDG_RUNTIME_DIR:-}" ] || ! [ -O "$XDG_RUNTIME_DIR" ] ||
    sshs_dir=$XDG_RUNTIME_DIR/sshs
  case $sshs_dir in
  *%* | *\$\{* | */ | [!/]* | '') ;;
  *) [ ! -d "$sshs_dir" ] || [ ! -O "$sshs_dir" ] || [ -L "$sshs_dir" ] || return 0 ;;
  esac
  sshs_more settle && sshs_settle_state
} 2>/dev/null

# Sets sshs_key to the name of the plan for the sshs_leading words before the command, a path of several names
# if it is long. No two lists of words have the same key. The letters are listed because [a-z] depends on the
# locale. Fails if there can be no plan.
sshs_name() {
  sshs_key='' sshs_count=0 sshs_word=$*
  [ ${#sshs_word} -le 50000 ] || return # A master takes no session whose command is too long.
  for sshs_word in "$@"; do
    [ "$((sshs_count += 1))" -le "$sshs_leading" ] || break
    # All hosts behind a jump host use one plan for it.
    [ "$sshs_task,$sshs_word" != "jump,$sshs_target" ] || sshs_word='[%h]:%p'
    case $sshs_word in
    '' | . | .. | *[!][ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+=:,./_~\ \"\'\$\(\){}*?\;\&\<\>\|-]*)
      sshs_key='' && return 1
      ;;
    esac
    sshs_key=$sshs_key${sshs_key:+!}$sshs_word
  done
  while :; do
    case $sshs_key in */*) sshs_key=${sshs_key%%/*}^${sshs_key#*/} ;; *) break ;; esac
  done
  [ ${#sshs_key} -le 200 ] || { sshs_more settle && sshs_split; }
}

# Sets sshs_job to what ends the processes that a call leaves behind: a service, a batch job or a container
# (its cgroup, unless that is a login's or a desktop's), and a CI that ends what carries its cookie.
sshs_belongs() {
  sshs_job='' sshs_line=''
  while read -r sshs_line; do
    case $sshs_line in
    0::/ | *:/ | *.slice | */session-*.scope | */init.scope | */user@*.service) ;;
    */app-*.s[ce][or]* | */vte-spawn-*.scope | */tmux-spawn-*.scope) ;;
    0::* | *:name=systemd:* | *:freezer:*) sshs_job=${sshs_line##*:} ;; # those that processes are ended by
    esac
  done </proc/self/cgroup
  sshs_job=$sshs_job${JENKINS_NODE_COOKIE-}${HUDSON_COOKIE-}${RUNNER_TRACKING_ID-}${VSTS_PROCESS_LOOKUP_ID-}
} 2>/dev/null

# Reads the plan, and fails if it does not hold: planText() in plan.ts wrote tests, and after them the
# settings that the rest uses. `command` keeps a damaged plan from ending the shell.
sshs_read() {
  sshs_plan=$sshs_dir/plans/$sshs_key sshs_kind='' sshs_void=''
  [ -f "$sshs_plan" ] && [ -O "$sshs_plan" ] && [ ! -L "$sshs_plan" ] || return
  command . "$sshs_plan" && [ -n "$sshs_kind" ] && [ -x "$sshs_ssh" ] || { sshs_kind='' && return 1; }
} 2>/dev/null

# ---- places on lanes ----------------------------------------------------------------------------------

# Takes a place on an open lane: sets sshs_lane, and leaves our lease on it. Otherwise sshs_full says that
# an open lane has no place left, and sshs_doubted that the far end of one has not answered lately.
sshs_find_place() {
  sshs_full='' sshs_doubted=''
  for sshs_file in "$sshs_home"/*.lane; do
    sshs_lane=${sshs_file%.lane}
    [ -S "$sshs_lane.sock" ] && [ -O "$sshs_lane.sock" ] && [ -d "$sshs_lane.leases" ] || continue
    sshs_take || continue
    if sshs_is_fit; then
      true >"$sshs_dir/used"
      return 0
    fi
    rm -f "$sshs_lane.leases/$sshs_lease"
    sshs_doubted=yes
  done
  return 1
} 2>/dev/null

# Takes a place on the lane so that two calls cannot take the last one: makes a lease, then counts all of
# them; too many: takes it back. A channel (-W) is no session, and always has a place. Without a linger, a
# lane is used only while another session is open on it.
sshs_take() {
  sshs_count_leases
  if [ -n "$sshs_via" ] || { [ "$sshs_running" -lt "$sshs_max" ] &&
    [ -n "$sshs_lingers" -o "$sshs_leases" -gt 0 -o -e "$sshs_lane.keep" ]; }; then
    true >"$sshs_lane.leases/$sshs_lease" || return # closed meanwhile
    sshs_count_leases
    [ -z "$sshs_via" ] && [ "$sshs_running" -gt "$sshs_max" ] || return 0
    rm -f "$sshs_lane.leases/$sshs_lease"
  fi
  sshs_full=yes
  return 1
}

# Counts the live leases on the lane: sshs_leases, and sshs_running without channels.
sshs_count_leases() {
  sshs_leases=0 sshs_running=0
  for sshs_file in "$sshs_lane.leases"/*; do
    sshs_word=${sshs_file##*/}
    kill -0 "${sshs_word%%.*}" || continue
    : $((sshs_leases += 1))
    case $sshs_word in *.via) ;; *) : $((sshs_running += 1)) ;; esac
  done
} 2>/dev/null

# Has the far end of the lane answered lately? The mark's mtime is when the last answer expires, and our lease
# was made just now. Until the sleeper has taken it over, a lane has only just logged in.
sshs_is_fit() {
  if [ -e "$sshs_lane.master" ]; then
    # A sleeper withdraws the mark when the master ends.
    [ "$sshs_lane.verified" -nt "$sshs_lane.leases/$sshs_lease" ] &&
      { [ -n "$sshs_awake" ] || sshs_is_awake || { sshs_more settle && sshs_has_master; }; }
  else
    # Who has seen its login run knows that it is up.
    [ "${sshs_lane##*/}" = "$sshs_awaited" ] || { sshs_more settle && sshs_listens; }
  fi
}

# Becomes a session on the lane. An open task prints the lane instead.
sshs_ride() {
  [ -n "$sshs_awake" ] || [ "$sshs_task" = why ] || sshs_is_awake || { sshs_more ask && sshs_wake; }
  case $sshs_task in why | open*) sshs_more settle && sshs_answer ;; esac
  [ -z "$sshs_marks" ] || export SSHS_INSIDE="$sshs_ssh"
  [ -z "$sshs_listens" ] || { sshs_more roles && sshs_forward "$@"; }
  trap - XFSZ
  # Stopped by Ctrl-Z, it would leave the terminal to the master, which reads on.
  [ -n "$sshs_tty" ] || [ ! -t 0 ] || trap '' TSTP
  [ -z "$sshs_own" ] || { sshs_more settle && sshs_ride_instead "$@"; }
  exec $sshs_alone "$sshs_ssh" -S "$sshs_lane.sock" -o ControlMaster=no "$@"
}

# Is a sleeper of this version or a later one running? Sets sshs_awake, and sshs_there to its namespaces.
sshs_is_awake() {
  sshs_awake='' sshs_sleeper='' sshs_word='' sshs_file='' sshs_there=''
  [ -f "$sshs_dir/sleeper" ] &&
    { read -r sshs_sleeper && read -r sshs_word && read -r sshs_file && read -r sshs_there; } <"$sshs_dir/sleeper" &&
    kill -0 "$sshs_sleeper" || return
  # It has the file open, so its pid is not another process's.
  [ -z "$sshs_file" ] || [ "/proc/$sshs_sleeper/fd/$sshs_file" -ef "$sshs_dir/sleeper" ] || return
  [ "$sshs_word" = "$sshs_version" ] || { sshs_more settle && sshs_is_later "$sshs_word"; } || return
  sshs_awake=yes
} 2>/dev/null

# Is the call in the namespaces of the plan? A namespace is compared as such, with that of the sleeper where
# it notes the same ones: so nothing has to be started.
sshs_is_here() {
  [ -n "$sshs_spaces" ] || return 0
  if sshs_is_awake && [ "$sshs_there" = "$sshs_spaces" ]; then
    sshs_file=/proc/$sshs_sleeper/ns
    [ /proc/self/ns/net -ef "$sshs_file/net" ] && [ /proc/self/ns/pid -ef "$sshs_file/pid" ] &&
      [ /proc/self/ns/mnt -ef "$sshs_file/mnt" ] && [ /proc/self/ns/user -ef "$sshs_file/user" ] && return
  fi
  sshs_more settle && sshs_look_around
  [ "$sshs_here" = "$sshs_spaces" ]
} 2>/dev/null

# Reads the file $1 of ours, once.
sshs_more() {
  case $sshs_have in *" $1 "*) return 0 ;; esac # a status: the test before may have failed
  [ -r "$sshs_lib/$1.sh" ] && . "$sshs_lib/$1.sh" && sshs_have="$sshs_have $1 "
}

sshs_plain() {
  sshs_more settle || exec /usr/bin/ssh "$@"
  sshs_become "$@"
}

# Becomes a session, or plain ssh, if the words, a plan and an open lane suffice for that. Otherwise returns
# with sshs_kind ("": there is no plan that holds) and the variables of the functions above set.
sshs_begin() {
  # What the call is for: "" (ssh), open (open a lane and print it), open-batch (the same without asking the
  # user), why, state (print the state directory), wake (start the sleeper), jump (from a ProxyCommand of ours).
  sshs_task=${SSHS_TASK:-} sshs_role=${0##*/} sshs_have='' sshs_settings=''
  sshs_ssh='' sshs_kind='' sshs_socket='' sshs_why='' sshs_void='' sshs_plan_is='' sshs_home='' sshs_only=''
  sshs_alone='' sshs_quiet='' sshs_claim='' sshs_asked='' sshs_mine='' sshs_child='' sshs_awake='' sshs_here='' sshs_pipe='' sshs_queued='' sshs_awaited=''
  unset SSHS_TASK
  [ -z "${SSHS_PATH+set}" ] || { PATH=$SSHS_PATH && unset SSHS_PATH; }
  case $sshs_role,$sshs_task,${1-} in
  proxy,* | scp,* | sftp,* | *,state,* | *,wake,* | sshs,,--?* | sshs,,-h | sshs,,) sshs_more roles && sshs_play "$@" ;;
  esac
  [ -z "${SSHS:-}" ] || { sshs_more settle && sshs_switch "$@"; }
  case ${SSHS_INSIDE:+$sshs_task.} in . | why.) sshs_why=inside && sshs_plain "$@" ;; esac
  [ ! -e "${XDG_CONFIG_HOME:-${HOME:-}/.config}/sshs/config.json" ] || sshs_settings=yes
  sshs_optarg=${OPTARG-} # the caller may export it
  sshs_words "$@" && { [ -z "$sshs_forwards" ] || [ -n "$sshs_settings$sshs_control" ]; } ||
    { OPTARG=$sshs_optarg sshs_why=words && sshs_plain "$@"; }
  OPTARG=$sshs_optarg
  [ -z "${LD_PRELOAD-}${LD_LIBRARY_PATH-}${LD_AUDIT-}${DYLD_INSERT_LIBRARIES-}" ] ||
    { sshs_why=preload && sshs_plain "$@"; } # ssh may lead elsewhere: torsocks, proxychains
  trap 'case $? in 2 | 254) sshs_more settle && sshs_rescue "$@" ;; esac' EXIT # it could not fork
  trap '' XFSZ # under `ulimit -f` a write fails, as on a full disk
  ! sshs_is_apart || { sshs_why=apart && sshs_plain "$@"; }
  sshs_state || { sshs_why=state && sshs_plain "$@"; }
  sshs_belongs
  sshs_name "$@" && sshs_read || return
  sshs_plan_is=held
  sshs_carry_out "$@"
}

# Carries out the decision if that needs no login and no wait.
sshs_carry_out() {
  [ -z "$sshs_notice" ] || [ "$sshs_task" = why ] || echo "$sshs_notice" >&2
  [ "$sshs_kind" = share ] || { sshs_why=plan && sshs_plain "$@"; }
  [ "$sshs_plan_is" != held ] || sshs_is_here || { sshs_kind='' sshs_plan_is='' sshs_void=namespaces && return; }
  [ -z "$sshs_copies" ] || { sshs_more settle && sshs_set_apart "$@"; }
  [ -z "$sshs_forced" ] && [ ! -e "$sshs_home/terminal" ] && [ ! -e "$sshs_home/direct" ] ||
    { sshs_more settle && sshs_may_share; } || { sshs_why=learned && sshs_plain "$@"; }
  sshs_lease=$$$sshs_via
  [ ! -e "$sshs_home/sessions" ] || { sshs_more settle && sshs_learn_max; }
  sshs_find_place && sshs_ride "$@"
}

sshs_begin "$@"
sshs_more ask || exec /usr/bin/ssh "$@"
sshs_go_on "$@"
