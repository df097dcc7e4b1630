#!/bin/bash
# What operations cost as a store grows to FILES (10,000,000) files: making one, a snapshot, the diff and the deletion of one with 1,000
# changes, opening the store again. Each may grow with the logarithm of the number of files, and GRACE (1.5) times that; but opening, which
# proves every page of the tables, may take OPEN_MS (1000) for each 1,000,000 files.
# Not part of `make check` but for a short run that shows that it works.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/tools/mounted.sh
[ -e /dev/fuse ] || skip_suite "no /dev/fuse here"
[ "$(id -u)" = 0 ] || skip_suite "needs root"
prog=$(readlink -f "$BUILD")/tests/bench-scale log=$(readlink -f "$BUILD")/log
mkdir -p "$log"
files=${FILES:-10000000} grace=${GRACE:-1.5} rounds=5 open=${OPEN_MS:-1000}
if [ "${SCALE:-full}" = short ]; then files=${FILES_SHORT:-20000} grace=1000 rounds=2; fi
store=$scratch/scale.store mnt=$scratch/scale
scratch_volume scale >"$log/scale.mount" || { cat "$log/scale.mount"; exit 1; }
: >"$log/scale.tsv"

ms_of() { # command...: the milliseconds it takes
    local t0=$EPOCHREALTIME
    "$@" >"$log/scale.out" 2>&1 || { cat "$log/scale.out" >&2; return 1; }
    awk -v a="$t0" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", (b - a) * 1000 }'
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

note() { # files, what, value, unit
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$log/scale.tsv"
    printf '%10d files  %-34s %12.3f %s\n' "$1" "$2" "$3" "$4"
}

snapshots() { # at so many files: taken, compared, deleted
    local n=$1 i
    "$VARVE" snapshot delete "$mnt" base >/dev/null 2>&1
    for ((i = 0; i < rounds; i++)); do
        ms_of mkdir "$mnt/.snapshots/s$i" || return 1
        echo
        "$prog" "$mnt" touch 1000 "$n" || return 1
    done >"$log/scale.take" || return 1
    note "$n" "snapshot" "$(grep . "$log/scale.take" | median)" ms
    for ((i = 0; i + 1 < rounds; i++)); do ms_of "$VARVE" diff "$mnt" "s$i" "s$((i + 1))" && echo; done >"$log/scale.diff"
    note "$n" "diff with 1,000 changes" "$(grep . "$log/scale.diff" | median)" ms
    for ((i = 0; i < rounds; i++)); do ms_of rmdir "$mnt/.snapshots/s$i" && echo; done >"$log/scale.del"
    note "$n" "deletion of a snapshot" "$(grep . "$log/scale.del" | median)" ms
}

reopen() {
    local n=$1
    for ((i = 0; i < rounds; i++)); do
        "$VARVE" umount "$mnt" >/dev/null || return 1
        ms_of "$VARVE" mount "$store" "$mnt" && echo
    done >"$log/scale.open" || return 1
    note "$n" "mounting (opening the store)" "$(grep . "$log/scale.open" | median)" ms
}

made=0 rc=0 load=$(cut -d' ' -f1-3 /proc/loadavg)
for ((n = 10000; n <= files; n *= 10)); do
    read -r cost rate < <("$prog" "$mnt" "$made" "$n") || { rc=1; break; }
    made=$n
    note "$n" "making a file" "$cost" us
    note "$n" "files a second" "$rate" ""
    snapshots "$n" || { rc=1; break; }
    reopen "$n" || { rc=1; break; }
done
"$VARVE" status "$store" | grep -aE 'bytes|files|size' | head -n 6
du -sh "$store" | awk '{ print "the store takes " $1 }'
[ "${SCALE:-full}" = short ] || [ $rc -ne 0 ] ||
    python3 -B tests/bench/section.py scale --about "$(measured_on "$load")" "$log/scale.tsv"
# against the smallest: log(n)/log(least) times grace
awk -F'\t' -v grace="$grace" -v broken=$rc -v open="$open" '
    $2 == "files a second" { next }
    !($2 in least) { least[$2] = $1; cost[$2] = $3 }
    { last[$2] = $1; now[$2] = $3 }
    END {
        for (w in least) {
            most = cost[w] * log(last[w]) / log(least[w]) * grace
            if (w ~ /^mounting/ && most < open * last[w] / 1000000) most = open * last[w] / 1000000
            bad = now[w] > most
            printf "%-34s %10.3f at %d, %10.3f at %d, at most %.3f%s\n", w, cost[w], least[w], now[w], last[w], most, bad ? "  FAILED" : ""
            if (bad) failed++; else passed++
        }
        failed += broken
        printf "%d passed, %d failed, 0 skipped\n", passed, failed
        exit failed > 0
    }' "$log/scale.tsv"
