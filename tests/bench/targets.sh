#!/bin/bash
# targets.sh up|down|restart NAME: the filesystems that the bench measures. Each is mounted at $BENCH_RUN/mnt/NAME, its processes stand
# in $BENCH_RUN/NAME.pid, what they say in $BENCH_RUN/NAME.log, and what they keep lies on the ext4 at $BENCH_RUN/disk.
#   ext4                 that ext4 itself
#   varve                as it comes; varve-OPTION: with this mount option; varve@X: another one of the same; varve@bare: one that keeps
#                        nothing for a daemon that may take over (tests/doors/bare.c)
#   floor                ours, in memory, on the transport of varve's (floor.h)
#   passthrough_hp       libfuse's own, classic; -uring: io_uring; -kernel: the kernel passes reads and writes through
#   bindfs mergerfs fuse-overlayfs juicefs
# up: exit 3 and one line that says why when it cannot be had here.
#   disk-up SIZE_MIB     the ext4: journalled, in a preallocated file, by a loop device with direct I/O
#   disk-down
set -u
run=${BENCH_RUN:?} name=${2:-}
mnt=$run/mnt/$name back=$run/disk/$name.back store=$run/disk/$name.store log=$run/$name.log
tools=$VARVE_CACHE/bench
case $name in *@bare) VARVE=$(dirname "$VARVE")/tests/varve-bare ;; esac

cannot() {
    echo "$*"
    exit 3
}

# every mount of the run and no other: the run's directory is in the path
is_mounted() { mountpoint -q "$1"; }

wait_for() { # tenths of a second, command...
    local n=$1
    shift
    while ! "$@"; do
        n=$((n - 1))
        [ $n -gt 0 ] || return 1
        sleep 0.1
    done
}

# a filesystem that stays in the foreground
start() {
    setsid "$@" >>"$log" 2>&1 </dev/null &
    echo $! >"$run/$name.pid"
    wait_for 100 is_mounted "$mnt" || cannot "$1 did not mount: $(tail -n 1 "$log" 2>/dev/null)"
}

uring_on() {
    [ "$(cat /sys/module/fuse/parameters/enable_uring 2>/dev/null)" = Y ] \
        || echo Y 2>/dev/null >/sys/module/fuse/parameters/enable_uring || cannot "this kernel has no FUSE over io_uring"
}

# the mount, or it is none of this name
over_uring() {
    local t
    t=$("$VARVE" status "$mnt" --json | sed -n 's/.*"transport": *"\([^"]*\)".*/\1/p' | head -n 1)
    [ "$t" != io_uring ] || return 0
    end_it
    cannot "transport: $t"
}

hp() { # options...
    local prog
    prog=$(ls "$tools"/passthrough_hp-* 2>/dev/null | sort -V | tail -n 1)
    [ -n "$prog" ] || cannot "passthrough_hp is not built: $(cat "$tools/passthrough_hp.why" 2>/dev/null || echo 'run make bench-peers')"
    start "$prog" --foreground "$@" "$back" "$mnt"
}

mount_it() {
    mkdir -p "$mnt"
    case $name in
    ext4 | bindfs | mergerfs | juicefs | passthrough_hp*) mkdir -p "$back" ;;
    fuse-overlayfs) mkdir -p "$back/lower" "$back/upper" "$back/work" ;;
    esac
    case $name in
    ext4)
        rmdir "$mnt" && ln -s "$back" "$mnt"
        : >"$run/$name.pid"
        ;;
    floor)
        start "$BENCH" floor "$mnt" --counts "$run/floor.counts"
        [ "${BENCH_BREAK:-}" != floor ] || kill -9 "$(cat "$run/$name.pid")" # so that a test sees what becomes of it
        ;;
    varve*)
        local opts=${name#varve}
        opts=${opts%@*}
        [ "${opts#-}" != io_uring ] || uring_on
        [ -e "$store" ] || "$VARVE" create "$store" >>"$log" 2>&1 || cannot "varve create: $(tail -n 1 "$log")"
        # shellcheck disable=SC2086
        "$VARVE" mount "$store" "$mnt" ${opts:+-o ${opts#-}} >>"$log" 2>&1 || cannot "varve mount: $(tail -n 1 "$log")"
        "$VARVE" status "$mnt" --json | sed -n 's/.*"daemon_pid": *\([0-9]*\).*/\1/p' | head -n 1 >"$run/$name.pid"
        [ "${opts#-}" != io_uring ] || over_uring
        ;;
    passthrough_hp) hp --nopassthrough ;;
    passthrough_hp-uring)
        uring_on
        hp --nopassthrough -o io_uring
        ;;
    passthrough_hp-kernel) hp ;;
    bindfs) peer bindfs && start bindfs -f "$back" "$mnt" ;;
    mergerfs) peer mergerfs && start mergerfs -f -o allow_other,use_ino,minfreespace=0,cache.files=auto-full "$back" "$mnt" ;;
    fuse-overlayfs)
        peer fuse-overlayfs \
            && start fuse-overlayfs -f -o "lowerdir=$back/lower,upperdir=$back/upper,workdir=$back/work" "$mnt"
        ;;
    juicefs)
        [ -x "$tools/juicefs" ] || cannot "juicefs is not built: $(cat "$tools/juicefs.why" 2>/dev/null || echo 'run make bench-peers')"
        [ -e "$back/meta.db" ] || "$tools/juicefs" format --storage file --bucket "$back/" --trash-days 0 \
            "sqlite3://$back/meta.db" bench >>"$log" 2>&1 || cannot "juicefs format: $(tail -n 1 "$log")"
        start "$tools/juicefs" mount --no-usage-report --cache-dir "$back/cache" --backup-meta 0 "sqlite3://$back/meta.db" "$mnt"
        ;;
    *) cannot "the bench knows no filesystem of this name" ;;
    esac
}

peer() { command -v "$1" >/dev/null || cannot "$1 is not installed (make bench-peers)"; }

process_gone() { [ ! -d "/proc/$1" ]; }

# its own processes are asked, then made to end: a daemon that was cut off from its mount may not notice
end_it() {
    local p
    if is_mounted "$mnt"; then
        case $name in
        varve*) "$VARVE" umount "$mnt" >>"$log" 2>&1 ;;
        *) umount "$mnt" 2>>"$log" ;;
        esac
        ! is_mounted "$mnt" || { sleep 1; umount "$mnt" 2>>"$log"; } || umount -l "$mnt" 2>>"$log"
    fi
    for p in $(cat "$run/$name.pid" 2>/dev/null); do
        wait_for 50 process_gone "$p" || kill "$p" 2>/dev/null
        wait_for 20 process_gone "$p" || kill -9 "$p" 2>/dev/null
    done
    rm -f "$run/$name.pid"
}

down() {
    end_it
    [ ! -L "$mnt" ] || rm -f "$mnt"
    [ ! -d "$mnt" ] || rmdir "$mnt"
    rm -rf --one-file-system "$store" "$back"
}

disk_up() { # MIB
    command -v mkfs.ext4 >/dev/null || cannot "mkfs.ext4 is not installed"
    mkdir -p "$run/disk"
    # written, not only allocated: no extent has to be converted under a measurement
    dd if=/dev/zero of="$run/disk.img" bs=1M count="$1" oflag=direct status=none || cannot "no room for $1 MiB in $run"
    mkfs.ext4 -q -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$run/disk.img" || cannot "mkfs.ext4 failed"
    losetup --direct-io=on --show -f "$run/disk.img" >"$run/disk.loop" || cannot "no loop device with direct I/O"
    mount "$(cat "$run/disk.loop")" "$run/disk" || cannot "the ext4 cannot be mounted"
}

disk_down() {
    local dev
    dev=$(cat "$run/disk.loop" 2>/dev/null)
    ! is_mounted "$run/disk" || umount "$run/disk" || { sleep 1; umount "$run/disk"; } || umount -l "$run/disk"
    [ -z "$dev" ] || losetup -d "$dev"
    rm -f "$run/disk.loop" "$run/disk.img"
}

case ${1:-} in
up) mount_it ;;
down) down ;;
restart)
    case $name in
    ext4 | floor) ;; # the one has no daemon, the other keeps nothing that could be found again
    *) end_it && mount_it ;;
    esac
    ;;
disk-up) disk_up "$2" ;;
disk-down) disk_down ;;
*) cannot "usage: targets.sh up|down|restart NAME | disk-up MIB | disk-down" ;;
esac
