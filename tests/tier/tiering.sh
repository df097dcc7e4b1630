#!/bin/bash
# Tiering as people do it: what a repository has is released, reads as before, comes back. SCALE=short: smaller. `tiering.sh NAME...` runs
# the named cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
many=100000 big=512
if [ "${SCALE:-full}" = short ]; then many=2000 big=48; fi
[ -z "${SAN:-}" ] || many=300 big=16

begin() { # a volume at $dir/m and a repository beside it
    mkdir -p "$dir"
    random 64 >"$dir/key"
    ok varve repo init "dir:$dir/r" --key-file "$dir/key"
    new_volume
}
backup() { ok varve backup run "$dir/m" --to "dir:$dir/r" --key-file "$dir/key" --json; }
release() { ok varve tier release "$dir/m" "dir:$dir/r" --key-file "$dir/key" "$@"; }
remote() {
    ok varve tier status "$dir/m" --json
    json 'd["remote_bytes"]'
}
here() {
    ok varve tier status "$dir/m" --json
    json 'd["local_bytes"]'
}
here_by_files() { # the same, of the volume's plain files below $dir/m, asked one by one
    local sum=0 f
    for f in "$dir"/m/*; do
        sum=$((sum + $(stat -c %b "$f") * 512 - $(getfattr --only-values -n user.varve.tier.remote "$f")))
    done
    echo $sum
}
again() { # another mount: nothing is in the kernel's memory
    cd /
    ok varve umount "$dir/m"
    ok varve mount "$dir/s" "$dir/m"
}
data_kib() { du -sk "$dir/s/data" | cut -f 1; }
within() { # SECONDS COMMAND...: it comes true by then
    local until=$((SECONDS + $1))
    shift
    while ! "$@"; do
        [ $SECONDS -lt $until ] || { fail "not within its time: $*"; return 1; }
        sleep 0.2
    done
}
is_freed() { [ "$(data_kib)" -lt "$1" ]; }

tree() {
    mkdir -p "$1/d/e"
    random 3000000 >"$1/large"
    for i in 1 2 3 4 5; do random $((i * 9000)) >"$1/d/e/f$i"; done
    echo small >"$1/d/small"
    truncate -s 8M "$1/holes"
    random 5000 | dd of="$1/holes" bs=4096 seek=777 conv=notrunc status=none
    cp --reflink=auto "$1/large" "$1/copy"
}

test_released_files_read_as_before() {
    begin
    tree "$dir/m"
    cp -a "$dir/m" "$dir/was"
    backup
    before=$(data_kib)
    release
    has "released"
    within 30 is_freed $((before / 10))
    [ "$(remote)" -gt 3000000 ] || fail "too little is remote: $(remote)"
    again
    [ "$(stat -c %s "$dir/m/large")" = 3000000 ] || fail size
    [ "$(remote)" -gt 3000000 ] || fail "looking has recalled: $(remote)"
    same_trees "$dir/was" "$dir/m"
    snap=$(ls "$dir/m/.snapshots" | head -n 1)
    cmp "$dir/was/large" "$dir/m/.snapshots/$snap/large" || fail "in the snapshot"
    cd / && ok varve umount "$dir/m"
    ok varve check "$dir/s"
}

test_only_what_is_asked_for() {
    begin
    tree "$dir/m"
    touch -d '40 days ago' "$dir/m/d/e/f5"
    backup
    release --larger 1G
    [ "$(remote)" = 0 ] || fail "larger: $(remote)"
    release --older 30d
    [ "$(remote)" = 45056 ] || fail "older: $(remote)"
    release d/e
    [ "$(remote)" -gt 130000 ] && [ "$(remote)" -lt 200000 ] || fail "below d/e: $(remote)"
    refused - "d/none" varve tier release "$dir/m" "dir:$dir/r" --key-file "$dir/key" d/none
}

state() { getfattr -h --only-values -n user.varve.tier "$1" 2>/dev/null; }
is() { [ "$(state "$1")" = "$2" ] || fail "$1 is $(state "$1"), not $2"; }

test_pins_and_states() {
    begin
    tree "$dir/m"
    is "$dir/m/large" local
    is "$dir/m/d" local
    backup
    is "$dir/m/large" both
    ok varve tier pin "$dir/m" d/e/f5 large
    has "2 paths"
    release
    is "$dir/m/large" pinned
    is "$dir/m/copy" both # shares its bytes with what is pinned
    is "$dir/m/d/e/f5" pinned
    is "$dir/m/d/e/f4" remote
    is "$dir/m/d/small" local
    [ "$(getfattr --only-values -n user.varve.tier.remote "$dir/m/d/e/f4")" = 36864 ] || fail "bytes"
    ok varve tier pin "$dir/m" d
    again
    is "$dir/m/d/e/f4" pinned
    [ "$(getfattr --only-values -n user.varve.tier.remote "$dir/m/d/e/f4")" = 36864 ] || fail "pinning brings it"
    getfattr -d -m - "$dir/m/d/e/f4" 2>/dev/null | grep varve && fail "it is listed"
    setfattr -n user.varve.tier -v local "$dir/m/large" 2>/dev/null && fail "it can be set"
    refused - "d/none" varve tier pin "$dir/m" d/none
    ok varve tier unpin "$dir/m" large d d/e/f5
    release
    is "$dir/m/large" remote
    is "$dir/m/copy" remote
    is "$dir/m/d/e/f5" remote
    head -c 5000 "$dir/m/large" >/dev/null
    is "$dir/m/large" partial
    cat "$dir/m/large" >/dev/null
    is "$dir/m/large" both
    echo pin >"$dir/m/.snapshots/.control/tier" || fail "by a control file"
    is "$dir/m/large" pinned
    cd / && ok varve umount "$dir/m"
    ok varve check "$dir/s"
}

run() { ok varve tier run "$dir/m" --key-file "$dir/key" --json "$@"; }
ran() { json "d[\"released\"][\"$1\"]"; }

test_policies_by_age_size_and_path() {
    begin
    tree "$dir/m"
    touch -d '40 days ago' "$dir/m/d/e/f5" "$dir/m/d/e/f3" "$dir/m/copy"
    backup
    refused - "nothing says what" varve tier run "$dir/m" --to "dir:$dir/r" --key-file "$dir/key"
    refused - "go together" varve tier run "$dir/m" --to "dir:$dir/r" --key-file "$dir/key" --high 80
    refused - "--by" varve tier run "$dir/m" --to "dir:$dir/r" --after 30d --by size
    run --to "dir:$dir/r" --after 30d --larger 30K --smaller 1M
    is "$dir/m/d/e/f5" remote
    is "$dir/m/d/e/f3" both
    is "$dir/m/copy" both
    [ "$(ran files)" = 1 ] || fail "$out"
    run --to "dir:$dir/r" --after 30d --pattern 'cop?|none'
    is "$dir/m/copy" remote
    is "$dir/m/d/e/f3" both
    ok varve tier pin "$dir/m" d/e/f3
    run --to "dir:$dir/r" --after 30d
    is "$dir/m/d/e/f3" pinned
    is "$dir/m/large" remote # shares its bytes with copy, which is old
    run --to "dir:$dir/r" --after 30d
    [ "$(ran looked)" -lt 20 ] || fail "again: $out"
    ok varve tier unpin "$dir/m" d/e/f3
    run --to "dir:$dir/r" --after 30d
    is "$dir/m/d/e/f3" remote
    run --to "dir:$dir/r" --after 1s --by change # what was just written waits for its second
    sleep 1.1
    run --to "dir:$dir/r" --after 1s --by change
    is "$dir/m/d/e/f4" remote
    cd / && ok varve umount "$dir/m"
    ok varve check "$dir/s"
}

test_upload_of_what_no_backup_has() {
    begin
    tree "$dir/m"
    touch -d '40 days ago' "$dir/m/large"
    refused - "no recovery point" varve tier run "$dir/m" --to "dir:$dir/r" --key-file "$dir/key" --after 30d
    cp -a "$dir/m/large" "$dir/was"
    run --to "dir:$dir/r" --after 30d --upload
    is "$dir/m/large" remote
    is "$dir/m/d/e/f5" both
    ok varve backup list "dir:$dir/r" --key-file "$dir/key"
    random 200000 >"$dir/m/late"
    touch -d '40 days ago' "$dir/m/late"
    run --to "dir:$dir/r" --after 30d
    is "$dir/m/late" local
    run --to "dir:$dir/r" --after 30d --upload
    is "$dir/m/late" remote
    ok varve tier release "$dir/m" "dir:$dir/r" --key-file "$dir/key" --upload
    is "$dir/m/d/e/f5" remote
    again
    cmp "$dir/was" "$dir/m/large" || fail "bytes"
}

# What only snapshots need goes first, and then what is oldest, until there is room.
test_room_is_made() {
    begin
    ok varve resize "$dir/m" 20M
    for i in 1 2 3 4 5; do
        random 3000000 >"$dir/m/f$i"
        touch -d "$((10 - i)) days ago" "$dir/m/f$i"
    done
    random 2000000 >"$dir/m/replaced"
    ok varve snapshot create "$dir/m" first
    ok varve backup run "$dir/m" --snap first --to "dir:$dir/r" --key-file "$dir/key" --json
    rm "$dir/m/replaced"
    backup
    before=$(data_kib)
    run --to "dir:$dir/r" --high 90 --low 50
    [ "$(remote)" = 0 ] || fail "there was room: $out"
    run --to "dir:$dir/r" --high 50 --low 40
    is "$dir/m/f1" remote
    is "$dir/m/f5" both
    getfattr --only-values -n user.varve.tier "$dir/m/.snapshots/first/replaced" | grep -q remote || fail "what only snapshots need"
    within 30 is_freed $((before - 6000))
    [ "$(here)" = "$(here_by_files)" ] || fail "here are $(here), of the files $(here_by_files)"
    [ "$(here)" -le 8388608 ] || fail "the live tree has $(here) here, more than the low level"
    was=$(remote)
    run --to "dir:$dir/r" --high 50 --low 40
    [ "$(remote)" = "$was" ] || fail "more than that"
    run --to "dir:$dir/r" --high 2 --low 1
    has '"wanted_bytes"'
    is "$dir/m/f5" remote
}

test_profiles_tier() {
    begin
    tree "$dir/m"
    touch -d '40 days ago' "$dir/m/large" "$dir/m/copy" "$dir/m/d/e/f5"
    backup
    ok varve repo add r "dir:$dir/r" --key-file "$dir/key"
    printf 'name = "cold"; tiering: { after = "30d"; to = "r"; min_size = "100K"; };\n' >"$dir/cold.conf"
    printf 'tiering: { policy = "all"; by = "access"; to = "r"; };\n' >"$dir/wrong.conf"
    refused - "contradict" varve profile check "$dir/wrong.conf"
    ok varve profile add "$dir/cold.conf"
    ok varve profile show cold
    ok varve profile set "$dir/m" cold
    within 100 released "$dir/m/large"
    is "$dir/m/d/e/f5" both
    ok varve profile get "$dir/m"
    has tiering
    ok varve profile set "$dir/m" none
}
released() { [ "$(state "$1")" = remote ]; }

# What is written to released files is as if they were here.
test_writes_go_on() {
    begin
    tree "$dir/m"
    cp -a "$dir/m" "$dir/was"
    backup
    release
    again
    for at in "$dir/m" "$dir/was"; do
        printf 'in the middle' | dd of="$at/large" bs=1 seek=1234567 conv=notrunc status=none
        printf 'at the end' >>"$at/copy"
        truncate -s 12345 "$at/d/e/f4"
        truncate -s 100000 "$at/d/e/f4"
        fallocate -p -o 4096 -l 8192 "$at/d/e/f5"
        rm "$at/d/e/f1"
        mv "$at/d/e/f2" "$at/d/moved"
    done
    mkdir "$dir/m/.snapshots/after"
    for f in large copy d/e/f3 d/e/f4 d/e/f5 d/moved holes; do cmp "$dir/m/$f" "$dir/was/$f" || fail "$f"; done
    again
    for f in large copy d/e/f3 d/e/f4 d/e/f5 d/moved holes; do cmp "$dir/m/$f" "$dir/was/$f" || fail "$f, later"; done
    backup # of what is partly elsewhere
    ok varve restore "dir:$dir/r#latest" --key-file "$dir/key" "$dir/out"
    cmp "$dir/out/large" "$dir/was/large" || fail "restored"
}

test_the_repository_is_away_for_a_while() {
    begin
    tree "$dir/m"
    md5sum "$dir/m/large" >"$dir/sum"
    backup
    release
    again
    echo here >"$dir/m/new"
    mv "$dir/r" "$dir/away"
    SECONDS=0
    cat "$dir/m/large" >/dev/null 2>"$dir/err" && fail "read without its repository"
    grep -q "Input/output error" "$dir/err" || fail "$(cat "$dir/err")"
    [ $SECONDS -le 45 ] || fail "$SECONDS s"
    [ "$(cat "$dir/m/new")" = here ] || fail "a file that is here"
    ls -lR "$dir/m" >/dev/null || fail "names"
    mv "$dir/away" "$dir/r"
    md5sum -c "$dir/sum" >/dev/null || fail "not readable again"
}

test_a_deleted_recovery_point_is_kept_for_the_volume() {
    begin
    tree "$dir/m"
    md5sum "$dir/m/large" >"$dir/sum"
    backup
    id=$(json 'd["recovery_point"]["id"]')
    release
    [ "$(find "$dir/r/pins" -type f | wc -l)" = 1 ] || fail "no pin"
    release # again: the same pin
    [ "$(find "$dir/r/pins" -type f | wc -l)" = 1 ] || fail "two pins"
    ok varve backup delete "dir:$dir/r#$id" --key-file "$dir/key"
    again
    ok varve repo prune "dir:$dir/r" --key-file "$dir/key"
    [ "$(find "$dir/r/condemned" -type f 2>/dev/null | wc -l)" = 0 ] || fail "what is needed is condemned"
    md5sum -c "$dir/sum" >/dev/null || fail "not readable"
}

test_hydrate_brings_all_back() {
    begin
    tree "$dir/m"
    cp -a "$dir/m" "$dir/was"
    backup
    release
    again
    ok varve hydrate "$dir/m"
    [ "$(remote)" = 0 ] || fail "$(remote) are remote still"
    mv "$dir/r" "$dir/away"
    again
    same_trees "$dir/was" "$dir/m"
}

test_the_daemon_is_killed_while_it_recalls() {
    begin
    random $((big << 20)) >"$dir/m/big"
    md5sum "$dir/m/big" >"$dir/sum"
    backup
    release
    again
    md5sum -c "$dir/sum" >"$dir/said" 2>&1 &
    reader=$!
    for _ in 1 2 3; do
        sleep 0.1
        kill -9 "$(head -n 1 "$dir/s/lock")" 2>/dev/null
        sleep 0.3
    done
    wait $reader || fail "$(cat "$dir/said")"
    ok varve umount "$dir/m"
    ok varve check "$dir/s"
}

# Whatever becomes of the job afterwards: the snapshot that it held can be deleted.
test_the_daemon_is_killed_while_it_releases() {
    begin
    tree "$dir/m"
    backup
    is_held() { ok varve snapshot list "$dir/m" --json && case $out in *release-*) ;; *) false ;; esac; }
    over() { ok varve job list "$dir/m" --json && case $out in *'"running"'* | *'"queued"'*) false ;; esac; }
    varve tier release "$dir/m" "dir:$dir/r?bandwidth=4k" --key-file "$dir/key" >"$dir/said" 2>&1 &
    within 20 is_held
    mv "$dir/r" "$dir/away"
    kill -9 "$(head -n 1 "$dir/s/lock")"
    wait $!
    within 60 over
    mv "$dir/away" "$dir/r"
    is_held && fail "still held: $out"
    ok varve snapshot list "$dir/m" --json
    ok varve snapshot delete "$dir/m" "$(json 'd["snapshots"][0]["name"]')"
    ok varve umount "$dir/m"
    ok varve check "$dir/s"
}

test_bad_input() {
    begin
    echo x >"$dir/m/x"
    refused - "no recovery point" varve tier release "$dir/m" "dir:$dir/r" --key-file "$dir/key"
    refused - "none-such" varve tier release "$dir/m" none-such
    random 64 >"$dir/other"
    refused - "key" varve tier release "$dir/m" "dir:$dir/r" --key-file "$dir/other"
}

test_many_files() {
    begin
    mkdir "$dir/m/many"
    python3 - "$dir/m/many" "$many" <<'END'
import os, sys
for i in range(int(sys.argv[2])):
    d = f"{sys.argv[1]}/{i // 1000}"
    if i % 1000 == 0: os.mkdir(d)
    with open(f"{d}/{i}", "wb") as f: f.write(b"%d " % i * 1000)
END
    backup
    local t0=$EPOCHREALTIME
    release
    awk -v n="$many" -v a="$t0" -v b="$EPOCHREALTIME" 'BEGIN { printf "    %d files released in %.2f s\n", n, b - a }'
    [ "${SCALE:-full}" = short ] || awk -v a="$t0" -v b="$EPOCHREALTIME" 'BEGIN { exit b - a > 10 }' || fail "more than 10 s"
}

test_recall_against_a_copy() {
    begin
    random $((big << 20)) >"$dir/m/big"
    backup
    release
    again
    sync
    echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
    local a=$EPOCHREALTIME b c
    cat "$dir/m/big" >/dev/null || fail "not read"
    b=$EPOCHREALTIME
    sync
    echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
    c=$EPOCHREALTIME
    cp -r "$dir/r/packs" "$dir/copied"
    awk -v a="$a" -v b="$b" -v c="$c" -v d="$EPOCHREALTIME" -v mib="$big" \
        'BEGIN { printf "    %d MiB recalled in %.2f s, a plain copy %.2f s: %.2f of its rate\n", mib, b - a, d - c, (d - c) / (b - a) }'
}

if [ $# -gt 0 ]; then run_cases "$@"; else
    # shellcheck disable=SC2046
    run_cases $(all_cases)
fi
suite_end
