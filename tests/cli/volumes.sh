# Stores and volumes: create, list, status, clone, resize, rename, delete, undelete. $case_dir is empty but for m/.

test_create_makes_store_and_volume() {
    local s=$case_dir/s
    ok varve create "$s" --size 1G --inodes 1K
    ok varve create "$s/second" --snapshot-limit 512M
    ok varve list "$s" --json
    same "$(json '[v["name"] for v in d["volumes"]]')" "['main', 'second']"
    same "$(json 'd["volumes"][0]["size_limit_bytes"]')" 1073741824
    same "$(json 'd["volumes"][0]["inode_limit"]')" 1000
    same "$(json 'd["volumes"][1]["snapshot_limit_bytes"]')" 536870912
    same "$(json 'd["volumes"][1]["size_limit_bytes"]')" null
    same "$(json 'd["store"]')" "$s"
    ok varve list "$s"
    has 'second'
    refused 1 'volume main: exists already; choose another name' varve create "$s"
    refused 1 'volume second: exists already' varve create "$s/second"
}

test_create_takes_an_empty_directory_only() {
    mkdir "$case_dir/empty" "$case_dir/full"
    touch "$case_dir/full/x"
    ok varve create "$case_dir/empty"
    refused 1 'directory holds something already; choose an empty directory' varve create "$case_dir/full"
    refused 1 'make it first' varve create "$case_dir/no/such/parent"
    ok varve create "$case_dir/fresh/volume"
    ok varve list "$case_dir/fresh" --json
    same "$(json '[v["name"] for v in d["volumes"]]')" "['volume']"
    touch "$case_dir/file"
    run varve create "$case_dir/file"
    [ $rc -eq 1 ] || fail "a file is no store: $rc $err"
}

test_bad_sizes_and_names_of_volumes() {
    local s=$case_dir/s long
    long=$(printf 'n%.0s' {1..256})
    ok varve create "$s"
    refused 2 '"ten" is not understood; write a size such as 10G' varve create "$s/x" --size ten
    refused 1 'the size is too small' varve create "$s/x" --size 5
    refused 1 'cannot be a volume' varve create "$s/a/b"
    refused 1 'longer than 255 bytes' varve create "$s/$long"
    refused 1 "own names" varve create "$s/journal"
    refused 1 "do not begin with '.'" varve create "$s/.x"
    refused 1 '@ #' varve create "$s/a#b"
    refused 2 'a volume is meant here, not a snapshot' varve create "$s/a@b"
    refused 2 'the path is empty' varve create ''
    ok varve create "$s/${long%n}"
    ok varve status "$s/${long%n}"
}

test_a_path_that_is_no_store() {
    mkdir "$case_dir/plain"
    refused 1 'there is no store at this path; varve create makes one' varve status "$case_dir/nothing"
    refused 1 'neither a varve store nor below a mount' varve list "$case_dir/plain"
    refused 1 'neither a varve store' varve check "$case_dir/plain"
    refused 1 'there is no store' varve dump "$case_dir/nothing" version
    ok varve create "$case_dir/s"
    refused 1 'volume does not exist; varve list' varve status "$case_dir/s/other"
    refused 2 'a store is meant here, not a volume' varve list "$case_dir/s/main"
}

test_a_store_held_by_another_process() {
    local s=$case_dir/s
    ok varve create "$s"
    python3 - "$s/lock" "$scratch/held" <<'PY' &
import fcntl, os, sys, time
f = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(f, fcntl.LOCK_EX)
try:
    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    pass
open(sys.argv[2], "w").close()
time.sleep(60)
PY
    local holder=$!
    while [ ! -e "$scratch/held" ]; do sleep 0.05; done
    refused 1 'in use' varve snapshot create "$s" x
    kill $holder
    wait $holder 2>/dev/null
    ok varve snapshot create "$s" x
}

test_a_filesystem_without_holes() {
    if ! mount -t ramfs none "$case_dir/m" 2>/dev/null; then
        skip='ramfs cannot be mounted'
        return
    fi
    refused 1 'no sparse files; use a directory on ext4 or XFS' varve create "$case_dir/m/s"
    ok umount "$case_dir/m"
}

test_status_of_a_volume_nobody_mounted() {
    ok varve create "$case_dir/s"
    ok varve status "$case_dir/s" --json
    same "$(json 'd["daemon_pid"]')" null
    same "$(json 'd["mode"]')" rw
    same "$(json 'd["mounts"]')" '[]'
    ok varve status "$case_dir/s" --check
    same "$out" ''
}

test_status_of_a_mounted_volume() {
    local s=$case_dir/s m=$case_dir/m
    ok varve mount "$s" "$m" --create
    mkdir -p "$m/a/b"
    for target in "$m" "$m/a/b" "$s" "$s/main"; do
        ok varve status "$target" --json
        [ -d "/proc/$(json 'd["daemon_pid"]')" ] || fail "daemon_pid of $target"
        same "$(json 'd["mounts"][0]["dir"]')" "$m"
        same "$(json 'd["volume"]["used_inodes"]')" 3
    done
    (cd "$m/a" && ok varve status . && same "$failures" 0) || fail 'status .'
    ok varve status "$m"
    has 'read-write'
    ok umount "$m"
}

test_clone_resize_rename_delete_undelete() {
    local s=$case_dir/s mounted
    for mounted in no yes; do
        [ $mounted = no ] || { rm -rf "$s"; ok varve mount "$s" "$case_dir/m" --create; }
        [ $mounted = yes ] || ok varve create "$s"
        ok varve snapshot create "$s" a
        ok varve clone "$s/main@a" copy
        ok varve clone "$s/main" other --json
        same "$(json 'd["volume"]["name"]')" other
        refused 1 'volume copy: exists already' varve clone "$s/main" copy
        refused 1 'snapshot no: does not exist' varve clone "$s/main@no" x
        ok varve resize "$s/copy" 2G
        ok varve resize "$s/copy" none
        refused 1 'too small' varve resize "$s/copy" 1K
        ok varve rename "$s/copy" kopie
        if [ $mounted = yes ]; then
            refused 1 "is mounted at $case_dir/m; umount it, then delete it" varve delete "$s/main"
            refused 1 'umount it, then rename it' varve rename "$s/main" x
        else
            refused 1 'volume main: has clones (' varve delete "$s/main"
        fi
        ok varve delete "$s/kopie"
        refused 1 'does not exist' varve status "$s/kopie"
        ok varve list "$s" --json
        same "$(json 'd["deleted"][0]["name"]')" kopie
        ok varve undelete "$s/kopie"
        ok varve status "$s/kopie"
        refused 1 'was not deleted in the last 24 hours' varve undelete "$s/kopie"
    done
    ok umount "$case_dir/m"
    ok varve check "$s"
}

test_settings_with_a_mistake_name_the_line() {
    ok varve create "$case_dir/s"
    printf '\nflush_intervall = "5s";\n' >"$case_dir/s/config"
    refused 1 'config: line 2: unknown setting "flush_intervall"; did you mean "flush_interval"?' varve status "$case_dir/s"
    printf 'flush_interval = "1s";\nsmall_file = "2K";\n' >"$case_dir/s/config"
    ok varve status "$case_dir/s"
}

test_a_mount_point_missing_or_busy() {
    ok varve create "$case_dir/s"
    refused 1 '' varve mount "$case_dir/s" "$case_dir/nothing"
    refused 1 '' varve mount "$case_dir/s/other" "$case_dir/m"
    ok varve mount "$case_dir/s" "$case_dir/m"
    refused 1 '' varve mount "$case_dir/s" "$case_dir/m"
    ok varve umount "$case_dir/m"
    refused 1 '' varve umount "$case_dir/m"
}

test_a_snapshot_of_a_mounted_directory() {
    local s=$case_dir/s m=$case_dir/m
    ok varve mount "$s" "$m" --create
    mkdir "$m/sub" "$m/sub@mon" "$case_dir/n"
    echo first >"$m/f"
    ok varve snapshot create "$m" mon
    echo second >"$m/f"
    ok varve clone "$m@mon" one
    ok varve clone "$m/sub/@mon" two
    refused 1 'volume two: exists already' varve clone "$m/sub@mon" two # a directory of that name: the volume as it is
    refused 1 'snapshot no: does not exist' varve clone "$m@no" three
    refused 1 'what follows @ is not the name of a snapshot' varve clone "$m@" three
    ok varve mount "$s/one" "$case_dir/n"
    same "$(cat "$case_dir/n/f")" first
    ok umount "$case_dir/n"
    ok varve mount "$s/main@mon" "$case_dir/n"
    refused 2 'is a snapshot itself' varve clone "$case_dir/n@mon" three
    ok umount "$case_dir/n"
    ok umount "$m"
}
