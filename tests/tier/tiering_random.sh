#!/bin/bash
# Random work on volumes whose bytes are released and recalled, judged by plain trees (random_tier.py, docs/testing.md). STEPS= how much,
# SEED= which. SCALE=short: what check runs.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
steps=100000
[ "${SCALE:-full}" = short ] && steps=400
[ -z "${SAN:-}" ] || steps=$((steps / 10))
SEED=${SEED:-$((RANDOM * 32768 + RANDOM))}
export VARVE

test_released_and_recalled_at_random() {
    mkdir -p "$dir"
    mounted+=("$dir/random/m0" "$dir/random/m1" "$dir/random/m2")
    python3 "$here/random_tier.py" "$dir" "$SEED" "${STEPS:-$steps}" || fail "SEED=$SEED"
}

suite_needs_mounts
run_cases test_released_and_recalled_at_random
say "    SEED=$SEED"
suite_end
