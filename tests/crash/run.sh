#!/bin/sh
# Power cuts: the directed tests of the rules, then random lives. N= seeds, SEED= the first; SCALE=short: what `make check` runs.
set -u
BUILD=${BUILD:-build}
prog=$BUILD/tests/crash
n=1000
[ "${SCALE:-full}" != short ] || n=200
case ${SAN:-} in
asan) n=$((n / 20)) ;;
tsan) n=2 ;;
esac
out=$(mktemp)
trap 'rm -f "$out"' EXIT
passed=0 failed=0

run() {
    "$@" >"$out" 2>&1
    rc=$?
    cat "$out"
    read -r p _ f _ <<EOF
$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$out" | tail -n 1 | grep . || echo '0 passed, 1 failed, 0 skipped')
EOF
    [ $rc -eq 0 ] || [ "$f" -gt 0 ] || f=1
    passed=$((passed + p)) failed=$((failed + f))
}

run "$prog" --directed
run "$prog" --seeds "${N:-$n}"
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
