#!/bin/sh
# Shows an installed sshs at work against a throwaway sshd on loopback: `sh install.sh --demo`.
#
#   sh lib/launcher/demo.sh PREFIX DENO
#
# Keys, configuration and state live in a temporary directory, which is removed at the end. Without an sshd,
# a run as root installs one, which stays.
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
  PATH=${deno%/*}:$PATH
  real_ssh=$(command -v ssh) || fail 'there is no ssh in PATH'
  find_sshd
  start_sshd
  # ssh's own messages would break up the table.
  exec 3>"$dir/stderr"

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

find_sshd() {
  for sshd in "$(command -v sshd || :)" /usr/sbin/sshd /usr/local/sbin/sshd; do
    [ ! -x "$sshd" ] || return 0
  done
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "there is no sshd here: install OpenSSH's server (openssh-server), then run this again"
  fi
  printf 'There is no sshd here: installing openssh-server\n'
  # Runlevel 1 keeps Debian's package from starting a public server.
  { apt-get -q update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qy \
    install --no-install-recommends openssh-server; } </dev/null >"$dir/apt.log" 2>&1 ||
    fail "cannot install openssh-server: $(tail -n 1 "$dir/apt.log")"
  sshd=/usr/sbin/sshd
}

start_sshd() {
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
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
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
  if [ -d "$SSHS_DIR" ]; then
    "$prefix/bin/sshs" --stop --all --now >/dev/null 2>&1 </dev/null || :
    # The sleeper exits when it holds no connection, or when its directory is gone.
    sleeper=''
    [ ! -f "$SSHS_DIR/sleeper" ] || read -r sleeper <"$SSHS_DIR/sleeper" || :
    rm -rf "$SSHS_DIR"
    for _ in 1 2 3 4 5 6 7 8; do
      kill -0 "${sleeper:-none}" 2>/dev/null || break
      sleep 1
    done
  fi
  [ -z "$sshd_pid" ] || { kill "$sshd_pid" && wait "$sshd_pid"; } 2>/dev/null || :
  [ -z "$made_run" ] || rmdir /run/sshd 2>/dev/null || :
  rm -rf "$dir"
  exit "$status"
}

main
