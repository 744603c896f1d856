# shellcheck shell=sh disable=SC2154,SC2034,SC3013
# What is no call of ssh: scp and sftp, our own commands (sshs --list), the shell of a ProxyCommand; and the
# forwards of a call.

# Plays the role by which this process was called, and does not return, unless it is a call after all.
sshs_play() {
  case $sshs_role,$sshs_task,${1-} in
  proxy,*) sshs_run_proxy "$@" ;;
  scp,* | sftp,*) sshs_copy_files "$@" ;;
  *,state,*)
    sshs_state && echo "$sshs_dir"
    exit
    ;;
  *,wake,*) # starts a sleeper if none is awake
    sshs_prepare_program && { sshs_is_awake || sshs_wake now; }
    exit
    ;;
  sshs,,--with) sshs_run_with "$@" ;;
  sshs,,--fresh) sshs_call_afresh "$@" ;;
  sshs,,--*) sshs_run_command "$@" ;;
  *)
    sshs_more settle
    sshs_find ssh || sshs_lacks ssh
    "$sshs_found" "$@"
    sshs_status=$?
    sshs_say 'hint: see sshs --help'
    exit "$sshs_status"
    ;;
  esac
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
  sshs_more settle
  sshs_find "$sshs_role" || sshs_lacks "$sshs_role"
  ! sshs_is_off || exec "$sshs_found" "$@"
  export SSHS_PATH="$PATH"
  PATH=${sshs_found%/*}:$PATH
  exec "$sshs_role" -S "$sshs_lib/bin/ssh" "$@"
}

# ---- our own commands -----------------------------------------------------------------------------------

# Settles what the program is told, and finds Deno. Fails, having said so, if there is none.
sshs_prepare_program() {
  sshs_more settle && sshs_more ask
  sshs_find ssh && sshs_ssh=$sshs_found
  sshs_state
  sshs_belongs
  sshs_look_around
  sshs_find_deno && return
  sshs_say "Deno is not at ${sshs_deno:-its place}, nor in PATH"
  sshs_say 'hint: https://deno.com, then sshs --install'
  return 1
}

# Becomes the program: `sshs --list` and the like. Some can be done without it.
sshs_run_command() {
  sshs_prepare_program && sshs_run_deno "$@"
  case $1 in
  --stop) sshs_stop "$@" ;;
  --uninstall) sshs_uninstall "$@" ;;
  esac
  exit 1
}

# `sshs --with [HOST...] -- COMMAND`: the program makes a state directory for the job and logs in; then this
# process becomes the command, so that its signals, terminal and limits are its own. The sleeper of that
# directory ends the job's connections when the process is gone.
sshs_run_with() {
  sshs_prepare_program || exit 1
  sshs_job_dir=$(sshs_run_deno --job "$$" "$@") || exit
  while [ "$1" != -- ]; do shift; done
  shift
  export SSHS_DIR="$sshs_job_dir" PATH="$sshs_lib/bin${PATH:+:$PATH}"
  command -v "$1" >/dev/null || { sshs_say "cannot run $1: not found"; exit 127; }
  exec "$@"
}

# `sshs --fresh HOST`: the program closes what is shared; then the call follows. Without Deno the call is plain
# ssh, which is a new login too.
sshs_call_afresh() {
  if sshs_prepare_program; then
    (sshs_run_deno "$@" </dev/null) || exit
    shift
    exec "$sshs_lib/bin/ssh" "$@"
  fi
  shift
  sshs_plain "$@"
}

# Without Deno: `sshs --stop HOST|--all [--now]`, where HOST is as it was typed when the connection was opened.
sshs_stop() {
  sshs_request=stop sshs_host='' sshs_found=''
  for sshs_word in "$@"; do
    case $sshs_word in
    --now) sshs_request=exit ;;
    --*) ;;
    *) sshs_host=$sshs_word ;;
    esac
  done
  for sshs_file in "$sshs_dir"/*/*.lane; do
    read -r sshs_line <"$sshs_file" || continue
    sshs_line=${sshs_line#*'"destination":"'}
    sshs_line=${sshs_line%%'"'*}
    [ -z "$sshs_host" ] || [ "$sshs_host" = "$sshs_line" ] || continue
    mv "${sshs_file%.lane}.leases" "${sshs_file%.lane}.retired"
    "$sshs_ssh" -S "${sshs_file%.lane}.sock" -O "$sshs_request" "$sshs_line" || continue
    echo "$sshs_line: stopped"
    sshs_found=yes
  done 2>/dev/null
  [ -n "$sshs_found" ] || sshs_say "no shared connection matches ${sshs_host:---all}"
  [ -n "$sshs_found" ]
  exit
}

# Without Deno: `sshs --uninstall`. What the installation made is listed in its library.
sshs_uninstall() {
  sshs_prefix=${sshs_lib%/lib/sshs}
  [ "$sshs_prefix" != "$sshs_lib" ] || { sshs_say 'sshs is not installed here'; exit 1; }
  for sshs_word in ssh scp sftp sshs; do
    [ ! "$sshs_prefix/bin/$sshs_word" -ef "$sshs_lib/bin/$sshs_word" ] || rm -f "$sshs_prefix/bin/$sshs_word"
  done
  rm -f "$sshs_prefix/share/man/man1/sshs.1" "$sshs_prefix/share/bash-completion/completions/sshs" \
    "$sshs_prefix/share/zsh/site-functions/_sshs" "$sshs_prefix/share/fish/vendor_completions.d/sshs.fish"
  rm -rf "$sshs_lib"
  echo "sshs is removed from $sshs_prefix; open connections close by themselves"
  exit
}

# ---- forwards -------------------------------------------------------------------------------------------

# Asks the master for the session's forwards, and records them: the sleeper cancels them when the session has
# ended. ssh itself asks for them again, which succeeds. If the master refuses, ssh would print an error before
# it logs in by itself; we become plain ssh, which says what is wrong.
sshs_forward() {
  sshs_more ask
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
