#!/bin/sh
# Runs the whole gate, `deno task ok`, also on a fresh machine: installs what is missing first (as root,
# from Debian's packages and npm), and changes nothing else. The last line is
#
#   N passed, N failed[, N skipped]
#
# and the exit status is 0 only if every check and test passed and at least one test ran.
set -eu
cd "$(dirname "$0")/.."

# In seconds, not counting the installation. A run takes 4 minutes, and longer on a busy machine; one that
# reaches this limit hangs, and has failed.
limit=1500
# In kB, for all processes of the gate together.
memory=$((4 * 1024 * 1024))

main() {
  umask 022
  # Short: a socket's path has at most 104 bytes. Open to the account that the tests log in to.
  work=$(mktemp -d /tmp/s.XXXXXX) # short: in a longer one there is no room for a job's sockets
  chmod 755 "$work"
  export TMPDIR="$work" NO_COLOR=1 SSHS_TEST_REASONS="$work/reasons"
  task='' watcher='' policy=''
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  install_missing || say "some tests will fail or be skipped"
  get_oldest_deno || say "no Deno $oldest: its test is skipped"
  status=0
  run_gate || status=$?
  case $status in
  124) ended="it took longer than $limit s" ;;
  137 | 143) ended="it was killed (status $status)" ;;
  *) ended='' ;;
  esac
  [ ! -e "$work/memory" ] || ended=$(cat "$work/memory")
  [ -z "$ended" ] || report_end
  summarize "$status"
}

say() {
  echo "tests/run.sh: $*" >&2
}

# Deno tells why tests failed at the end of a run only; tests/support/reasons.ts does so at once.
report_end() {
  say "the run was ended: $ended; these are the tests that were over by then"
  [ ! -e "$work/reasons" ] || {
    say "and this is why some of them failed:"
    cat "$work/reasons" >&2
  }
}

clean_up() {
  trap '' INT TERM HUP
  # timeout(1) passes the signal on to all that it runs.
  [ -z "$task" ] || ! kill "$task" 2>/dev/null || wait "$task" || true
  [ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true
  [ -z "$policy" ] || rm -f "$policy"
  # An interrupted run leaves its account behind. Quietly: the summary is the last line.
  ! command -v deno >/dev/null ||
    sh deno.sh run --quiet --allow-all tests/support/account.ts >/dev/null 2>&1 || true
  rm -rf "$work"
}

# PROGRAM:PACKAGE where the two differ.
install_missing() {
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
  required=$(lacking sshd:openssh-server ssh:openssh-client git python3 ps:procps \
    setsid:util-linux useradd:passwd)
  # The tests of a client that cannot be installed are skipped.
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
  # Keeps the package from starting sshd.
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
  # An ordinary user's own prefix, if npm's is not writable.
  [ -w "$prefix" ] || prefix=$HOME/.local
  PATH=$prefix/bin:$PATH
  command -v deno >/dev/null && return
  say "installing deno in $prefix"
  npm install --global --prefix "$prefix" deno >"$work/npm" 2>&1 || {
    say "cannot install deno: $(tail -n 3 "$work/npm")"
    return 1
  }
}

# Installs the oldest Deno that sshs supports, in the user's cache, for tests/install_test.ts and release_test.ts.
get_oldest_deno() {
  oldest=$(sed -n 's/^export const OLDEST_DENO = "\(.*\)";$/\1/p' lib/os/program.ts)
  dir=${XDG_CACHE_HOME:-$HOME/.cache}/sshs-tests/deno-$oldest
  bin=$dir/node_modules/deno
  if [ ! -x "$bin/deno" ]; then
    say "installing Deno $oldest in $dir"
    npm install --prefix "$dir" "deno@$oldest" >"$work/npm" 2>&1 || return
  fi
  export SSHS_OLDEST_DENO="$bin/deno"
}

# Ends the run $1 once it has more memory than it may. A kernel limit would not do: ulimit -v counts what
# V8 only reserves, and many containers and ordinary users cannot have a cgroup.
watch_memory() {
  while kill -0 "$1" 2>/dev/null; do
    used=$(memory_below "$1")
    if [ "$used" -gt "$memory" ]; then
      echo "its processes had $((used / 1024)) MB, of $((memory / 1024)) that they may have" >"$work/memory"
      kill "$1"
      return
    fi
    sleep 1
  done
}

# Prints the private memory of the process $1 and its descendants, in kB; 0 if there is no /proc.
memory_below() {
  cat /proc/[0-9]*/status 2>/dev/null | awk -v root="$1" '
    /^Pid:/ { pid = $2 }
    /^PPid:/ { parent[pid] = $2 }
    /^RssAnon:/ { own[pid] = $2 }
    END {
      for (pid in own) {
        for (above = pid; above != root && above in parent; above = parent[above]);
        if (above == root) sum += own[pid]
      }
      print sum + 0
    }'
}

# Shows the output of the gate, and keeps it. The gate runs in the background, so that a signal ends it at
# once; sh ignores SIGINT there, which the programs under test must not inherit.
run_gate() {
  mkfifo "$work/pipe"
  tee "$work/output" <"$work/pipe" &
  show=$!
  env --default-signal=INT,QUIT timeout --kill-after=10 "$limit" deno task ok >"$work/pipe" 2>&1 &
  task=$!
  watch_memory "$task" &
  watcher=$!
  result=0
  wait "$task" || result=$?
  task=''
  wait "$watcher"
  watcher=''
  wait "$show"
  return "$result"
}

# Adds up Deno's own summaries, one for each of its runs: ok | 12 passed (3 steps) | 0 failed | 1 ignored (5s)
# A run that was ended has none, but a line for each finished test: name ... ok (3ms)
summarize() {
  lines=$(grep -E '^(ok|FAILED) \| [0-9]+ passed' "$work/output") || true
  passed=$(count passed) failed=$(count failed) skipped=$(count ignored)
  if [ -n "$ended" ]; then
    passed=$(grep -cE ' \.\.\. ok \([0-9]' "$work/output") || true
    failed=$(grep -cE ' \.\.\. FAILED \([0-9]' "$work/output") || true
  fi
  # A failure of formatting, lint, types or the run itself counts too. So does a run without a test.
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
