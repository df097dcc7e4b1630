#!/bin/sh
# check.sh SUITE...: runs `make SUITE` for each, keeps its output in $BUILD/log/SUITE.log, and closes with a table and the sum.
# A suite that cannot run on this machine prints "suite skipped: why"; with CHECK_REQUIRED=1 that is a failure.
set -u
BUILD=${BUILD:-build}
mkdir -p "$BUILD/log"
table=$(mktemp)
trap 'rm -f "$table"' EXIT
passed=0 failed=0 skipped=0
# what the suites mount lies below this directory, so that what one leaves behind is seen
TMPDIR=$(mktemp -d "${TMPDIR:-/var/tmp}/varve-check.XXXXXX")
export TMPDIR
chmod 1777 "$TMPDIR"

for suite in "$@"; do
    log=$BUILD/log/$suite.log
    printf '== %s\n' "$suite"
    began=$(date +%s)
    "${MAKE:-make}" --no-print-directory "$suite" >"$log" 2>&1
    rc=$?
    took=$(($(date +%s) - began))
    last=$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
    read -r p _ f _ s _ <<EOF
${last:-0 passed, 0 failed, 0 skipped}
EOF
    verdict=ok
    if grep -q '^suite skipped: ' "$log"; then
        verdict=$(sed -n 's/^suite skipped: /skipped: /p' "$log" | tail -n 1)
        [ -z "${CHECK_REQUIRED:-}" ] || verdict="FAILED: a required suite was $verdict"
        s=1
    elif [ $rc -ne 0 ] || [ -z "$last" ] || [ "$f" -ne 0 ]; then
        verdict=FAILED
        tail -n 60 "$log" | sed 's/^/    /'
    fi
    case $verdict in FAILED*) [ "$f" -ne 0 ] || f=1 ;; esac
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '%-12s %7d %7d %7d %6ds  %s\n' "$suite" "$p" "$f" "$s" "$took" "$verdict" | tee -a "$table"
done
left=$(awk -v dir="$TMPDIR/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts)
if [ -n "$left" ]; then
    failed=$((failed + 1))
    echo "FAILED: mounts were left behind: $left"
else
    rm -rf --one-file-system "$TMPDIR"
fi
printf '\n%-12s %7s %7s %7s %7s\n' suite passed failed skipped time
cat "$table"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
