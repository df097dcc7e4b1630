#!/bin/sh
# Fuzzers. SCALE=short (what `make check` runs): replays the corpora in this build and makes a few thousand inputs of them, always
# the same ones. Else: libFuzzer with ASan and UBSan explores each target for SECONDS= (60); TARGETS= picks some, JOBS= at once.
# What it finds new stays in $BUILD-fuzz-found/TARGET; a failing input is kept there, too, and named.
set -u
BUILD=${BUILD:-build}
here=tests/fuzz
prog=$BUILD/tests/fuzz
export FUZZ_DIR=${FUZZ_DIR:-}
[ -n "$FUZZ_DIR" ] || FUZZ_DIR=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/varve-fuzz.XXXXXX")
trap 'rm -rf "$FUZZ_DIR"' EXIT INT TERM
targets=${TARGETS:-$("$prog" --list | cut -d' ' -f1)}
passed=0 failed=0 skipped=0

replay() { # TARGET, inputs to make
    out=$(cd "$FUZZ_DIR" && LSAN_OPTIONS=print_suppressions=0:suppressions=$top/$here/lsan.supp timeout -k 5 300 "$top/$prog" --mutate "$2" --seed "${SEED:-1}" "$1" "$top/$here/corpus/$1" 2>&1)
    rc=$?
    last=$(printf '%s\n' "$out" | tail -n 1)
    case $last in
    *" passed, 0 failed, 0 skipped") printf '%s\n' "$out" | head -n 1; passed=$((passed + ${last%% *})) ;;
    *)
        rc=1
        printf '%s\n' "$out" | tail -n 5
        [ ! -f "$FUZZ_DIR/fuzz-failed-input" ] || cp "$FUZZ_DIR/fuzz-failed-input" "$BUILD/fuzz-failed-$1"
        ;;
    esac
    [ $rc -eq 0 ] || failed=$((failed + 1))
}

# explore TARGET SECONDS: its verdict lies in $FUZZ_DIR/TARGET.verdict
explore() {
    keep=$BUILD-fuzz-found/$1 log=$BUILD/log/fuzz-$1.log
    mkdir -p "$keep" "$BUILD/log" "$FUZZ_DIR/$1"
    max=$("$prog" --list | awk -v t="$1" '$1 == t { print $2 }')
    # little is kept of freed memory and of who allocated it: both cost more than the targets do
    FUZZ_TARGET=$1 FUZZ_DIR=$FUZZ_DIR/$1 ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=8:malloc_context_size=6 \
        LSAN_OPTIONS=suppressions=$here/lsan.supp \
        "$engine" -max_total_time="$2" -max_len="$max" -len_control=10 -timeout=900 -report_slow_units=900 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$keep/failed-" "$keep" "$here/corpus/$1" >"$log" 2>&1
    rc=$?
    execs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    cov=$(grep -aoE 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$log" | tail -n 1)
    printf '%-8s %9s executions  %s%s\n' "$1" "${execs:-0}" "$cov" "$([ $rc -eq 0 ] || echo "  FAILED: $log")"
    [ $rc -eq 0 ] || grep -aE 'ERROR|runtime error|does not hold|Assertion|Test unit' "$log" | head -n 5 | sed 's/^/    /'
    echo $rc >"$FUZZ_DIR/$1.verdict"
}

top=$PWD
if [ "${SCALE:-full}" = short ] || [ -n "${SAN:-}" ]; then
    for t in $targets; do
        case $t in
        records | names | words | config | socket) n=${N:-20000} ;;
        journal) n=${N:-3000} ;;
        tables) n=${N:-400} ;;
        repo) n=${N:-300} ;;
        *) n=${N:-1500} ;;
        esac
        [ -z "${SAN:-}" ] || n=$((n / 10))
        replay "$t" "$n"
    done
elif ! command -v clang >/dev/null || ! make -s SAN=fuzz CC=clang build-fuzz-clang/tests/fuzz; then
    echo "suite skipped: no clang with libFuzzer (make deps-tests)"
    skipped=1
else
    engine=build-fuzz-clang/tests/fuzz
    running=0
    for t in $targets; do
        [ $running -lt "${JOBS:-1}" ] || { wait; running=0; }
        explore "$t" "${SECONDS:-60}" &
        running=$((running + 1))
    done
    wait
    for t in $targets; do
        if [ "$(cat "$FUZZ_DIR/$t.verdict" 2>/dev/null)" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    done
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
