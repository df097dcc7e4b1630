# Sourced by the suites that work through a mount: a scratch directory, volumes and ext4 images in it, all undone at exit.
# Expects `set -u`; gives $scratch, and scratch_volume, scratch_ext4, unmount_all.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
BUILD=${BUILD:-build}
VARVE=${VARVE:-$(readlink -f "$BUILD")/varve}
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/varve.XXXXXX") || exit 1 # without it suites would write to /
chmod 711 "$scratch" # suites switch to other users
mounted=()

unmount_all() {
    local i
    for ((i = ${#mounted[@]} - 1; i >= 0; i--)); do
        mountpoint -q "${mounted[i]}" || continue
        umount "${mounted[i]}" 2>/dev/null || { sleep 1; umount "${mounted[i]}"; } || umount -l "${mounted[i]}"
    done
    mounted=()
}

scratch_release() {
    local rc=$?
    trap - EXIT
    cd /
    unmount_all
    rm -rf --one-file-system "$scratch"
    exit $rc
}
trap scratch_release EXIT
trap 'exit 130' INT TERM HUP

# scratch_volume NAME [create options...]: a store $scratch/NAME.store, its volume mounted at $scratch/NAME with the options $MOUNT_OPTS
scratch_volume() {
    local name=$1
    shift
    "$VARVE" create "$scratch/$name.store" "$@" && mkdir -p "$scratch/$name" || return 1
    mounted+=("$scratch/$name")
    "$VARVE" mount "$scratch/$name.store" "$scratch/$name" ${MOUNT_OPTS:+-o "$MOUNT_OPTS"}
}

# scratch_ext4 NAME SIZE: an ext4 of its own at $scratch/NAME, or a plain directory where loop devices are not to be had
scratch_ext4() {
    mkdir -p "$scratch/$1"
    truncate -s "$2" "$scratch/$1.img" && mkfs.ext4 -q -E lazy_itable_init=0 "$scratch/$1.img" || return 1
    if mount -o loop "$scratch/$1.img" "$scratch/$1" 2>/dev/null; then
        mounted+=("$scratch/$1")
    else
        say "note: no loop device; comparing with $(stat -f -c %T "$scratch") of $scratch"
    fi
}

# what a suite whose tests mount by root and look through python3 cannot do without
suite_needs_mounts() {
    [ -e /dev/fuse ] || skip_suite "no /dev/fuse here"
    [ "$(id -u)" = 0 ] || skip_suite "needs root"
    command -v python3 >/dev/null || skip_suite "needs python3"
}

# measured_on LOAD: of what, where and when figures are; LOAD: the averages before
measured_on() {
    local changed
    changed=$(git status --porcelain --untracked-files=no 2>/dev/null | grep -v docs/performance.md | head -n 1)
    printf 'Commit %s%s, Linux %s, %s, %s processors, load before: %s, after: %s' \
        "$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)" "${changed:+ with changes}" "$(uname -r)" "$(date -u +%Y-%m-%d)" \
        "$(nproc)" "$1" "$(cut -d' ' -f1-3 /proc/loadavg)"
}

skip_suite() {
    say "suite skipped: $*"
    say "0 passed, 0 failed, 1 skipped"
    exit 0
}
