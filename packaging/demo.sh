#!/bin/sh
# Shows an installed sshs at work against a throwaway sshd on loopback: `sh install.sh --demo`.
#
#   sh packaging/demo.sh PREFIX DENO
#
# Keys, configuration and state are in a temporary directory, which is removed at the end.
set -eu
prefix=$1 deno=$2

main() {
  dir=$(mktemp -d /tmp/sshs-demo.XXXXXX) # not in TMPDIR: control sockets need a short path
  sshd_pid='' made_run=''
  trap clean_up EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  unset SSHS SSHS_INSIDE SSHS_SSH SSHS_MAX_SESSIONS
  export SSHS_DIR="$dir/state" SSHS_LINGER=10m # the default; it is shorter for a host on loopback
  real_ssh=$(command -v ssh) || fail 'there is no ssh in PATH'
  start_sshd
  exec 3>"$dir/stderr" # ssh's own messages would break up the table

  printf '\nA throwaway sshd listens on 127.0.0.1:%s.\n\n' "$port"
  row 'logs in' "$prefix/bin/ssh"
  for _ in 1 2 3; do row 'shared' "$prefix/bin/ssh"; done
  ours=$(logins)
  for _ in 1 2; do row 'plain ssh, logs in' env SSHS=off "$real_ssh"; done
  printf '\nThe server counted %s for the four calls of sshs, and %s for the two of plain ssh.\n' \
    "$(count "$ours")" "$(count $(($(logins) - ours)))"
  # shellcheck disable=SC2016
  printf '\n$ sshs --list\n'
  "$prefix/bin/sshs" --list
}

fail() {
  printf 'demo: %s\n' "$*" >&2
  exit 1
}

start_sshd() {
  PATH=$PATH:/usr/sbin:/usr/local/sbin
  sshd=$(command -v sshd) || fail "there is no sshd here: install OpenSSH's server (openssh-server)"
  mkdir "$dir/client"
  ssh-keygen -q -t ed25519 -N '' -C demo -f "$dir/host_key"
  ssh-keygen -q -t ed25519 -N '' -C demo -f "$dir/client/key"
  # As root, sshd needs a directory that its package creates at boot.
  if [ "$(id -u)" = 0 ] && [ ! -d /run/sshd ] && mkdir /run/sshd 2>/dev/null; then made_run=yes; fi
  port=$("$deno" eval --no-config '
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    console.log(listener.addr.port);' </dev/null)
  # SHLVL: bash under sshd reads ~/.bashrc only as the outermost shell, and that may be slow.
  cat >"$dir/sshd_config" <<END
ListenAddress 127.0.0.1:$port
HostKey $dir/host_key
AuthorizedKeysFile $dir/client/key.pub
PidFile none
StrictModes no
UsePAM no
SetEnv SHLVL=2
END
  cat >"$dir/client/config" <<END
Host demo
  HostName 127.0.0.1
  Port $port
  User $(id -un)
  IdentityFile $dir/client/key
  IdentitiesOnly yes
  UserKnownHostsFile $dir/client/known_hosts
  GlobalKnownHostsFile none
  UpdateHostKeys no
END
  printf '[127.0.0.1]:%s %s\n' "$port" "$(cat "$dir/host_key.pub")" >"$dir/client/known_hosts"
  # No plan is kept for a configuration that was written in the last two seconds.
  touch -t 200001010000 "$dir"/client/* "$dir/client"
  "$sshd" -D -f "$dir/sshd_config" -E "$dir/sshd.log" </dev/null &
  sshd_pid=$!
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    ! grep -q 'Server listening' "$dir/sshd.log" 2>/dev/null || return 0
    kill -0 "$sshd_pid" 2>/dev/null || break
    sleep 1
  done
  fail "sshd does not start: $(cat "$dir/sshd.log")"
}

# Runs one call and prints how long it took. The clock is Deno's: sh has none finer than a second.
row() {
  what=$1
  shift
  "$deno" run --quiet --no-config --allow-run - "$what" "$@" -F "$dir/client/config" demo true \
    2>&3 <<'END' || fail "a call failed: $(cat "$dir/stderr" "$dir/sshd.log")"
    const [what, program, ...args] = Deno.args;
    const start = performance.now();
    const { code } = new Deno.Command(program, { args, stdin: "null", stderr: "inherit" }).outputSync();
    const time = `${(performance.now() - start).toFixed(0)} ms`;
    console.log(`$ ssh demo true   # ${what.padEnd(22)}${time.padStart(8)}`);
    Deno.exit(code);
END
}

logins() { grep -c 'Accepted publickey' "$dir/sshd.log" || :; }

count() { if [ "$1" = 1 ]; then echo '1 login'; else echo "$1 logins"; fi; }

clean_up() {
  status=$?
  trap '' HUP INT TERM
  sleeper=''
  [ ! -f "$SSHS_DIR/sleeper" ] || read -r sleeper <"$SSHS_DIR/sleeper" || :
  "$prefix/bin/sshs" --uninstall --prefix "$prefix" --now >/dev/null 2>&1 </dev/null || :
  rm -rf "$SSHS_DIR" # without it the sleeper exits
  for _ in 1 2 3 4 5 6 7 8; do
    kill -0 "${sleeper:-none}" 2>/dev/null || break
    sleep 1
  done
  [ -z "$sshd_pid" ] || { kill "$sshd_pid" && wait "$sshd_pid"; } 2>/dev/null || :
  [ -z "$made_run" ] || rmdir /run/sshd 2>/dev/null || :
  rm -rf "$dir"
  exit "$status"
}

main
