# Control files, jobs and events through a mount.

# wrote FILE LINE: exit code of the writing shell
wrote() { (echo "$2" >"$case_dir/m/.snapshots/.control/$1") 2>/dev/null; }
control() { cat "$case_dir/m/.snapshots/.control/$1"; }

test_control_files_read_and_write() {
    local m=$case_dir/m f
    ok varve mount "$case_dir/s" "$m" --create
    for f in status snapshots rollback jobs backup profile events error help; do
        same "$(control $f | head -c 1)" '#'
        out=$(control $f.json)
        json 'd["schema"]' >/dev/null
        [ -s "$m/.snapshots/.control/$f" ] || fail "$f has no size"
    done
    [ -d "$m/.snapshots/.control/changes" ] || fail 'changes is no directory'
    out=$(control changes.json)
    same "$(json 'd["files"]')" '[]'
    wrote snapshots 'create one label=a=b' || fail 'create one'
    wrote snapshots $'create two\nrename two to=zwei\nhold zwei' || fail 'three lines'
    same "$(ls "$m/.snapshots")" $'one\nzwei'
    wrote snapshots $'delete zwei\ndelete one' && fail 'a held one was deleted'
    [ -d "$m/.snapshots/one" ] || fail 'the line after the bad one was done'
    out=$(control error)
    has 'line    delete zwei'
    has 'snapshot is held'
    out=$(control error.json)
    same "$(json 'd["error"]["code"]')" HELD
    same "$(json 'd["error"]["uid"]')" "$(id -u)"
    out=$(control snapshots)
    has 'refused, '
    out=$(control snapshots.json)
    same "$(json 'len(d["snapshots"])')" 2
    wrote status 'resize 1G' || fail resize
    out=$(control status.json)
    same "$(json 'd["volume"]["size_limit_bytes"]')" 1073741824
    ok umount "$m"
}

test_rollback_and_clone_from_control_files() {
    local m=$case_dir/m
    ok varve mount "$case_dir/s" "$m" --create
    echo old >"$m/f"
    wrote snapshots 'create a' || fail 'create a'
    echo new >"$m/f"
    wrote rollback 'rollback a' || fail 'rollback a'
    same "$(cat "$m/f")" old
    out=$(control rollback.json)
    wrote rollback "rollback $(json 'd["undo"][0]["name"]')" || fail 'undo'
    same "$(cat "$m/f")" new
    wrote snapshots 'clone copy snap=a' || fail 'clone copy'
    mkdir "$case_dir/copy"
    ok varve mount "$case_dir/s/copy" "$case_dir/copy"
    same "$(cat "$case_dir/copy/f")" old
    ok umount "$case_dir/copy"
    ok umount "$m"
}

test_owner_commands_group_reads_others_see_nothing() {
    local m=$case_dir/m as='setpriv --clear-groups'
    [ "$(id -u)" = 0 ] || { skip='needs root to become others'; return; }
    chmod 755 "$case_dir"
    ok varve mount "$case_dir/s" "$m" --create
    chown 1234:2345 "$m"
    chmod 755 "$m"
    $as --reuid=1234 --regid=1 sh -c "echo 'create a' > '$m/.snapshots/.control/snapshots'" || fail 'owner'
    $as --reuid=1234 --regid=1 mkdir "$m/.snapshots/b" || fail 'owner: mkdir'
    $as --reuid=1 --regid=2345 cat "$m/.snapshots/.control/snapshots" >/dev/null || fail 'group reads'
    $as --reuid=1 --regid=2345 sh -c "echo 'create c' > '$m/.snapshots/.control/snapshots'" 2>/dev/null && fail 'group commands'
    $as --reuid=1 --regid=1 cat "$m/.snapshots/.control/snapshots" >/dev/null 2>&1 && fail 'others read'
    $as --reuid=1 --regid=1 mkdir "$m/.snapshots/c" 2>/dev/null && fail 'others: mkdir'
    same "$(ls "$m/.snapshots")" $'a\nb'
    ok umount "$m"
}

test_errno_of_a_refused_line() {
    local m=$case_dir/m
    ok varve mount "$case_dir/s" "$m" --create
    python3 - "$m/.snapshots/.control" <<'PY' || fail 'see above'
import errno, os, sys
def write(name, text):
    f = os.open(sys.argv[1] + "/" + name, os.O_WRONLY)
    try:
        os.write(f, text)
        return 0
    except OSError as e:
        return e.errno
    finally:
        os.close(f)
assert write("snapshots", b"create a") == 0
assert write("snapshots", b"create a") == errno.EEXIST
assert write("snapshots", b"delete b") == errno.ENOENT
assert write("snapshots", b"create .x") == errno.EINVAL
assert write("snapshots", b"create " + b"n" * 256) == errno.ENAMETOOLONG
assert write("snapshots", b"nonsense") == errno.EINVAL
assert write("jobs", b"wait 12345") == errno.ENOENT
PY
    ok umount "$m"
}

test_jobs_from_control_files() {
    local m=$case_dir/m id
    ok varve mount "$case_dir/s" "$m" --create
    head -c 3000000 /dev/urandom >"$m/f"
    wrote snapshots 'create a sync' || fail 'create a sync'
    out=$(control jobs.json)
    id=$(json 'd["jobs"][0]["id"]')
    same "$(json 'd["jobs"][0]["verb"]')" snapshot-sync
    ok varve job wait "$m" "$id"
    has "job $id done: snapshot a is durable"
    wrote jobs "wait $id" || fail 'wait'
    ok varve job list "$m" --json
    same "$(json 'd["jobs"][0]["state"]')" done
    (cd "$m" && varve job list >"$scratch/jobs") || fail 'job list without a target'
    refused 1 "is done already; nothing to cancel" varve job cancel "$m" "$id"
    refused 1 'job 999: does not exist' varve job wait "$m" 999
    refused 2 'write a number from 1' varve job wait "$m" x
    ok umount "$m"
    ok varve job list "$case_dir/s" --json
    same "$(json 'd["jobs"][0]["text"]')" 'snapshot a is durable'
}

test_events_are_kept_and_followed() {
    local m=$case_dir/m
    ok varve mount "$case_dir/s" "$m" --create
    ok varve snapshot create "$m" a
    "$VARVE" events "$m" --follow >"$scratch/followed" &
    local follower=$!
    mkdir "$m/.snapshots/b"
    mv "$m/.snapshots/b" "$m/.snapshots/c"
    rmdir "$m/.snapshots/c"
    for _ in $(seq 50); do
        grep -q 'snapshot-deleted  main: c' "$scratch/followed" && break
        sleep 0.1
    done
    kill $follower
    wait $follower 2>/dev/null
    out=$(cat "$scratch/followed")
    has 'snapshot-created  main: a'
    has 'snapshot-created  main: b'
    has 'snapshot-renamed  main: b is c now'
    has 'snapshot-deleted  main: c'
    ok varve events "$m" --json
    local last
    last=$(json 'd["events"][-1]["id"]')
    ok varve snapshot create "$m" d
    ok varve events "$m" --since "$last"
    has 'main: d'
    lacks 'main: c'
    same "$(control "events-since-$last")" "$out"
    ok umount "$m"
    ok varve events "$case_dir/s" --since "$last"
    has 'main: d'
}

test_control_none_and_read() {
    local s=$case_dir/s m=$case_dir/m
    ok varve create "$s"
    ok varve mount "$s" "$m" -o control=none
    [ -e "$m/.snapshots/.control" ] && fail 'control=none shows .control'
    ok varve snapshot create "$m" a
    ok umount "$m"
    ok varve mount "$s" "$m" -o control=read
    control status >/dev/null || fail 'control=read'
    wrote snapshots 'create x' && fail 'control=read took a snapshot'
    ok umount "$m"
    ok varve mount "$s" "$m" -o control=snapshot
    wrote snapshots 'create x' || fail 'control=snapshot'
    echo now >"$m/f"
    wrote rollback 'rollback x' || fail 'control=snapshot did not roll back'
    [ ! -e "$m/f" ] || fail 'it is not what the snapshot shows'
    wrote status 'resize 1G' && fail 'control=snapshot took another limit'
    wrote snapshots 'clone to=copy' && fail 'control=snapshot made a volume'
    wrote backup "run to=dir:$case_dir/r snap=x" && fail 'control=snapshot wrote a repository'
    ok umount "$m"
}
