#!/bin/bash
# A steady mixed load on one mount for MINUTES (60): what daemon and store take does not grow, and no request waits for long.
# The samples stay in $BUILD/log/soak.csv. SCALE=short: 20 seconds, and what shows at that length.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/tools/mounted.sh
[ -e /dev/fuse ] || skip_suite "no /dev/fuse here"
[ "$(id -u)" = 0 ] || skip_suite "needs root"
prog=$(readlink -f "$BUILD")/tests/soak log=$(readlink -f "$BUILD")/log
mkdir -p "$log"
seconds=$(awk -v m="${MINUTES:-60}" 'BEGIN { print m * 60 }') bound=5
[ "${seconds%.*}" -ge 1200 ] || bound=15 # fewer rounds of the schedule lie in what is compared
if [ "${SCALE:-full}" = short ] && [ -z "${MINUTES:-}" ]; then seconds=20 bound=40; fi
passed=0 failed=0 skipped=0

scratch_volume soak >"$log/soak.mount" || { cat "$log/soak.mount"; exit 1; }
mkdir "$scratch/soak.clone"
mounted+=("$scratch/soak.clone")
"$prog" "$scratch/soak" "$scratch/soak.store" "$VARVE" --seconds "$seconds" --bound "$bound" --csv "$log/soak.csv" >"$log/soak.out"
rc=$?
grep -avE '^[0-9]+ passed, ' "$log/soak.out"
failures=$(grep -a FAILED "$log/soak.out" | sed 's/^ */failed: /; s/ *FAILED//')
read -r passed _ failed _ skipped _ <<<"$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log/soak.out" | tail -n 1 | grep . || echo '0 passed, 1 failed, 0 skipped')"
[ $rc -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
[ $rc -eq 0 ] || failures=${failures:-failed: the soak ended with $rc}
if cd / && "$VARVE" umount "$scratch/soak" && "$VARVE" check "$scratch/soak.store" >"$log/soak.check"; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    head -n 20 "$log/soak.check"
    failures="$failures${failures:+
}failed: unmounting, or check after it"
fi
echo "samples: $log/soak.csv"
[ -z "$failures" ] || echo "$failures"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
