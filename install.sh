#!/bin/sh
# Gets Deno and sshs for one user, and has sshs install itself: `sshs --install`.
#
#   curl -fsSL BASE/install.sh | sh          from where the files of a release are served
#   sh install.sh [--prefix DIR]             from a checkout, which makes the same files first
#   sh install.sh --uninstall [--now]
#   sh install.sh --demo
#
# Edits no file of the user's. All code is in functions, so a truncated download does nothing, and it may be
# interrupted at any moment: what is installed appears at the end, all of it or none.
set -eu

# A release has these two filled in: where its files are served, and their SHA-256.
base=''
sums=''
oldest=2.7.1

usage() {
  cat <<'END'
sh install.sh [--prefix DIR]                      install into DIR, or ~/.local
sh install.sh --uninstall [--now] [--prefix DIR]  remove what was installed; --now: end open sessions too
sh install.sh --demo                              show it at work against a throwaway sshd on loopback

SSHS_BASE=URL  where the files of a release are served, if not where they say
END
}

main() {
  action=install prefix='' now=''
  while [ $# -gt 0 ]; do
    case $1 in
    --prefix)
      [ $# -gt 1 ] || fail '--prefix takes a directory'
      prefix=$2
      shift
      ;;
    --prefix=*) prefix=${1#*=} ;;
    --uninstall) action=uninstall ;;
    --now) now=--now ;;
    --demo) action=demo ;;
    --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
  done
  case $prefix in
  '') [ -n "${HOME:-}" ] && prefix=$HOME/.local || fail 'HOME is not set' 'use --prefix DIR' ;;
  /*) ;;
  *) prefix=$(pwd)/$prefix ;;
  esac
  [ "$action" != uninstall ] || uninstall
  stage=${TMPDIR:-/tmp}/sshs-install.$$
  trap 'rm -rf "$stage"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  mkdir -m 700 "$stage" # not mktemp: interrupted, it would leave a directory whose name is not known yet
  # Deno trusts what curl trusts, also where a proxy looks into TLS.
  export DENO_TLS_CA_STORE="${DENO_TLS_CA_STORE:-mozilla,system}"
  [ "$action" != demo ] || export DENO_DIR="$stage/cache" # all that it makes is removed
  get_deno
  get_files
  if [ "$action" = demo ]; then
    "$deno" run --quiet --no-config --allow-all "$files/sshs.js" --install --prefix "$stage/prefix" >/dev/null
    sh "$files/demo.sh" "$stage/prefix" "$deno"
  else
    trap '' HUP INT TERM # it takes a moment, and is not left half done
    "$deno" run --quiet --no-config --allow-all "$files/sshs.js" --install --prefix "$prefix" </dev/null
  fi
}

say() { printf '%s\n' "$*" >&2; }
# Prints what is wrong, and what to do about it, and exits.
fail() {
  printf 'install.sh: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf 'install.sh: hint: %s\n' "$2" >&2
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

uninstall() {
  [ -x "$prefix/bin/sshs" ] || fail "sshs is not installed in $prefix" 'use --prefix DIR'
  exec "$prefix/bin/sshs" --uninstall --prefix "$prefix" $now </dev/null
}

# Runs a command that may take long: in sight on a terminal; else what it says is kept until it fails.
run() {
  if [ -t 2 ]; then "$@" </dev/null >&2; else "$@" </dev/null >>"$stage/log" 2>&1; fi
}

# Sets $deno to the path of Deno.
get_deno() {
  # Beside what it runs: other users may not enter this one's home.
  case $prefix in "${HOME:-}"/*) to=${DENO_INSTALL:-$HOME/.deno}/bin ;; *) to=${DENO_INSTALL:-$prefix}/bin ;; esac
  PATH=$PATH:$to
  if ! has deno; then
    say 'There is no deno in PATH: fetching it'
    install_deno || {
      [ ! -f "$stage/log" ] || tail -n 20 "$stage/log" >&2
      fail 'cannot install deno' 'do it by hand (https://deno.com), then run this again'
    }
    has deno || fail 'deno was installed, but not into PATH' 'add it there, then run this again'
  fi
  # Not the one in PATH: npm may have put a script there that starts Deno as a child of Node.
  # shellcheck disable=SC2016 # JavaScript
  found=$(deno eval --no-config 'console.log(`${Deno.version.deno} ${Deno.execPath()}`)' </dev/null)
  deno=${found#* } found=${found%% *}
  printf '%s\n' "$oldest" "${found%%[!0-9.]*}" | sort -t . -k 1,1n -k 2,2n -k 3,3n | sed q | grep -qx "$oldest" ||
    fail "deno $found at $deno is older than $oldest" 'deno upgrade'
}

# Puts Deno into PATH: from npm, else from deno.land. For the demo into the stage, which is removed.
install_deno() {
  if [ "$action" = demo ] && has npm && run npm install --prefix "$stage/npm" deno; then
    PATH=$PATH:$stage/npm/node_modules/.bin
  elif [ "$action" = demo ] || ! has npm || ! run npm install --global deno; then
    fetch https://deno.land/install.sh "$stage/deno.sh" || return
    DENO_INSTALL=$stage/deno run sh "$stage/deno.sh" --yes --no-modify-path || return
    PATH=$PATH:$stage/deno/bin
    [ "$action" != demo ] || return 0
    mkdir -p "$to" && mv "$stage/deno/bin/deno" "$to/.deno.new" && mv "$to/.deno.new" "$to/deno"
  fi
}

fetch() {
  if has curl; then run curl -fSL -o "$2" "$1"; else run wget -O "$2" "$1"; fi
}

# Sets $files to the directory of a release's files: fetched, or made from the checkout.
get_files() {
  files=$stage source='' base=${SSHS_BASE:-$base}
  case ${0##*/} in install.sh) source=$(cd "$(dirname "$0")" && pwd) ;; esac
  if [ -z "$base" ]; then
    [ -f "$source/main.ts" ] ||
      fail 'this is not a checkout' 'set SSHS_BASE to where the files of a release are served'
    SSHS_IMPORTS=npm PATH=${deno%/*}:$PATH sh "$source/deno.sh" run --quiet --allow-all --no-prompt \
      "$source/packaging/release.ts" "$stage" </dev/null
    return
  fi
  base=${base%/}
  [ -n "$sums" ] || { get SHA256SUMS && sums=$(cat "$stage/SHA256SUMS"); }
  get sshs.js
  [ "$action" != demo ] || get demo.sh
}

# Fetches a file of the release, and checks its sum.
get() {
  say "Fetching $base/$1"
  fetch "$base/$1" "$stage/$1" || {
    [ ! -f "$stage/log" ] || tail -n 5 "$stage/log" >&2
    fail "cannot fetch $base/$1"
  }
  [ "$1" != SHA256SUMS ] || return 0
  # shellcheck disable=SC2016 # JavaScript
  sum=$("$deno" eval --no-config 'const bytes = await Deno.readFile(Deno.args[0]);
    console.log(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex());' "$stage/$1" </dev/null)
  case $sums in *"$sum  $1"*) ;; *) fail "$base/$1 is not what was released" 'run this again' ;; esac
}

# In braces, so that no part of the line is a command by itself.
{ main "$@"; exit; }
