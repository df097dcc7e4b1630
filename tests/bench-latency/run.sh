#!/bin/bash
# How long create, stat and fsync wait while the store is at work behind them (checkpoints, reclaim, a storm of snapshots, 1,000
# snapshots, as much unsynced as may be): p99.9 against a bound of BOUND ms (20), beside the same on the filesystem below. Where the disk
# itself takes longer at the same time (the lines "disk": a block written over and synced below), 1.15 times that is fsync's bound.
# SECONDS_EACH (30) a scene; ONLY="scene...". Not part of `make check` but for a short run that shows that it works.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/tools/mounted.sh
[ -e /dev/fuse ] || skip_suite "no /dev/fuse here"
[ "$(id -u)" = 0 ] || skip_suite "needs root"
prog=$(readlink -f "$BUILD")/tests/bench-latency log=$(readlink -f "$BUILD")/log
mkdir -p "$log"
each=${SECONDS_EACH:-30} bound=${BOUND:-20}
if [ "${SCALE:-full}" = short ]; then each=1 bound=10000 ONLY=${ONLY:-quiet checkpoints storm}; fi

scratch_volume latency >"$log/latency.mount" || { cat "$log/latency.mount"; exit 1; }
load=$(cut -d' ' -f1-3 /proc/loadavg)
mkdir "$scratch/below"
# shellcheck disable=SC2086 # words
measure() {
    echo "on the filesystem below ($(stat -f -c %T "$scratch")):"
    "$prog" "$scratch/below" "$each" 0 "$scratch/disk" ${ONLY:-} | grep -v ' passed, '
    rm -rf "$scratch/below"
    sync
    echo "on varve, p99.9 at most $bound ms:"
    "$prog" "$scratch/latency" "$each" "$bound" "$scratch/disk" ${ONLY:-}
}
measure | tee "$log/latency.txt"
rc=${PIPESTATUS[0]}
[ "$rc" -le 1 ] || echo "0 passed, 1 failed, 0 skipped"
[ "${SCALE:-full}" = short ] || [ "${ONLY:-}" ] || [ "$rc" -gt 1 ] ||
    python3 -B tests/bench/section.py latency --about "$(measured_on "$load"), $each s a scene" "$log/latency.txt"
exit "$rc"
