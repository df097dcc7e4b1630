#!/bin/sh
# The model test: random operations against the oracle, then many threads at once. SCALE=short is what `make check` runs;
# SEEDS= and OPS= choose otherwise, SEED= where to begin.
set -u
. "$(dirname "$0")/../tools/common.sh"
BUILD=${BUILD:-build}
prog=$BUILD/tests/model
seeds=500 ops=2000 rounds=10 tops=20000
if [ "${SCALE:-full}" = short ]; then seeds=60 rounds=2 tops=4000; fi
case ${SAN:-} in
asan) seeds=$((seeds / 10)) ;;
tsan) seeds=2 ops=500 tops=3000 ;;
esac
passed=0 failed=0 skipped=0

run_part "$prog" --seed "${SEED:-1}" --seeds "${SEEDS:-$seeds}" --ops "${OPS:-$ops}"
i=1
while [ $i -le $rounds ]; do
    run_part "$prog" --seed $i --threads 6 --ops $tops
    i=$((i + 1))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
