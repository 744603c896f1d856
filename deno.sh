#!/bin/sh
# Runs deno with the import map that this machine can reach: JSR's packages as deno.json names
# them, or the same names from npm (imports.npm.json), verified by the hashes in imports.npm.lock.
# SSHS_IMPORTS=jsr|npm overrides the choice.
#
#   sh deno.sh check main.ts
set -eu
here=$(cd "$(dirname "$0")" && pwd)

say() { printf 'deno.sh: %s\n' "$*" >&2; }

# One package is enough to tell: they all come from the same registry.
reaches_jsr() {
  deno cache --quiet --no-config jsr:@std/path@1.1.6 >/dev/null 2>&1
}

command -v deno >/dev/null || {
  say 'there is no deno in PATH'
  say 'hint: npm install --global deno'
  exit 127
}
oldest=$(sed -n 's/^export const OLDEST_DENO = "\(.*\)";$/\1/p' "$here/lib/os/program.ts")
found=$(deno --version | sed -n '1s/^deno \([0-9.]*\).*/\1/p')
if [ "$(printf '%s\n' "$oldest" "$found" | sort -t . -k 1,1n -k 2,2n -k 3,3n | sed q)" != "$oldest" ]; then
  say "deno $found at $(command -v deno) is older than $oldest"
  say 'hint: deno upgrade'
  exit 1
fi

if [ -z "${SSHS_IMPORTS:-}" ]; then
  if reaches_jsr; then
    SSHS_IMPORTS=jsr
  else
    SSHS_IMPORTS=npm
    say "jsr.io is out of reach: the packages are npm's, as imports.npm.lock has them"
  fi
  export SSHS_IMPORTS
fi

subcommand=$1
shift
case $SSHS_IMPORTS in
jsr) exec deno "$subcommand" --config "$here/deno.json" "$@" ;;
npm)
  exec deno "$subcommand" --config "$here/deno.json" --import-map "$here/imports.npm.json" \
    --lock="$here/imports.npm.lock" --frozen "$@"
  ;;
*)
  say "SSHS_IMPORTS is '$SSHS_IMPORTS'; it takes jsr or npm"
  exit 2
  ;;
esac
