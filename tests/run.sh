#!/bin/sh
# Runs the whole gate, `deno task ok`, also on a fresh machine: what is missing is installed first (as
# root, from Debian's packages and npm), and nothing else is changed. The last line is
#
#   N passed, N failed[, N skipped]
#
# and the exit status is 0 only if every check and test passed and some test ran.
set -eu
cd "$(dirname "$0")/.."

# In seconds: a run is meant to take less than 15 minutes; what has not ended by then
# hangs, and has failed.
limit=840

main() {
  umask 022
  # Short: a socket's path takes 104 bytes at most. Open to the account that the tests log in to.
  work=$(mktemp -d /tmp/sshs.XXXXXX)
  chmod 755 "$work"
  export TMPDIR="$work" NO_COLOR=1
  task='' policy=''
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  install_missing || say "some tests will fail or be skipped"
  status=0
  run_gate || status=$?
  [ "$status" -ne 124 ] || say "the run took longer than $limit s"
  summarize "$status"
}

say() {
  echo "tests/run.sh: $*" >&2
}

clean_up() {
  trap '' INT TERM HUP
  # timeout(1) hands the signal on to all that it runs.
  [ -z "$task" ] || ! kill "$task" 2>/dev/null || wait "$task" || true
  [ -z "$policy" ] || rm -f "$policy"
  # A run that was interrupted leaves its account behind.
  ! command -v deno >/dev/null ||
    sh deno.sh run --quiet --allow-all tests/support/account.ts || true
  rm -rf "$work"
}

# PROGRAM:PACKAGE where the two differ.
install_missing() {
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
  required=$(lacking sshd:openssh-server ssh:openssh-client git python3 ps:procps \
    setsid:util-linux useradd:passwd)
  # The tests of a client that cannot be had are skipped.
  optional=$(lacking rsync tmux busybox zsh dash curl mandoc strace fish sshfs borg:borgbackup mosh \
    ansible:ansible-core google-authenticator:libpam-google-authenticator)
  complete=true
  if [ -n "$required$optional" ]; then
    install_packages || complete=false
  fi
  command -v deno >/dev/null || install_deno || complete=false
  $complete
}

lacking() {
  for program in "$@"; do
    command -v "${program%:*}" >/dev/null || printf '%s ' "${program#*:}"
  done
}

install_packages() {
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    say "cannot install (it takes root and apt-get): $required$optional"
    return 1
  fi
  # Not to start the sshd that is installed.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update >"$work/apt" 2>&1 || say "apt-get update failed: $(tail -n 1 "$work/apt")"
  installed=true
  # shellcheck disable=SC2086 # one word for each package
  [ -z "$required" ] || install_package $required || installed=false
  for package in $optional; do
    install_package "$package" || true
  done
  $installed
}

install_package() {
  say "installing $*"
  timeout 240 apt-get install --yes --no-install-recommends "$@" >"$work/apt" 2>&1 || {
    say "cannot install $*: $(tail -n 1 "$work/apt")"
    return 1
  }
}

install_deno() {
  if ! command -v npm >/dev/null; then
    say "cannot install deno: there is no npm"
    return 1
  fi
  prefix=$(npm prefix --global)
  # An ordinary user's own, where npm's cannot be written.
  [ -w "$prefix" ] || prefix=$HOME/.local
  PATH=$prefix/bin:$PATH
  command -v deno >/dev/null && return
  say "installing deno in $prefix"
  npm install --global --prefix "$prefix" deno >"$work/npm" 2>&1 || {
    say "cannot install deno: $(tail -n 3 "$work/npm")"
    return 1
  }
}

# Shows the output of the gate, and keeps it. In the background, so that a signal ends it at once;
# there sh ignores SIGINT, which the programs under test must not inherit.
run_gate() {
  mkfifo "$work/pipe"
  tee "$work/output" <"$work/pipe" &
  show=$!
  env --default-signal=INT,QUIT timeout --kill-after=10 "$limit" deno task ok >"$work/pipe" 2>&1 &
  task=$!
  result=0
  wait "$task" || result=$?
  task=''
  wait "$show"
  return "$result"
}

# From Deno's own line, of which each of its runs has one: ok | 12 passed (3 steps) | 0 failed | 1 ignored (5s)
summarize() {
  lines=$(grep -E '^(ok|FAILED) \| [0-9]+ passed' "$work/output") || true
  passed=$(count passed) failed=$(count failed) skipped=$(count ignored)
  # Formatting, lint, types or the run itself: a failure too. So is a run without a test.
  if [ "$failed" -eq 0 ] && { [ "$1" -ne 0 ] || [ "$passed" -eq 0 ]; }; then failed=1; fi
  if [ "$skipped" -eq 0 ]; then
    echo "$passed passed, $failed failed"
  else
    echo "$passed passed, $failed failed, $skipped skipped"
  fi
  [ "$failed" -eq 0 ]
}

count() {
  total=0
  for number in $(printf '%s\n' "$lines" | sed -n "s/.*| \([0-9]*\) $1.*/\1/p"); do total=$((total + number)); done
  echo "$total"
}

main
