#!/bin/bash
# Migration as people do it: recovery points go to another repository while a volume that has its bytes in the old one only is read.
# SCALE=short: directories and little data. Else larger, and between S3 servers where one can be had. `migrate.sh NAME...` runs the named
# cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/s3_server.sh"
. "$here/ceph_server.sh"
files=400 kib=600 kills=3
if [ "${SCALE:-full}" = short ]; then files=60 kib=200 kills=1; fi
[ -z "${SAN:-}" ] || files=30
# A case may set these to other places: URLs, and the directories in which their objects are files.
from_url='' to_url='' from_files='' to_files=''
from() { echo "${from_url:-dir:$dir/r}"; }
to() { echo "${to_url:-dir:$dir/other}"; }
servers=()
say() { printf '%s\n' "$*"; }
servers_end() {
    local pid
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; done
    servers=()
}
end_all() {
    local rc=$?
    servers_end
    ceph_stop
    (exit $rc)
    scratch_release
}
trap end_all EXIT

keys() { echo --key-file "$dir/key" --to-key-file "$dir/key2"; }
begin() { # a volume at $dir/m, a repository that has it, another one that has nothing
    mkdir -p "$dir"
    random 64 >"$dir/key"
    random 64 >"$dir/key2"
    ok varve repo init "$(from)" --key-file "$dir/key"
    ok varve repo init "$(to)" --key-file "$dir/key2"
    new_volume
}
fill() { # [N]: files of the volume; their sums in $dir/sums
    mkdir -p "$dir/m/d"
    for i in $(seq "${1:-$files}"); do random $((kib * 1024 + i * 777)) >"$dir/m/d/f$i"; done
    (cd "$dir/m" && sha256sum d/*) >"$dir/sums"
}
backup() { ok varve backup run "$dir/m" --to "$(from)" --key-file "$dir/key" --json; }
release() { ok varve tier release "$dir/m" "$(from)" --key-file "$dir/key" "$@"; }
# shellcheck disable=SC2046
migrate() { # run|plan|... WORDS
    local what=$1
    shift
    case $what in plan | run) set -- "$@" --from "$(from)" --to "$(to)" $(keys) ;; esac
    varve migrate "$what" "$dir/s" "$@"
}
go_on() { varve migrate run "$dir/s" "$@"; }
status() { # EXPRESSION of the migration `mv`, as m
    ok varve migrate status "$dir/s" "${2:-mv}" --json
    json "(lambda m: ($1))(d['migration'])"
}
points() { varve backup list "$1" --key-file "$2" --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["recovery_points"]))'; }
put_bytes() { # of packs on the other side
    [ "$to_files" != none ] || { ok varve repo prune "$(to)" --key-file "$dir/key2" --dry-run --json && json 'd["pack_bytes"]'; return; }
    find "${to_files:-$dir/other}/packs" -type f -printf '%s\n' 2>/dev/null | awk '{ n += $1 } END { print n + 0 }'
}
again() { # another mount: nothing is in the kernel's memory
    cd /
    ok varve umount "$dir/m"
    ok varve mount "$dir/s" "$dir/m"
}
reads_all() { (cd "$dir/m" && sha256sum --quiet -c "$dir/sums") >"$dir/differ" 2>&1 || fail "$(head -n 3 "$dir/differ")"; }
within() { # SECONDS COMMAND...: it comes true by then
    local until=$((SECONDS + $1))
    shift
    while ! "$@"; do
        [ $SECONDS -lt $until ] || { fail "not within its time: $*"; return 1; }
        sleep 0.1
    done
}
daemon_of() { # the process that serves the store
    python3 - "$dir/s" <<'END'
import os, sys
want = os.path.realpath(sys.argv[1])
best = 0
for p in os.listdir('/proc'):
    if not p.isdigit():
        continue
    try:
        args = open(f'/proc/{p}/cmdline', 'rb').read().split(b'\0')
        fds = [os.readlink(f'/proc/{p}/fd/{f}') for f in os.listdir(f'/proc/{p}/fd')]
    except OSError:
        continue
    if args[0].endswith(b'varve') and any(f.startswith(want + '/journal') or f.startswith(want + '/meta') for f in fds):
        best = int(p)
print(best)
END
}

test_plan_says_what_would_move_and_what_is_there() {
    begin
    fill 10
    backup
    random 300000 >"$dir/m/more"
    backup
    ok migrate plan --json
    [ "$(json 'd["to_copy"]["recovery_points"], d["there_already"]["recovery_points"]')" = '(2, 0)' ] || fail "$out"
    [ "$(json 'd["to_copy"]["objects"]')" = 11 ] || fail "$out"
    total=$(json 'd["to_copy"]["bytes"]')
    [ "$total" -gt $((10 * kib * 1024)) ] || fail "$total"
    # shellcheck disable=SC2046
    ok varve backup copy "$(from)#latest" "$(to)" $(keys)
    ok migrate plan --json
    [ "$(json 'd["to_copy"]["recovery_points"], d["to_copy"]["objects"], d["there_already"]["objects"]')" = '(1, 0, 11)' ] || fail "$out"
    [ "$(json 'd["there_already"]["bytes"]')" = "$total" ] || fail "$out"
    [ ! -e "$dir/s/migrate" ] || fail "a plan leaves something"
}

test_filters() {
    begin
    echo a >"$dir/m/a"
    backup
    random 500000 >"$dir/m/b"
    ok varve snapshot create "$dir/m" two --label keep=yes
    ok varve backup run "$dir/m@two" --to "$(from)" --key-file "$dir/key"
    count() { ok migrate plan --json "$@" && json 'd["to_copy"]["recovery_points"]'; }
    [ "$(count)" = 2 ] || fail all
    [ "$(count --label keep=yes)" = 1 ] || fail label
    [ "$(count --larger 100K)" = 1 ] || fail larger
    [ "$(count --smaller 100K)" = 1 ] || fail smaller
    [ "$(count --older 1h)" = 0 ] || fail older
    [ "$(count --newer 1h)" = 2 ] || fail newer
    [ "$(count --volume main)" = 2 ] || fail volume
    [ "$(count --volume other)" = 0 ] || fail "another volume"
    refused - 'no recovery point is what was asked for' migrate run mv --volume other
    [ "$(count --path b)" = 1 ] || fail path
    [ "$(count --path none)" = 0 ] || fail "no path"
    refused 2 'without ".."' migrate plan --path d/../..
    [ "$(status 'm["state"], m["stage"]')" = "('failed', 'copying')" ] || fail "$out"
    refused - 'there is a migration mv already' migrate run mv
    ok varve migrate cancel "$dir/s" mv --forget
    ok migrate run mv --label keep=yes --delete-source
    [ "$(points "$(from)" "$dir/key")$(points "$(to)" "$dir/key2")" = 11 ] || fail "not one each"
    ok varve restore "$(to)#latest" --key-file "$dir/key2" "$dir/out"
    cmp "$dir/out/b" "$dir/m/b" || fail "restored"
}

# The volume has its bytes in the old repository only, is read all the time, and the daemon is killed three times; then the old one is
# pruned and taken away.
moves_while_it_is_read() { # COMMAND...: that takes the source away
    begin
    fill
    backup
    echo later >"$dir/m/later"
    backup
    release
    again
    SECONDS=0
    (
        while [ ! -e "$dir/stop" ]; do
            for f in $(shuf -e "$dir"/m/d/f* | head -n 20); do
                [ -e "$dir/stop" ] && break
                head -c 70000 "$f" >/dev/null 2>>"$dir/reads" || echo "failed: $f" >>"$dir/reads"
                sleep 0.1
            done
        done
    ) &
    reader=$!
    rate=$((files * kib / 8))
    ok migrate run mv --delete-source --bandwidth ${rate}K --background
    for n in $(seq $kills); do
        within 60 eval '[ "$(status "m[\"copied\"][\"bytes\"] > m[\"to_copy\"][\"bytes\"] // 8 or m[\"state\"] == \"done\"")" = True ]'
        [ "$n" -gt 1 ] || [ "$(status 'm["state"]')" = running ] || fail "over before it was killed"
        pid=$(daemon_of)
        [ "$pid" -gt 1 ] && kill -9 "$pid"
        sleep 1
    done
    within 240 eval '[ "$(status "m[\"state\"]")" != running ]'
    [ "$(status 'm["state"], m["why"]')" = "('done', None)" ] || fail "$(varve migrate status "$dir/s" mv)"
    touch "$dir/stop"
    wait $reader
    [ ! -s "$dir/reads" ] || fail "reads: $(head -n 3 "$dir/reads")"
    [ "$(status 'm["deleted_at_source"]')" = 2 ] || fail "$(varve migrate status "$dir/s" mv)"
    all=$((files * (kib * 1024 + files * 777 / 2)))
    printf '    %s of %s bytes of files put, in %s s, with %s kills\n' "$(put_bytes)" $all $SECONDS $kills
    [ "$(put_bytes)" -lt $((all + all / 8 + 3000000)) ] || fail "sent twice: $(put_bytes) of $all"
    varve events "$dir/m" | grep -o 'migrate-[a-z]*' | tr '\n' ' ' >"$dir/order"
    [ "$(cat "$dir/order")" = 'migrate-verified migrate-switched migrate-dropped migrate-done ' ] || fail "$(cat "$dir/order")"
    [ "$(points "$(from)" "$dir/key")$(points "$(to)" "$dir/key2")" = 02 ] || fail "not moved"
    [ "$(find "${from_files:-$dir/r}/pins" -type f 2>/dev/null | wc -l)" = 0 ] || fail "the source is pinned still"
    "$@"
    again
    reads_all
    ok varve restore "$(to)#latest" --key-file "$dir/key2" "$dir/out"
    (cd "$dir/out" && sha256sum --quiet -c "$dir/sums") || fail "restored"
    cd / && ok varve umount "$dir/m"
    ok varve check "$dir/s"
    ok varve repo verify "$(to)" --key-file "$dir/key2" --full
}

test_a_released_volume_moves_while_it_is_read() { moves_while_it_is_read mv "$dir/r" "$dir/gone"; }

# Likewise between two servers of S3, of which the old one ends.
may_use_s3() {
    [ "${SCALE:-full}" != short ] || { skip='the longer form only'; return 1; }
    s3_case_get
}
s3_server() { # NAME: sets server_url, server_files
    s3_case_start "$dir/$1" "bucket-$1" || return 1
    servers+=("$s3_pid")
    server_url="s3://bucket-$1/x?endpoint=$s3_endpoint"
    server_files=$dir/$1/data/bucket-$1/x
}
from_s3() { # sets from_pid, too
    s3_server old || return 1
    from_url=$server_url from_files=$server_files from_pid=$s3_pid
}
test_from_one_s3_server_to_another() {
    may_use_s3 && from_s3 || return 0
    s3_server new || return 0
    to_url=$server_url to_files=$server_files
    moves_while_it_is_read kill "$from_pid"
    from_url='' to_url='' from_files='' to_files=''
    servers_end
}

# From S3 to a real Ceph, where one is installed.
test_from_s3_to_rados() {
    may_use_s3 || return 0
    ceph_start "$scratch/ceph" >"$scratch/why" 2>&1 || { skip="no cluster starts here: $(tail -n 1 "$scratch/why")"; return; }
    from_s3 || return 0
    to_url="rados://data/moved?conf=$ceph_conf&id=all" to_files=none
    moves_while_it_is_read kill "$from_pid"
    from_url='' to_url='' from_files='' to_files=''
    servers_end
    ceph_stop
}

# Of each recovery point only what lies at a path: volumes read that part from there, the source keeps what it has.
test_a_part_moves() {
    begin
    mkdir -p "$dir/m/keep" "$dir/m/go/deep"
    for i in 1 2 3; do random 300000 >"$dir/m/keep/$i" && random 400000 >"$dir/m/go/deep/$i"; done
    echo small >"$dir/m/go/small"
    ln "$dir/m/go/deep/1" "$dir/m/keep/its other name"
    backup
    random 200000 >"$dir/m/go/later"
    backup
    cp -a "$dir/m" "$dir/was"
    (cd "$dir/m" && find . -type f -print0 | xargs -0 sha256sum) >"$dir/sums"
    release
    ok migrate plan --json
    all=$(json 'd["to_copy"]["bytes"]')
    ok migrate plan --path go/ --json
    [ "$(json 'd["to_copy"]["recovery_points"]')" = 2 ] || fail "$out"
    [ "$(json 'd["to_copy"]["bytes"]')" -lt $((all - 800000)) ] || fail "$out of $all"
    refused 2 'would delete the rest' migrate run mv --path go --delete-source
    ok migrate run mv --path go
    [ "$(status 'm["path"], m["state"], m["switched_bytes"] > 1000000, m["copied"]["recovery_points"]')" = "('go', 'done', True, 2)" ] || fail "$out"
    [ "$(put_bytes)" -lt 1500000 ] || fail "$(put_bytes) of packs"
    ok varve restore "$(to)#latest" --key-file "$dir/key2" "$dir/out"
    [ "$(ls "$dir/out")" = go ] || fail "$(ls "$dir/out")"
    diff -r "$dir/was/go" "$dir/out/go" || fail 'restored'
    mv "$dir/r" "$dir/away"
    again
    (cd "$dir/m" && grep ' ./go/' "$dir/sums" | sha256sum --quiet -c) || fail 'it is read from the source'
    cat "$dir/m/keep/2" >"$dir/read" 2>/dev/null && fail 'the rest is read without the source'
    mv "$dir/away" "$dir/r"
    reads_all
    # a volume made of the part is sound; a backup to the same place and a whole migration do not take it for more than it is
    mkdir "$dir/part"
    mounted+=("$dir/part")
    ok varve mount --from "$(to)#latest" --key-file "$dir/key2" "$dir/s2" "$dir/part"
    diff -r "$dir/was/go" "$dir/part/go" || fail 'mounted'
    ok varve umount "$dir/part"
    ok varve check "$dir/s2"
    ok migrate run rest --delete-source
    [ "$(points "$(from)" "$dir/key")$(points "$(to)" "$dir/key2")" = 04 ] || fail "not moved"
    ok varve backup run "$dir/m" --to "$(to)" --key-file "$dir/key2" --json
    id=$(json 'd["recovery_point"]["id"]')
    ok varve restore "$(to)#$id" --key-file "$dir/key2" "$dir/out2"
    same_trees "$dir/was" "$dir/out2"
    mv "$dir/r" "$dir/away"
    again
    reads_all
    cd / && ok varve umount "$dir/m"
    ok varve check "$dir/s"
    ok varve repo verify "$(to)" --key-file "$dir/key2" --full
}

# What was damaged on its way is found before anything is deleted or switched.
test_a_damaged_copy_leaves_the_source() {
    begin
    fill 8
    backup
    release
    ok migrate run mv
    [ "$(status 'm["switched_ranges"] > 0')" = True ] || fail "$out"
    for p in $(find "$dir/other/packs" -type f); do
        chmod u+w "$p"
        printf X | dd of="$p" bs=1 seek=100000 conv=notrunc status=none
    done
    random 100000 >"$dir/m/new"
    backup
    refused - 'the destination is damaged' migrate run again --delete-source
    [ "$(status 'm["state"], m["stage"]' again)" = "('failed', 'verifying')" ] || fail "$out"
    [ "$(points "$(from)" "$dir/key")" = 2 ] || fail "the source is gone"
}

test_cancelled_it_leaves_both_sides_sound() {
    begin
    fill 30
    backup
    release
    ok migrate run mv --delete-source --bandwidth $((kib * 5))K --background
    within 60 eval '[ "$(status "m[\"copied\"][\"bytes\"]")" -gt 0 ]'
    ok varve migrate cancel "$dir/s" mv
    [ "$(status 'm["state"]')" = cancelled ] || fail "$out"
    ok varve repo verify "$(from)" --key-file "$dir/key" --full
    ok varve repo verify "$(to)" --key-file "$dir/key2" --full
    again
    reads_all
    release
    ok go_on mv
    [ "$(points "$(from)" "$dir/key")$(points "$(to)" "$dir/key2")" = 01 ] || fail "not moved"
    again
    reads_all
    refused - 'is done' go_on mv
}

test_it_begins_when_it_is_due_and_after_a_restart() {
    begin
    fill 3
    backup
    ok migrate run mv --at "$(date -u -d '+6 seconds' +%Y-%m-%dT%H:%M:%SZ)"
    has 'begins at'
    [ "$(status 'm["state"]')" = scheduled ] || fail "$out"
    again
    [ "$(status 'm["state"]')" = scheduled ] || fail "$out"
    within 90 eval '[ "$(status "m[\"state\"]")" = done ]'
    [ "$(points "$(to)" "$dir/key2")" = 1 ] || fail "not copied"
    ok migrate run later --at 30d
    ok varve migrate cancel "$dir/s" later
    [ "$(status 'm["state"]' later)" = cancelled ] || fail "$out"
    ok varve migrate status "$dir/s"
    has later
    ok varve migrate cancel "$dir/s" later --forget
    refused - 'there is no migration later' varve migrate status "$dir/s" later
}

if [ $# -gt 0 ]; then run_cases "$@"; else
    # shellcheck disable=SC2046
    run_cases $(all_cases)
fi
suite_end
