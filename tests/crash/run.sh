#!/bin/sh
# Power cuts: the directed tests of the rules, then random lives. N= seeds, SEED= the first; SCALE=short: what `make check` runs.
set -u
. "$(dirname "$0")/../tools/common.sh"
BUILD=${BUILD:-build}
prog=$BUILD/tests/crash
n=1000
[ "${SCALE:-full}" != short ] || n=200
case ${SAN:-} in
asan) n=$((n / 20)) ;;
tsan) n=2 ;;
esac
passed=0 failed=0 skipped=0

run_part "$prog" --directed
run_part "$prog" --seeds "${N:-$n}"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
