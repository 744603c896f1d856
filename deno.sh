#!/bin/sh
# Runs deno with the import map that this machine can reach: JSR's packages as deno.json names
# them, or else the same names from npm (imports.npm.json). SSHS_IMPORTS=jsr|npm decides by hand.
#
#   sh deno.sh check main.ts
set -eu
here=$(cd "$(dirname "$0")" && pwd)
command -v deno >/dev/null || {
  echo "deno.sh: there is no deno in PATH; install it: npm install --global deno" >&2
  exit 127
}

# One of the three packages stands for all: they come from the same registry.
reaches_jsr() {
  deno cache --quiet --no-config jsr:@std/path@1.1.6 >/dev/null 2>&1
}

if [ -z "${SSHS_IMPORTS:-}" ]; then
  if reaches_jsr; then SSHS_IMPORTS=jsr; else SSHS_IMPORTS=npm; fi
  export SSHS_IMPORTS
fi

subcommand=$1
shift
case $SSHS_IMPORTS in
jsr) exec deno "$subcommand" --config "$here/deno.json" "$@" ;;
npm) exec deno "$subcommand" --config "$here/deno.json" --import-map "$here/imports.npm.json" "$@" ;;
*)
  echo "deno.sh: SSHS_IMPORTS is '$SSHS_IMPORTS'; it takes jsr or npm" >&2
  exit 2
  ;;
esac
