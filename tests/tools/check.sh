#!/bin/sh
# check.sh SUITE...: runs `make SUITE` for each, keeps its output in $BUILD/log/SUITE.log, and closes with a table, what failed, and the
# sum.
# A suite that cannot run on this machine prints "suite skipped: why"; with CHECK_REQUIRED=1 that is a failure.
# In the short form three suites run at a time where there are two processors (CHECK_JOBS=1: one): most of their time is waiting. Those
# of $LONG begin first. Those of $ASKING go one after the other beside the rest: they count what the kernel asks for, or empty its caches.
# Those of $ALONE weigh and time: they run when all else is over, one by one.
set -u
BUILD=${BUILD:-build}
LONG='tidy unit s3 lifecycle k8s'
ASKING='mount instant tiering'
ALONE='limits soak reopen killtest bench-test bench-backup bench-latency bench-scale'
jobs=1
[ "${SCALE:-full}" != short ] || [ "$(nproc)" -lt 2 ] || jobs=${CHECK_JOBS:-3}
mkdir -p "$BUILD/log"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/table"
: >"$work/sums"
: >"$work/harm"
# what the suites mount lies below this directory, so that what one leaves behind is seen
TMPDIR=$(mktemp -d "${TMPDIR:-/var/tmp}/varve-check.XXXXXX")
export TMPDIR
chmod 1777 "$TMPDIR"

among() { # WORD LIST
    case " $2 " in *" $1 "*) return 0 ;; esac
    return 1
}

harm() { # SUITE LOG: what failed in it, for the end, which is all that one may see of a long run
    echo "$1:"
    { grep -aE -A 12 '^ *FAIL' "$2" || tail -n 20 "$2"; } | tail -n 60 | sed 's/^/    /'
}

judge() { # SUITE LOG EXIT-CODE SECONDS: its row, and what it said last where it failed
    last=$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$2" | tail -n 1)
    read -r p _ f _ s _ <<END
${last:-0 passed, 0 failed, 0 skipped}
END
    verdict=ok
    if grep -q '^suite skipped: ' "$2"; then
        verdict=$(sed -n 's/^suite skipped: /skipped: /p' "$2" | tail -n 1)
        [ -z "${CHECK_REQUIRED:-}" ] || verdict="FAILED: a required suite was $verdict"
        s=1
    elif [ "$3" -ne 0 ] || [ -z "$last" ] || [ "$f" -ne 0 ]; then
        verdict=FAILED
        tail -n 60 "$2" | sed 's/^/    /'
        harm "$1" "$2" >>"$work/harm"
    fi
    case $verdict in FAILED*) [ "$f" -ne 0 ] || f=1 ;; esac
    echo "$p $f $s" >>"$work/sums"
    printf '%-12s %7d %7d %7d %6ds  %s\n' "$1" "$p" "$f" "$s" "$4" "$verdict" | tee -a "$work/table"
}

run_suite() {
    log=$BUILD/log/$1.log
    began=$(date +%s)
    "${MAKE:-make}" --no-print-directory "$1" >"$log" 2>&1
    rc=$?
    took=$(($(date +%s) - began))
    {
        flock 9
        judge "$1" "$log" $rc $took
    } 9>"$work/talk"
}

take() { # QUEUE: its first suite, which is in it no more
    (
        flock 9
        head -n 1 "$1"
        sed -i 1d "$1"
    ) 9>"$1.lock"
}

work_off() { # QUEUE...
    for queue in "$@"; do
        while suite=$(take "$queue") && [ -n "$suite" ]; do run_suite "$suite"; done
    done
}

queue_of() { # SUITE
    if among "$1" "$LONG"; then
        echo long
    elif among "$1" "$ASKING"; then
        echo asking
    elif among "$1" "$ALONE"; then
        echo alone
    else
        echo any
    fi
}

for queue in long asking any alone; do : >"$work/$queue"; done
for suite in "$@"; do
    queue=any
    [ "$jobs" -eq 1 ] || queue=$(queue_of "$suite")
    echo "$suite" >>"$work/$queue"
done
for _ in $(seq 2 "$jobs"); do work_off "$work/long" "$work/any" & done
work_off "$work/asking" "$work/long" "$work/any"
wait
work_off "$work/alone"

read -r passed failed skipped <<END
$(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$work/sums")
END
left=$(awk -v dir="$TMPDIR/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts)
if [ -n "$left" ]; then
    failed=$((failed + 1))
    echo "FAILED: mounts were left behind: $left"
else
    rm -rf --one-file-system "$TMPDIR"
fi
printf '\n%-12s %7s %7s %7s %7s\n' suite passed failed skipped time
cat "$work/table" "$work/harm"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
