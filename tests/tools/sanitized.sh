#!/bin/bash
# sanitized.sh: SAN=asan|tsan. The unit tests, the model and, through a mount, fsx with a sanitized daemon. The reports of all
# processes go to one directory; any report fails the run. ONLY="suite ...": these alone.
set -u
cd "$(dirname "$0")/../.."
export BUILD=build-$SAN
reports=$(readlink -f $BUILD)/reports
rm -rf "$reports"
mkdir -p "$reports"
export ASAN_OPTIONS=log_path=$reports/asan:detect_leaks=1:abort_on_error=0
export UBSAN_OPTIONS=log_path=$reports/ubsan:print_stacktrace=1
export TSAN_OPTIONS=log_path=$reports/tsan:second_deadlock_stack=1:exitcode=66
export TEST_TIMEOUT=1200
passed=0 failed=0 skipped=0

suite() {
    local name=$1 log=$BUILD/log/$1.log last p f s
    shift
    mkdir -p $BUILD/log
    "$@" >"$log" 2>&1
    local rc=$?
    last=$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
    read -r p _ f _ s _ <<<"${last:-0 passed, 1 failed, 0 skipped}"
    [ $rc -eq 0 ] || [ "$f" -gt 0 ] || f=1
    [ "$f" -eq 0 ] || tail -n 40 "$log" | sed 's/^/    /'
    printf '%-10s %-8s %s\n' "$SAN" "$name" "${last:-no closing line}"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# ThreadSanitizer of gcc 12 needs a predictable address space
fixed=$([ $SAN = tsan ] && setarch -R true 2>/dev/null && echo setarch -R)
make_suite() {
    case " ${ONLY:-$1} " in *" $1 "*) ;; *) return ;; esac
    suite "$1" $fixed make --no-print-directory SAN=$SAN "$1"
}
make_suite unit
export SCALE=${SCALE:-short}
make_suite demo
make_suite pjdfstest
for dir in model crash fuzz bitflip sweep tier csi fsx mount; do
    [ ! -x tests/$dir/run.sh ] || make_suite $dir
done
make_suite s3
# a process that is killed while it looks for leaks leaves a line that says so, and is no report
mapfile -t found < <(grep -lvxE '==[0-9]+==Unable to get registers from thread [0-9]+\.' "$reports"/* 2>/dev/null)
if [ ${#found[@]} -gt 0 ]; then
    failed=$((failed + 1))
    echo "FAILED: reports of the sanitizer:"
    head -n 60 "${found[@]}"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
