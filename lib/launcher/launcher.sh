# shellcheck shell=sh disable=SC2154,SC3013,SC3028
# What the installed `ssh`, `scp` and `sftp` do. install.sh puts a head above this text: `#!/bin/sh`,
# the line that marks a launcher of ours, and the sshs_* settings that are used but not set below.
#
# Not one fork on the way to a shared session, and no decision: plans are made by main.ts and hold
# in every point or are not used. Our variables are called sshs_*, since a value given to a name
# that the caller exports would reach ssh, and each is set before it is read. -nt and -ef are not
# in POSIX, but in dash, bash, busybox and zsh. A shell without them takes the slow way.
set +e +f +u +C # an exported SHELLOPTS turns these on in bash

# Do these arguments have a plan, and does all of it hold now? Sets sshs_ssh and sshs_socket.
sshs_planned() {
  [ -z "${SSHS_INSIDE:-}" ] || return
  sshs_dir=${TMPDIR:-/tmp}/sshs-${UID:-$sshs_uid} # dash has no UID, and asking takes a fork
  [ -d "${XDG_RUNTIME_DIR:-}" ] && [ -O "$XDG_RUNTIME_DIR" ] && sshs_dir=$XDG_RUNTIME_DIR/sshs
  sshs_dir=${SSHS_DIR:-$sshs_dir} sshs_key='' sshs_plan='' sshs_pid=''
  [ "${sshs_dir#/}" != "$sshs_dir" ] && [ -O "$sshs_dir" ] && [ ! -L "$sshs_dir" ] || return

  # The key, as planKey() in launcher.ts makes it; the letters are listed, as [a-z] is not the same
  # in all locales. No plan's words are the beginning of another's, so the first met is the one.
  for sshs_word in "$@"; do
    [ -z "$sshs_plan" ] || case $sshs_word in -*) return 1 ;; *) break ;; esac # ssh's option?
    case $sshs_word in
    '' | *[!ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+=:,./_~\ -]*) return 1 ;;
    esac
    sshs_key=$sshs_key${sshs_key:+!}$sshs_word
    [ ${#sshs_key} -le 200 ] || return
    while case $sshs_key in */*) ;; *) false ;; esac do sshs_key=${sshs_key%%/*}^${sshs_key#*/}; done
    [ -f "$sshs_dir/plans/$sshs_key" ] && sshs_plan=$sshs_dir/plans/$sshs_key
  done
  [ -n "$sshs_plan" ] && [ -O "$sshs_plan" ] && [ ! -L "$sshs_plan" ] || return

  # planText() made it: tests, and after them the names used below. `command` keeps a damaged plan
  # from ending the shell.
  sshs_ssh='' sshs_socket='' sshs_verified='' sshs_leases='' sshs_sleeper='' sshs_free=0
  command . "$sshs_plan" && [ -x "$sshs_ssh" ] && [ -S "$sshs_socket" ] || return
  read -r sshs_pid <"$sshs_sleeper"
  case $sshs_pid in '' | *[!0123456789]*) return 1 ;; *) kill -0 "$sshs_pid" || return ;; esac

  # A full lane is left alone: a lease that is taken and not used keeps others out. The lease comes
  # before what is compared with it. It is empty, as main.ts leaves it: to note when this process was
  # born would take as long as all the rest. When a test fails now it stays, as no shell can remove a
  # file by itself: main.ts, which gets this pid, takes it over.
  sshs_count; [ "$sshs_taken" -lt "$sshs_free" ] && true >"$sshs_leases/$$" || return
  sshs_count
  [ "$sshs_verified" -nt "$sshs_leases/$$" ] && [ "$sshs_taken" -le "$sshs_free" ]
} 2>/dev/null

# How many leases on the lane have a process.
sshs_count() {
  sshs_taken=0
  for sshs_lease in "$sshs_leases"/*; do kill -0 "${sshs_lease##*/}" && : $((sshs_taken += 1)); done
}

# The real $1, in sshs_found: $SSHS_SSH for ssh, else the first in PATH. As findRealSsh() in
# real_ssh.ts it passes over launchers of ours, told by their second line whatever link or copy leads
# to them, and scripts that have called us back.
sshs_find() {
  sshs_found='' sshs_rest=${PATH-}:
  [ "$1" = ssh ] && sshs_found=${SSHS_SSH:-}
  while sshs_head='' sshs_line=''; do
    [ -f "$sshs_found" ] && { read -r sshs_head; read -r sshs_line; } <"$sshs_found"
    case $sshs_found,:${SSHS_INSIDE:-}:$sshs_head:$sshs_line in
    [!/]* | *:"$sshs_found":*'#!'* | *':# sshs launcher'*) ;;
    *) [ -f "$sshs_found" ] && [ -x "$sshs_found" ] && return ;;
    esac
    [ -n "$sshs_rest" ] || return
    sshs_found=${sshs_rest%%:*}/$1 sshs_rest=${sshs_rest#*:}
  done
} 2>/dev/null

case ${0##*/} in scp | sftp) sshs_name=${0##*/} ;; *) sshs_name=ssh ;; esac
case ${SSHS:-},$sshs_name in
off,*) ;;
*,ssh)
  sshs_planned "$@" && export SSHS_INSIDE="$sshs_ssh" &&
    exec "$sshs_ssh" -S "$sshs_socket" -o ControlMaster=no "$@"
  [ -x "$sshs_deno" ] || { sshs_find deno && sshs_deno=$sshs_found; }
  # Deno does not start in a directory that was removed, with a bound to its address space or as Node's
  # child with a channel, and ssh does. It would obey NODE_OPTIONS, ask the network for news of itself,
  # and takes all descriptors that it may have: deno_environment.ts makes it all as it was.
  case ${NODE_CHANNEL_FD:-}$(ulimit -v 2>/dev/null) in *[0123456789]*) sshs_program='' ;; esac
  # shellcheck disable=SC2086 # several words
  [ . -ef "$PWD" ] && [ -x "$sshs_deno" ] && [ -r "$sshs_program" ] &&
    export SSHS_NODE_OPTIONS="${NODE_OPTIONS-}" NODE_OPTIONS= SSHS_NOFILE="$(ulimit -S -n)" \
      DENO_NO_UPDATE_CHECK="${DENO_NO_UPDATE_CHECK:-sshs}" &&
    exec "$sshs_deno" run $sshs_flags "$sshs_program" --as=ssh "$@" ;;
*) [ -x "$sshs_bin/ssh" ] && sshs_find "$sshs_name" && exec "$sshs_found" -S "$sshs_bin/ssh" "$@" ;;
esac
sshs_find "$sshs_name" || { echo "sshs: there is no $sshs_name in PATH but sshs's own" >&2; exit 127; }
export SSHS_INSIDE="${SSHS_INSIDE:+$SSHS_INSIDE:}$sshs_found" && exec "$sshs_found" "$@"
