#!/bin/bash
# The daemon is killed, and nobody notices.
#   points   inside every kind of operation: before it is journaled, after that, before the reply. Each has to succeed with the one
#            result, while other writers go on and check every byte; then the next daemon's state, and varve check
#   storm    (not with SCALE=short) kill -9 every 2 to 5 s for MINUTES (10) under git, SQLite, fsx and PostgreSQL at once
#   tests/killtest/run.sh [points|storm]
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/tools/mounted.sh
suite_needs_mounts
what=${1:-all}
passed=0 failed=0 skipped=0
log=$(readlink -f "$BUILD")/log/killtest
mkdir -p "$log"

# A writer that hangs does so inside the kernel: then only the end of keeper and daemon gets it out.
watch_over() { # SECONDS
    sleep "$1" || return 0
    echo "timed out: ending the daemons"
    for p in $(pgrep -f "varve keeper $scratch/"; pgrep -f "varve daemon $scratch/"); do kill -9 "$p"; done
}

points() {
    local killable=${KILLABLE:-$(readlink -f "$BUILD")/tests/varve-kill}
    export VARVE_KILL=$scratch/order
    VARVE=$killable scratch_volume kill >/dev/null || return 1
    unset VARVE_KILL
    watch_over "${TEST_TIMEOUT:-240}" 2>/dev/null &
    local watch=$!
    python3 tests/killtest/points.py "$scratch/kill" "$scratch/kill.store" "$scratch/order" "$VARVE" | tee "$log/points.log"
    pkill -P $watch
    wait $watch 2>/dev/null
    take_in "$log/points.log"
    cd / && "$VARVE" umount "$scratch/kill" || failed=$((failed + 1))
    if "$VARVE" check "$scratch/kill.store" >"$log/check.log"; then
        passed=$((passed + 1))
    else
        cat "$log/check.log"
        failed=$((failed + 1))
    fi
    grep -av 'note ' "$scratch/kill.store/log/daemon.log" | grep -av 'keeper death.*signal=9' | head -n 5
}

tree=$PWD
case $what in
all | points) points ;;
esac
cd "$tree" || exit 1
if [ "$what" = storm ] || { [ "$what" = all ] && [ "${SCALE:-full}" != short ] && [ -z "${CONTROL:-}" ]; }; then
    . tests/killtest/storm.sh
    storm
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
