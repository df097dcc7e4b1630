# Sourced by run.sh and judge.sh: a place in memory, and mounts and loop devices that are undone. Expects $tool and a mount namespace
# of its own; a store is opened on another boot of the machine than it was written on.
loops=() disk_pid=

place_make() { # DIR: sets $fast
    fast=$1
    export XDG_CACHE_HOME=$1/cache XDG_CONFIG_HOME=$1/config
    chmod 711 "$fast"
    mkdir -p "$fast/lower" "$fast/volume"
    new_boot
    mount --bind "$fast/boot_id" /proc/sys/kernel/random/boot_id 2>/dev/null
}
new_boot() { cat /proc/sys/kernel/random/uuid >"$fast/boot_id"; }

loop_up() { # FILE [losetup options]: sets $loop
    loop=$(losetup -f --show "$@") && loops+=("$loop")
}

undo() { # everything but the scratch directories
    local l
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
