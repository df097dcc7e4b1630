#!/bin/bash
# The filesystem through a real mount: each test_* function of tests/mount/t_*.sh is one test, run by itself with `set -e`
# in a directory of its own of a standing volume ($vol; mounted at $mnt). A test that cannot run here ends with skip "why".
#   tests/mount/run.sh [pattern]      only tests whose name holds the pattern
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/tools/mounted.sh
ONLY=${1:-}
passed=0 failed=0 skipped=0

suite_needs_mounts

skip() {
    echo "$*"
    exit 77
}
fails() { # ERRNO-NAME command...: it has to fail, with this message
    local want=$1 out
    shift
    if out=$("$@" 2>&1); then
        echo "was not refused ($want): $*"
        return 1
    fi
    case $out in *"$want"*) return 0 ;; esac
    echo "refused, but not by '$want': $out"
    return 1
}
expect() { # what is, what should be
    [ "$1" = "$2" ] || {
        echo "expected '$2', got '$1'"
        return 1
    }
}
export PYTHONPATH=$PWD/tests/mount
py() { python3 -B -c "
import os, sys, mmap, errno, ctypes, stat, time, fcntl, struct, socket
libc = ctypes.CDLL(None, use_errno=True)
def must(e, f, *a, **k):
    try: f(*a, **k)
    except OSError as x:
        assert x.errno == e, 'expected %s, got %s' % (errno.errorcode[e], x)
        return
    raise AssertionError('was not refused: expected ' + errno.errorcode[e])
def fallocate(fd, mode, off, n):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(n)): raise OSError(ctypes.get_errno(), 'fallocate')
def renameat2(a, b, flags):
    if libc.renameat2(-100, a.encode(), -100, b.encode(), flags): raise OSError(ctypes.get_errno(), 'renameat2')
$1" "${@:2}"; }
as_user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
wait_for() { # seconds command...: until it is true
    local n=$(($1 * 20))
    shift
    while ! "$@" >/dev/null 2>&1; do
        n=$((n - 1))
        [ $n -gt 0 ] || return 1
        sleep 0.05
    done
}
daemon_pid() { pgrep -f "varve daemon $1\$"; }
keeper_pid() { pgrep -f "varve keeper $1 "; }
daemon_gone() { ! daemon_pid "$1" >/dev/null && ! keeper_pid "$1" >/dev/null; }
drop_caches() { echo 3 >/proc/sys/vm/drop_caches; }
requests() { "$VARVE" requests "$1" | grep -v ' 0$'; }

# a store of the test's own, unmounted again whatever happens
own_store() {
    store=$scratch/own-$1 point=$scratch/own-$1.mnt
    rm -rf "$store"
    mkdir -p "$point"
    shift
    "$VARVE" mount "$store" "$point" --create "$@" >/dev/null
}
own_killable() { # NAME [options...]: own_store by a daemon that does what the file $order says (tests/doors/kill.c)
    local killable
    killable=$(dirname "$VARVE")/tests/varve-kill
    [ -x "$killable" ] || skip "varve-kill is not built"
    order=$scratch/$1-order
    VARVE_KILL=$order VARVE=$killable own_store "$@"
}
own_end() {
    local rc=$? p
    [ $rc -eq 0 ] || [ $rc -eq 77 ] || [ ! -s "${store:-}/log/daemon.log" ] || {
        echo "the daemon's log:"
        grep -v 'note event' "$store/log/daemon.log" | tail -n 15
    }
    set +e
    cd /
    for p in "$scratch"/own-*.mnt*; do
        # one that has lost its daemon is no mountpoint to mountpoint(1)
        while grep -q " $p " /proc/self/mounts; do umount "$p" 2>/dev/null || umount -l "$p" || break; done
    done
    [ -z "${manager:-}" ] || { # tests/mount/t_service.sh
        kill -TERM "$manager"
        wait "$manager"
    }
    for p in "$scratch"/own-*; do
        [ ! -f "$p/version" ] || wait_for 10 daemon_gone "$p"
    done
}

# A test that hangs may do so inside the kernel: then only the end of keeper and daemon gets it out.
watch_over() {
    sleep "${TEST_TIMEOUT:-300}" || return 0 # the test was faster
    echo "timed out: ending the daemons of $1"
    for p in $(pgrep -f "tests/manager .*--log $scratch/"; pgrep -f "varve keeper $scratch/"; pgrep -f "varve daemon $scratch/"); do kill -9 "$p"; done
}

run_one() {
    local out rc t0 t1 watch
    case $1 in *"$ONLY"*) ;; *) return ;; esac
    mkdir -p "$mnt/$1"
    t0=$(date +%s%N)
    watch_over "$1" 2>/dev/null &
    watch=$!
    out=$(
        set -e ${TRACE:+-x}
        trap own_end EXIT
        cd "$mnt/$1"
        "$1" 2>&1
    )
    rc=$?
    t1=$(date +%s%N)
    pkill -P $watch
    wait $watch
    case $rc in
    0) passed=$((passed + 1)); printf '  ok    %-44s %5d ms\n' "$1" $(((t1 - t0) / 1000000)) ;;
    77) skipped=$((skipped + 1)); printf '  skip  %-44s %s\n' "$1" "$out" ;;
    *) failed=$((failed + 1)); printf '  FAIL  %-44s\n%s\n' "$1" "$(sed 's/^/        /' <<<"$out")" ;;
    esac
}

scratch_volume vol >/dev/null 2>&1 || {
    # the command that creates volumes is not what is tested here
    mkdir -p "$scratch/vol"
    mounted+=("$scratch/vol")
    "$VARVE" mount "$scratch/vol.store" "$scratch/vol" --create || exit 1
}
vol=$scratch/vol.store/main mnt=$scratch/vol
for file in tests/mount/t_*.sh; do . "$file"; done
for t in $(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p'); do run_one "$t"; done
cd / && "$VARVE" umount "$mnt" || failed=$((failed + 1))
printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed -eq 0 ]
