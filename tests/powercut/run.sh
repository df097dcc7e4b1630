#!/bin/bash
# Power cuts for real: the store's ext4 or XFS lies on a block device that logs every write, discard and flush (powercut.h), with
# marks between them by which the workloads say what they were promised. At chosen positions of the log the medium is built as a cut
# would have left it, in five ways: writes since the last flush lost, a prefix of them kept, 4 KiB blocks at random, torn at 512
# bytes, all kept. Each image is mounted, the volume in it too: what was promised is there, the databases are sound, `varve check` and
# the filesystem's own check find nothing (judge.sh).
#   SCALE=short what make check runs; POSITIONS= a filesystem, FS="ext4 xfs", WAYS= a position, WORK="own sqlite git postgres repo",
#   SECONDS_= of work, SEED=, JOBS= images at a time
#   FROM=dir keeps the logs and which images are done: a run that is interrupted goes on where it ended, an image that was bad is
#   looked at again
# Controls, which must lose what was promised in 8 of 10 images: ext4 without barriers, and the daemon without fdatasync.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tools/mounted.sh
tool=$(readlink -f "$BUILD")/tests/powercut
short=$([ "${SCALE:-full}" = short ] && echo 1 || echo)
SEED=${SEED:-$((RANDOM * 32768 + RANDOM))}
FS=${FS:-$([ "$short" ] && echo ext4 || echo "ext4 xfs")}
POSITIONS=${POSITIONS:-$([ "$short" ] && echo 8 || echo 200)}
WAYS=${WAYS:-$([ "$short" ] && echo 1 || echo 5)}
WORK=${WORK:-$([ "$short" ] && echo "own sqlite repo" || echo "own sqlite git postgres repo")}
SECONDS_=${SECONDS_:-$([ "$short" ] && echo 4 || echo 20)}
CONTROLS=${CONTROLS-$([ "$short" ] || echo "nobarrier flush")}
JOBS=${JOBS:-$(nproc)}
ways=(lost prefix blocks torn kept)
passed=0 failed=0 skipped=0
export VARVE BUILD KEEP

[ "$(id -u)" = 0 ] || skip_suite "needs root"
if [ -z "${POWERCUT_NS:-}" ]; then # mounts of its own that go with it
    unshare -m --propagation private true 2>/dev/null || skip_suite "no mount namespaces here"
    rmdir "$scratch"
    trap - EXIT
    POWERCUT_NS=1 exec unshare -m --propagation private "$0" "$@"
fi
[ -e /dev/fuse ] || skip_suite "no /dev/fuse here"
losetup -f >/dev/null 2>&1 || skip_suite "no loop devices here"
for p in python3 sqlite3 git mkfs.ext4; do
    command -v $p >/dev/null || skip_suite "$p is not installed (make deps-tests)"
done
. tests/powercut/place.sh
. tests/powercut/works.sh
case $WORK in *postgres*)
    [ -n "$pg_bin" ] || { WORK=${WORK/postgres/}; skipped=$((skipped + 1)); say "skip PostgreSQL is not installed (make deps-tests)"; } ;;
esac

judges=()
top=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$scratch")/varve-powercut.XXXXXX")
release() {
    local rc=$? p
    trap - EXIT
    for p in "${judges[@]}"; do kill "$p" 2>/dev/null && wait "$p"; done
    undo
    rm -rf --one-file-system "$top"
    (exit $rc)
    scratch_release
}
trap release EXIT
place_make "$top" || { rm -rf "$top"; skip_suite "/proc cannot be changed here"; }
keep=${FROM:-$top} # the logs, and which images are done
mkdir -p "$keep" || exit 1

# --- one run on the device ----------------------------------------------------------------------------------------------
mkfs_of() { # FS DEVICE
    case $1 in
    ext4) mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0,nodiscard "$2" ;;
    xfs) mkfs.xfs -q -f -K "$2" ;;
    esac
}
tell() { # NAME: what a workload prints, as marks
    sed -u "s/^/$1 /" | "$tool" mark "$fast/marks"
}
works_run() { # WORK...: all at once; says which one failed, and why
    local w pids=() r=0
    for w in "$@"; do
        (work_"$w" "$fast/volume" "$SECONDS_" 2>"$fast/err.$w" | tell "$w"; exit "${PIPESTATUS[0]}") &
        pids+=($!)
    done
    for w in "$@"; do
        wait "${pids[0]}" || { r=1; say "$w failed: $(tail -n 4 "$fast/err.$w")"; }
        pids=("${pids[@]:1}")
    done
    [ $r = 0 ] || df -h "$fast/lower" | tail -n 1
    return $r
}

record() { # FS MOUNT-OPTIONS LOG WORK...
    local fs=$1 options=$2 log=$3 w r=0
    shift 3
    : >"$fast/disk"
    rm -f "$fast/marks" "$log"
    "$tool" disk "$fast/disk" $((1 << 30)) "$log" "$fast/marks" &
    disk_pid=$!
    for _ in $(seq 100); do
        mountpoint -q "$fast/disk" && break
        sleep 0.05
    done
    loop_up --direct-io=on "$fast/disk" && mkfs_of "$fs" "$loop" || return 1
    mount -t "$fs" -o "noatime$options" "$loop" "$fast/lower" && mounted+=("$fast/lower") || return 1
    "$daemon" create "$fast/lower/store" >/dev/null && mounted+=("$fast/volume") && "$daemon" mount "$fast/lower/store" "$fast/volume" >/dev/null \
        || return 1
    chmod 755 "$fast/volume"
    for w in "$@"; do prepare_"$w" "$fast/volume" || return 1; done
    sync
    echo begin | "$tool" mark "$fast/marks"
    works_run "$@" || r=1
    echo end | "$tool" mark "$fast/marks"
    undo
    return $r
}

# --- images -------------------------------------------------------------------------------------------------------------
# tasks LOG POSITIONS WAYS WAY...: "POS WAY SEED" for each image
tasks() {
    local log=$1 n=$2 each=$3 pos i=0 k
    shift 3
    local allowed=("$@")
    for pos in $("$tool" points "$log" "$n" "$SEED"); do
        for ((k = 0; k < each; k++)); do
            echo "$pos ${allowed[$(((i + k) % ${#allowed[@]}))]} $((SEED + i * 8 + k))"
        done
        i=$((i + 1))
    done
}

# images FS NAME WORK...: of $keep/NAME.log those of NAME.tasks that NAME.done does not call good; sets $good, $bad, and $fresh, how
# many were looked at now
images() {
    local fs=$1 name=$2 k n p began=$SECONDS told=$SECONDS
    shift 2
    touch "$keep/$name.done"
    # a cut whose ways are split between two runs goes to one judge all the same: each builds on at rising positions
    awk 'FILENAME == ARGV[1] { if ($4 == "good") done[$1 " " $2 " " $3]; next } !($0 in done)' "$keep/$name.done" "$keep/$name.tasks" >"$fast/todo"
    fresh=$(wc -l <"$fast/todo")
    judges=()
    for ((k = 0; k < JOBS; k++)); do
        mkdir -p "$top/judge$k"
        awk -v k=$k -v jobs="$JOBS" '$1 != last { last = $1; n++ } n % jobs == k' "$fast/todo" >"$top/judge$k/todo"
        unshare -m --propagation private tests/powercut/judge.sh "$fs" "$keep/$name.log" "$top/judge$k" "$keep/$name.done" "$*" \
            <"$top/judge$k/todo" &
        judges+=($!)
    done
    for p in "${judges[@]}"; do
        while kill -0 "$p" 2>/dev/null; do
            sleep 0.2
            [ $((SECONDS - told)) -ge 60 ] || continue
            told=$SECONDS n=$(left "$name")
            [ "$n" -ge "$fresh" ] || say "$name: $((fresh - n)) of $fresh images, $(grep -c ' bad ' "$keep/$name.done") bad, $(((SECONDS - began) * n / (fresh - n) / 60 + 1)) min left"
        done
        wait "$p" || failed=$((failed + 1))
    done
    judges=()
    read -r good bad <<<"$(awk 'FILENAME == ARGV[1] { verdict[$1 " " $2 " " $3] = $4; next } verdict[$0] == "good" { g++ } verdict[$0] == "bad" { b++ }
        END { print g + 0, b + 0 }' "$keep/$name.done" "$keep/$name.tasks")"
}
left() { awk 'FILENAME == ARGV[1] { done[$1 " " $2 " " $3]; next } !($0 in done)' "$keep/$1.done" "$keep/$1.tasks" | wc -l; }

count() { # LOG KIND: marks of that kind
    "$tool" marks "$1" 18446744073709551615 | grep -c "^$2 "
}

run_fs() { # FS
    local began=$SECONDS w told= all log=$keep/$1.log
    daemon=$VARVE snapshots=1
    if [ ! -s "$keep/$1.tasks" ]; then
        # shellcheck disable=SC2086
        record "$1" "" "$log" $WORK || {
            failed=$((failed + 1))
            say "FAILED  $1: the workloads"
            undo
            return
        }
        tasks "$log" "$POSITIONS" "$WAYS" "${ways[@]}" >"$keep/$1.new" && mv "$keep/$1.new" "$keep/$1.tasks"
    fi
    all=$(wc -l <"$keep/$1.tasks")
    for w in $WORK; do told="$told, $(count "$log" "$w") $w"; done
    # shellcheck disable=SC2086
    images "$1" "$1" $WORK
    passed=$((passed + good)) failed=$((failed + all - good))
    say "$1: $(cut -d ' ' -f 1 "$keep/$1.tasks" | sort -u | wc -l) positions, $all images, $good good, $bad bad, $((all - good - bad)) not looked at; $fresh of them now; log of $(($(stat -c %s "$log") >> 20)) MiB, promises: ${told#, }; $((SECONDS - began)) s (SEED=$SEED)"
}

control() { # NAME DAEMON MOUNT-OPTIONS: loses what was promised in 8 of 10
    local name=control-${1##* }
    daemon=$2 snapshots=
    keep=$top
    if record ext4 "$3" "$top/$name.log" own; then
        tasks "$top/$name.log" 10 1 lost blocks >"$top/$name.tasks"
        QUIET=1 images ext4 "$name" own
        say "control $1: $bad of $((good + bad)) images lost what was promised"
    else
        bad=0 && say "control $1: the workload failed"
        undo
    fi
    rm -f "$top/$name.log"
    if [ "$bad" -ge 8 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); say "FAILED  control $1"; fi
}

for fs in $FS; do
    command -v "mkfs.$fs" >/dev/null || { skipped=$((skipped + 1)); say "skip $fs: mkfs.$fs is not installed"; continue; }
    run_fs "$fs"
done
for c in $CONTROLS; do
    case $c in
    nobarrier) control "ext4 nobarrier" "$VARVE" ",nobarrier" ;;
    *) if ${MAKE:-make} --no-print-directory BREAK="$c" "build-break-$c/varve" >"$fast/build" 2>&1; then
        control "daemon without $c" "$PWD/build-break-$c/varve" ""
    else
        failed=$((failed + 1)) && tail -n 5 "$fast/build"
    fi ;;
    esac
done
say "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
