#!/bin/sh
# Runs all tests, for `deno task test`; the types are checked before. Most of the time is spent waiting, so there
# are more jobs than processors. The longest files go first, so that the end is not one of them alone; the storm
# runs beside nothing.
set -eu
cd "$(dirname "$0")/.."

run() {
  sh deno.sh test --no-check --allow-all --preload=tests/support/reasons.ts "$@"
}

first=''
for name in dead_link sleeper faults_death faults_state burst rows linger faults waiting questions jump interrupts \
  never_worse sleeper_size forwards launcher_turns; do
  first="$first tests/${name}_test.ts"
done
# shellcheck disable=SC2086 # several words
DENO_JOBS=${DENO_JOBS:-4} run --parallel --ignore=tests/storm_test.ts $first tests && run tests/storm_test.ts || status=$?
# The account of the run goes with it.
sh deno.sh run --quiet --allow-all tests/support/account.ts
exit "${status:-0}"
