#!/bin/sh
# Gets Deno and sshs for one user, and has sshs install itself: `sshs --install`.
#
#   sh install.sh [--prefix DIR]                               from a checkout
#   curl -fsSL BASE/install.sh | SSHS_BASE=BASE sh             from where its files are served
#   sh install.sh --uninstall [--prefix DIR]
#   sh install.sh --demo
#
# Edits no file of the user's. All code is in functions, so a truncated download does nothing.
set -eu

usage() {
  cat <<'END'
sh install.sh [--prefix DIR]              install into DIR, or ~/.local
sh install.sh --uninstall [--prefix DIR]  end what is shared, remove all that was installed
sh install.sh --demo [--prefix DIR]       show it at work against a throwaway sshd on loopback

SSHS_BASE=URL  where the repository's files are served; needed without a checkout
END
}

main() {
  action=--install prefix='' demo=''
  while [ $# -gt 0 ]; do
    case $1 in
    --prefix)
      [ $# -gt 1 ] || fail '--prefix takes a directory'
      prefix=$2
      shift
      ;;
    --prefix=*) prefix=${1#*=} ;;
    --uninstall) action=--uninstall ;;
    --demo) demo=yes ;;
    --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
  done
  case $prefix in '' | /*) ;; *) prefix=$(pwd)/$prefix ;; esac
  stage=$(mktemp -d "${TMPDIR:-/tmp}/sshs-install.XXXXXX")
  trap 'rm -rf "$stage"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  get_deno
  get_source
  if [ -z "$demo" ]; then
    sshs "$action" ${prefix:+--prefix "$prefix"}
  else
    prefix=${prefix:-$stage/prefix}
    sshs --install --prefix "$prefix" >/dev/null
    sh "$source/lib/launcher/demo.sh" "$prefix" "$deno"
  fi
}

say() { printf '%s\n' "$*"; }
# Prints what is wrong, and what to do about it, and exits.
fail() {
  printf 'install.sh: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf 'install.sh: hint: %s\n' "$2" >&2
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# Sets $deno to the path of Deno.
get_deno() {
  PATH=$PATH:${DENO_INSTALL:-${HOME:-}/.deno}/bin
  if ! has deno; then
    say 'There is no deno in PATH: installing it'
    { has npm && npm install --global --silent deno </dev/null >"$stage/npm.log" 2>&1; } || {
      fetch https://deno.land/install.sh "$stage/deno-install.sh" &&
        sh "$stage/deno-install.sh" --yes --no-modify-path </dev/null >"$stage/deno.log" 2>&1
    } || fail 'cannot install deno' 'do it by hand (https://deno.com), then run this again'
    has deno || fail 'deno was installed, but not into PATH' 'add it there, then run this again'
  fi
  # Not the one in PATH: npm may have put a script there that starts Deno as a child of Node.
  deno=$(deno eval --no-config 'console.log(Deno.execPath())' </dev/null)
}

fetch() {
  if has curl; then curl -fsSL -o "$2" "$1"; else wget -q -O "$2" "$1"; fi
}

# Sets $source to the directory of the repository's files.
get_source() {
  source=''
  case ${0##*/} in install.sh) source=$(cd "$(dirname "$0")" && pwd) ;; esac
  if [ -z "${SSHS_BASE:-}" ]; then
    [ -f "$source/main.ts" ] ||
      fail 'this is not a checkout' 'set SSHS_BASE to where its files are served'
    return
  fi
  source=$stage/source base=${SSHS_BASE%/}
  say "Fetching $base"
  mkdir -p "$source/lib/launcher"
  # What is needed besides the modules of main.ts and their texts.
  for file in deno.json deno.sh imports.npm.json imports.npm.lock lib/launcher/demo.sh; do
    fetch "$base/$file" "$source/$file" || fail "cannot fetch $base/$file"
  done
  # Deno's own loader would refuse a .ts file that the server sends as something else, as many servers do.
  # shellcheck disable=SC2016 # JavaScript
  "$deno" eval --no-config '
    const [main, source] = Deno.args;
    const base = new URL(".", main).href;
    const met = new Set();
    async function get(url) {
      if (met.has(url)) return;
      met.add(url);
      if (!url.startsWith(base)) throw new Error(`${url} is not below ${base}`);
      const answer = await fetch(url);
      if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
      const text = await answer.text();
      const file = `${source}/${url.slice(base.length)}`;
      Deno.mkdirSync(file.slice(0, file.lastIndexOf("/")), { recursive: true });
      Deno.writeTextFileSync(file, text);
      const imports = text.matchAll(/\b(?:from |import |import\()"(\.[^"]+)"/g);
      await Promise.all(Array.from(imports, ([, name]) => get(new URL(name, url).href)));
    }
    await get(new URL(main).href);' "$base/main.ts" "$source" </dev/null ||
    fail "cannot fetch all modules of $base/main.ts"
}

sshs() {
  sh "$source/deno.sh" run --quiet --allow-all --no-prompt "$source/main.ts" "$@" </dev/null
}

# In braces, so that no part of the line is a command by itself.
{ main "$@"; exit; }
