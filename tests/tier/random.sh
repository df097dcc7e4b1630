#!/bin/bash
# Random work on three volumes of two stores and two repositories, with faults, kill -9 and prunes in the middle, judged by plain copies
# (docs/testing.md). First the library without a mount, LIVES= of STEPS= each; then the real programs, REAL= steps. SEED= the first
# life's, and the programs'. SCALE=short: what check runs.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
lives=60 steps=100 real=900
[ "${SCALE:-full}" = short ] && lives=5 steps=60 real=20
[ -z "${SAN:-}" ] || lives=$((lives / 5)) real=$((real / 10))
SEED=${SEED:-$((RANDOM * 32768 + RANDOM))}
export SEED LIVES=${LIVES:-$lives} STEPS=${STEPS:-$steps} VARVE

if [ "$LIVES" -gt 0 ]; then
    "$BUILD/tests/tier" --random >"$scratch/unit" 2>&1
    grep -av ' note \| warn ' "$scratch/unit" | sed '$d'
    take_in "$scratch/unit"
fi

test_programs() {
    mkdir -p "$dir"
    mounted+=("$dir/random/m0" "$dir/random/m1" "$dir/random/m2" "$dir/random/instant")
    python3 "$here/random_real.py" "$dir" "$SEED" "${REAL:-$real}" || fail "SEED=$SEED"
}
if [ "${REAL:-$real}" -gt 0 ]; then
    suite_needs_mounts
    run_cases test_programs
fi
say "    SEED=$SEED"
suite_end
