#!/bin/bash
# Power cuts for real: the store's ext4 or XFS lies on a block device that logs every write, discard and flush (powercut.h), with
# marks between them by which the workloads say what they were promised. At chosen positions of the log the medium is built as a cut
# would have left it, in five ways: writes since the last flush lost, a prefix of them kept, 4 KiB blocks at random, torn at 512
# bytes, all kept. Each image is mounted, the volume in it too: what was promised is there, the databases are sound, `varve check` and
# the filesystem's own check find nothing.
#   SCALE=short what make check runs; POSITIONS= a filesystem, FS="ext4 xfs", WAYS= a position, WORK="own sqlite git postgres",
#   SECONDS_= of work, SEED=
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
WORK=${WORK:-$([ "$short" ] && echo "own sqlite" || echo "own sqlite git postgres")}
SECONDS_=${SECONDS_:-$([ "$short" ] && echo 4 || echo 20)}
CONTROLS=${CONTROLS-$([ "$short" ] || echo "nobarrier flush")}
ways=(lost prefix blocks torn kept)
passed=0 failed=0 skipped=0

[ "$(id -u)" = 0 ] || skip_suite "needs root"
# mounts of its own that go with it; and an image is opened on another boot of the machine than it was written on
if [ -z "${POWERCUT_NS:-}" ]; then
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
pg_bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
case $WORK in *postgres*)
    [ -n "$pg_bin" ] || { WORK=${WORK/postgres/}; skipped=$((skipped + 1)); say "skip PostgreSQL is not installed (make deps-tests)"; } ;;
esac

# --- what has to be undone ------------------------------------------------------------------------------------------
fast=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$scratch")/varve-powercut.XXXXXX")
chmod 711 "$fast"
loops=() disk_pid=

new_boot() { cat /proc/sys/kernel/random/uuid >"$fast/boot_id"; }
new_boot
mount --bind "$fast/boot_id" /proc/sys/kernel/random/boot_id 2>/dev/null || { rm -rf "$fast"; skip_suite "/proc cannot be changed here"; }

loop_up() { # FILE [losetup options]: sets $loop
    loop=$(losetup -f --show "$@") && loops+=("$loop")
}
undo() { # everything but the scratch directories
    pg_end 2>/dev/null
    mountpoint -q "$fast/volume" && "$VARVE" umount "$fast/volume" 2>/dev/null # waits for the daemon
    unmount_all
    for l in "${loops[@]}"; do losetup -d "$l" 2>/dev/null; done
    loops=()
    if [ -n "$disk_pid" ]; then
        umount "$fast/disk" 2>/dev/null || umount -l "$fast/disk" 2>/dev/null
        wait "$disk_pid" 2>/dev/null
        disk_pid=
    fi
}
release() {
    local rc=$?
    trap - EXIT
    undo
    rm -rf --one-file-system "$fast"
    (exit $rc)
    scratch_release
}
trap release EXIT

# --- PostgreSQL -----------------------------------------------------------------------------------------------------
pg_data=
as_pg() { runuser -u postgres -- env PATH="$pg_bin:/usr/bin:/bin" PGHOST="$fast/socket" PGUSER=pg LC_ALL=C "$@"; }
pg_start() { # CLUSTER
    install -d -m 700 -o postgres "$fast/socket"
    : >"$fast/pg.log" && chown postgres "$fast/pg.log"
    as_pg pg_ctl -D "$1" -w -t 60 -l "$fast/pg.log" \
        -o "-c listen_addresses= -c unix_socket_directories=$fast/socket -c shared_buffers=8MB -c max_wal_size=64MB" start >/dev/null || {
        tail -n 15 "$fast/pg.log"
        return 1
    }
    pg_data=$1
}
pg_end() {
    [ -n "$pg_data" ] && as_pg pg_ctl -D "$pg_data" -w -m fast stop >/dev/null
    pg_data=
}

# --- workloads: each prints a line for what it was promised; own tells the device itself, and waits for that -----------------
prepare_own() { mkdir "$1/own"; }
work_own() { VARVE=${snapshots:+$VARVE} python3 tests/powercut/work.py run "$1/own/w" "$2" "$SEED" "$fast/marks"; }
verify_own() { python3 tests/powercut/work.py verify "$1/own/w" "$2"; }

prepare_sqlite() {
    mkdir "$1/sqlite" && sqlite3 "$1/sqlite/db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
        CREATE INDEX t_v ON t(v);' >/dev/null
}
work_sqlite() {
    local end=$((SECONDS + ${2%.*})) i=0
    while [ $SECONDS -lt $end ]; do
        echo "BEGIN; INSERT INTO t(v) VALUES('row $i-1'),('row $i-2'); COMMIT; SELECT count(*) FROM t;"
        i=$((i + 1))
        sleep 0.01
    done | { echo 'PRAGMA synchronous=FULL;'; cat; } | sqlite3 "$1/sqlite/db"
}
verify_sqlite() {
    local rows want
    want=$(tail -n 1 "$2")
    [ "$(sqlite3 "$1/sqlite/db" 'PRAGMA integrity_check')" = ok ] || { echo "integrity_check failed"; return 1; }
    rows=$(sqlite3 "$1/sqlite/db" 'SELECT count(*) FROM t')
    [ "$rows" -ge "${want:-0}" ] || { echo "$rows rows, $want were promised"; return 1; }
}

export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \
    GIT_CONFIG_KEY_1=core.fsync GIT_CONFIG_VALUE_1=all GIT_CONFIG_KEY_2=core.fsyncMethod GIT_CONFIG_VALUE_2=fsync
prepare_git() {
    git init -q -b main "$1/git" && git -C "$1/git" config user.name varve && git -C "$1/git" config user.email varve@localhost \
        && echo 0 >"$1/git/file" && git -C "$1/git" add file && git -C "$1/git" commit -qm 0
}
work_git() {
    local end=$((SECONDS + ${2%.*})) i=0
    while [ $SECONDS -lt $end ]; do
        i=$((i + 1))
        echo "line $i" >>"$1/git/file"
        git -C "$1/git" commit -qam "$i" || return 1
        # git syncs files, not names: a name is durable when its directory is
        sync "$1/git/.git/refs/heads" "$1/git/.git" && git -C "$1/git" rev-parse HEAD
    done
}
verify_git() {
    local want
    want=$(tail -n 1 "$2")
    git -C "$1/git" fsck --full --strict || return 1
    [ -z "$want" ] || git -C "$1/git" merge-base --is-ancestor "$want" HEAD || { echo "commit $want was promised"; return 1; }
}

prepare_postgres() {
    install -d -m 700 -o postgres "$1/postgres" && as_pg initdb -D "$1/postgres" -U pg -A trust --data-checksums -E UTF8 \
        --no-instructions >/dev/null && pg_start "$1/postgres" && as_pg createdb bench \
        && as_pg psql -qc 'CREATE TABLE t(id serial PRIMARY KEY, v text); CREATE INDEX ON t(v); CREATE EXTENSION amcheck' bench
}
work_postgres() {
    local end=$((SECONDS + ${2%.*})) i=0
    while [ $SECONDS -lt $end ]; do
        i=$((i + 1))
        echo "INSERT INTO t(v) SELECT 'row $i-' || g FROM generate_series(1, 20) g; SELECT $i * 20;"
        sleep 0.01
    done | as_pg psql -Atq bench
}
verify_postgres() {
    local rows want r=0
    want=$(tail -n 1 "$2")
    rm -f "$1/postgres/postmaster.pid" # of the other boot: its process id may be somebody's here
    pg_start "$1/postgres" || return 1
    rows=$(as_pg psql -Atqc 'SELECT count(*) FROM t' bench) && [ "$rows" -ge "${want:-0}" ] \
        || { echo "${rows:-no} rows, ${want:-0} were promised"; r=1; }
    as_pg pg_amcheck --heapallindexed bench || r=1
    pg_end
    as_pg pg_checksums --check -D "$1/postgres" >/dev/null && return $r
}

# --- one run on the device ----------------------------------------------------------------------------------------------
mkfs_of() { # FS DEVICE
    case $1 in
    ext4) mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0,nodiscard "$2" ;;
    xfs) mkfs.xfs -q -f -K "$2" ;;
    esac
}
fsck_of() { # FS DEVICE
    case $1 in
    ext4) e2fsck -fn "$2" ;;
    xfs) xfs_repair -n "$2" ;;
    esac
}
tell() { # NAME: what a workload prints, as marks
    sed -u "s/^/$1 /" | "$tool" mark "$fast/marks"
}

record() { # FS MOUNT-OPTIONS WORK...: leaves $fast/log
    local fs=$1 options=$2 w pids=() r=0
    shift 2
    : >"$fast/disk"
    rm -f "$fast/marks" "$fast/log"
    "$tool" disk "$fast/disk" $((384 << 20)) "$fast/log" "$fast/marks" &
    disk_pid=$!
    for _ in $(seq 100); do
        mountpoint -q "$fast/disk" && break
        sleep 0.05
    done
    loop_up --direct-io=on "$fast/disk" && mkfs_of "$fs" "$loop" || return 1
    mkdir -p "$fast/lower" "$fast/volume"
    mount -t "$fs" -o "noatime$options" "$loop" "$fast/lower" && mounted+=("$fast/lower") || return 1
    "$daemon" create "$fast/lower/store" >/dev/null && mounted+=("$fast/volume") && "$daemon" mount "$fast/lower/store" "$fast/volume" >/dev/null \
        || return 1
    chmod 755 "$fast/volume"
    for w in "$@"; do prepare_"$w" "$fast/volume" || return 1; done
    sync
    echo begin | "$tool" mark "$fast/marks"
    for w in "$@"; do
        (work_"$w" "$fast/volume" "$SECONDS_" | tell "$w"; exit "${PIPESTATUS[0]}") &
        pids+=($!)
    done
    for w in "${pids[@]}"; do wait "$w" || r=1; done
    echo end | "$tool" mark "$fast/marks"
    undo
    return $r
}

# --- one image ------------------------------------------------------------------------------------------------------------
judge() { # FS WORK...: $fast/image; says what is wrong
    local fs=$1 w bad=
    shift
    new_boot
    loop_up "$fast/image" && mount -t "$fs" "$loop" "$fast/lower" && mounted+=("$fast/lower") || { echo "$fs does not mount"; return 1; }
    mounted+=("$fast/volume")
    "$VARVE" mount "$fast/lower/store" "$fast/volume" >/dev/null || { echo "the volume does not mount"; return 1; }
    for w in "$@"; do
        sed -n "s/^$w //p" "$fast/promised" >"$fast/promised.$w"
        chmod 644 "$fast/promised.$w"
        verify_"$w" "$fast/volume" "$fast/promised.$w" >"$fast/verdict" 2>&1 || {
            bad=1
            sed "s/^/$w: /" "$fast/verdict" | head -n 5
        }
    done
    "$VARVE" umount "$fast/volume" || { echo "umount failed"; return 1; } # waits for the daemon
    "$VARVE" check "$fast/lower/store" >"$fast/verdict" 2>&1 || {
        bad=1
        sed "s/^/check: /" "$fast/verdict" | tail -n 5
    }
    umount "$fast/lower" && fsck_of "$fs" "$loop" >"$fast/verdict" 2>&1 || {
        bad=1
        sed "s/^/fsck: /" "$fast/verdict" | tail -n 5
    }
    [ -z "$bad" ]
}

images() { # FS POSITIONS WAYS "WAY..." WORK...: sets $good, $bad
    local fs=$1 n=$2 each=$3 allowed pos i=0 k way seed
    read -ra allowed <<<"$4"
    shift 4
    good=0 bad=0
    for pos in $("$tool" points "$fast/log" "$n" "$SEED"); do
        "$tool" marks "$fast/log" "$pos" >"$fast/promised"
        for ((k = 0; k < each; k++)); do
            way=${allowed[$(((i + k) % ${#allowed[@]}))]} seed=$((SEED + i * 8 + k))
            "$tool" image "$fast/log" "$pos" "$way" "$seed" "$fast/image" || return 1
            if judge "$fs" "$@" >"$fast/why" 2>&1; then
                good=$((good + 1))
            else
                bad=$((bad + 1))
                ${quiet:+:} say "FAILED  $fs, position $pos, $way, seed $seed: $(head -n 6 "$fast/why")"
                [ -z "${KEEP:-}" ] || cp --sparse=always "$fast/image" "$KEEP/$fs-$pos-$way.image"
            fi
            undo
        done
        i=$((i + 1))
    done
}

count() { # KIND: records of that kind in the log, by `powercut marks`
    "$tool" marks "$fast/log" 18446744073709551615 | grep -c "^$1 "
}

run_fs() { # FS
    local began=$SECONDS w told=
    daemon=$VARVE snapshots=1
    # shellcheck disable=SC2086
    record "$1" "" $WORK || {
        failed=$((failed + 1))
        say "FAILED  $1: the workloads"
        undo
        return
    }
    for w in $WORK; do told="$told, $(count "$w") $w"; done
    # shellcheck disable=SC2086
    images "$1" "$POSITIONS" "$WAYS" "${ways[*]}" $WORK
    passed=$((passed + good)) failed=$((failed + bad))
    say "$1: $POSITIONS positions, $((good + bad)) images, $good good; log of $(($(stat -c %s "$fast/log") >> 20)) MiB, promises: ${told#, }; $((SECONDS - began)) s (SEED=$SEED)"
}

control() { # NAME DAEMON MOUNT-OPTIONS: loses what was promised in 8 of 10
    daemon=$2 snapshots= quiet=1
    if record ext4 "$3" own; then
        images ext4 10 1 "lost blocks" own
        say "control $1: $bad of $((good + bad)) images lost what was promised"
    else
        bad=0 && say "control $1: the workload failed"
        undo
    fi
    quiet=
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
