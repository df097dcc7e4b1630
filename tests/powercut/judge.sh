#!/bin/bash
# judge.sh FS LOG PLACE DONE "WORK...": builds the images that stdin names ("POS WAY SEED", positions rising), mounts each on another
# boot, the volume in it too, and looks whether all is there that was promised by then, with `varve check` and the filesystem's own
# check. Adds a line "POS WAY SEED good|bad PROGRAM" to DONE for each; says what is wrong with those that are bad. KEEP=dir keeps them.
# Runs in a mount namespace of its own and ends with the process that started it.
set -u
. tests/tools/mounted.sh
tool=$(readlink -f "$BUILD")/tests/powercut
. tests/powercut/place.sh
. tests/powercut/works.sh
fs=$1 log=$2 done=$4
read -ra works <<<"$5"
parent=$PPID shown=0
options=noatime$([ "$fs" = xfs ] && echo ,nouuid) # images of one device at the same time
program=$(sha256sum "$VARVE" | cut -c1-12)

release() {
    local rc=$?
    trap - EXIT
    undo
    (exit $rc)
    scratch_release
}
trap release EXIT
place_make "$3" || exit 1

fsck_of() { # FS DEVICE
    case $1 in
    ext4) e2fsck -fn "$2" ;;
    xfs) xfs_repair -n "$2" ;;
    esac
}

# looks WHAT LINES COMMAND...: what it says where it fails
looks() {
    local what=$1 lines=$2
    shift 2
    "$@" >"$fast/verdict" 2>&1 && return
    bad=1
    sed "s/^/$what: /" "$fast/verdict" | tail -n "$lines"
}

judge() { # $fast/image; says what is wrong
    local w bad=
    new_boot
    loop_up "$fast/image" && mount -t "$fs" -o "$options" "$loop" "$fast/lower" && mounted+=("$fast/lower") || { echo "$fs does not mount"; return 1; }
    mounted+=("$fast/volume")
    "$VARVE" mount "$fast/lower/store" "$fast/volume" >/dev/null || { echo "the volume does not mount"; return 1; }
    for w in "${works[@]}"; do
        sed -n "s/^$w //p" "$fast/promised" >"$fast/promised.$w"
        looks "$w" 5 verify_"$w" "$fast/volume" "$fast/promised.$w"
    done
    "$VARVE" umount "$fast/volume" || { echo "umount failed"; return 1; } # waits for the daemon
    looks check 5 "$VARVE" check "$fast/lower/store"
    umount "$fast/lower" || { echo "umount of $fs failed"; return 1; }
    looks fsck 5 fsck_of "$fs" "$loop"
    [ -z "$bad" ]
}

exec 8<&0
coproc builder { exec "$tool" images "$log" "$fast/image" "$fast/promised"; } || exit 1
while kill -0 "$parent" 2>/dev/null && read -r pos way seed <&8; do
    echo "$pos $way $seed" >&"${builder[1]}" && read -r _ <&"${builder[0]}" || { say "no image can be built"; exit 1; }
    verdict=good
    judge >"$fast/why" 2>&1 || {
        verdict=bad
        shown=$((shown + 1))
        [ -n "${QUIET:-}" ] || [ $shown -gt 10 ] || say "FAILED  $fs, position $pos, $way, seed $seed: $(head -n 6 "$fast/why")"
        [ -z "${KEEP:-}" ] || cp --sparse=always "$fast/image" "$KEEP/$fs-$pos-$way.image"
    }
    undo
    echo "$pos $way $seed $verdict $program" >>"$done"
done
