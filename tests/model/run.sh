#!/bin/sh
# The model test: random operations against the oracle, then many threads at once. SCALE=short is what `make check` runs;
# SEEDS= and OPS= choose otherwise, SEED= where to begin.
set -u
BUILD=${BUILD:-build}
prog=$BUILD/tests/model
seeds=500 ops=2000 rounds=10 tops=20000
if [ "${SCALE:-full}" = short ]; then seeds=60 rounds=2 tops=4000; fi
case ${SAN:-} in
asan) seeds=$((seeds / 10)) ;;
tsan) seeds=2 ops=500 tops=3000 ;;
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

run "$prog" --seed "${SEED:-1}" --seeds "${SEEDS:-$seeds}" --ops "${OPS:-$ops}"
i=1
while [ $i -le $rounds ]; do
    run "$prog" --seed $i --threads 6 --ops $tops
    i=$((i + 1))
done
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
