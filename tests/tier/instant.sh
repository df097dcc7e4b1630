#!/bin/bash
# Mounting recovery points: from a directory and from S3, read and written, with the repository away, pruned, with everything killed.
# SCALE=short: fewer files. `instant.sh NAME...` runs the named cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/s3_server.sh"
VARVE_TIERD_LATE=$(dirname "$VARVE_TIERD")/tests/varve-tierd-late
. "$here/repo.sh"
end_all() {
    local rc=$?
    s3_stop
    (exit $rc)
    scratch_release
}
trap end_all EXIT
files=100000 big=64
[ "${SCALE:-full}" = short ] && files=3000 big=16
[ -z "${SAN:-}" ] || files=300 big=8

key() { mkdir -p "$dir" && random 64 >"$dir/key"; }
new_repo() {
    key
    url=dir:$dir/r
    ok varve repo init "$url" --key-file "$dir/key"
}
backup() { ok varve backup run "${1:-$dir/m}" --to "$url" --key-file "$dir/key" --json; }
# from [STORE/VOLUME] DIR [OPTION...]: mounted
from() {
    local words=()
    while [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; do words+=("$1"); shift; done
    mkdir -p "${words[-1]}"
    mounted+=("${words[-1]}")
    ok varve mount --from "$url#latest" --key-file "$dir/key" "${words[@]}" "$@"
}
pins() { ok varve repo pins "$url" --key-file "$dir/key" --json && json 'len(d["pins"])'; }
remote() { ok varve status "$1" --json && json 'd.get("remote_bytes", 0)'; }
daemon_of() { ok varve status "$1" --json && json 'd["daemon_pid"]'; }
# wait_for SECONDS COMMAND...
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || { fail "not in time: $*"; return; }
        sleep 0.1
    done
}
no_pins() { [ "$(pins)" = 0 ]; }
all_local() { [ "$(remote "$1")" = 0 ]; }
timed() { # NAME COMMAND...: seconds in $took
    local began
    began=$(date +%s%N)
    "$@" >/dev/null || fail "$*"
    took=$((($(date +%s%N) - began) / 1000000))
}

whole_tree() { # and a large file, more links and kinds of files, a list of who may what
    some_tree "$1"
    random $((big * 1048576)) >"$1/big"
    ln "$1/d/large" "$1/d/e/hard too"
    mknod "$1/null" c 1 3
    setfattr -n system.posix_acl_access -v 0x0200000001000700ffffffff020005000100000004000500ffffffff10000700ffffffff20000500ffffffff "$1/empty"
}
inodes() { (cd "$1" && find . -printf '%p %i %n %s %y %D\n' | sed 's/ [0-9]*$//' | sort); }
sound() { ok varve check "$1"; has 'clean'; }

test_read_only_without_a_store() {
    new_repo
    new_volume
    whole_tree "$dir/m"
    backup
    from "$dir/i" --no-hydrate
    [ "$(pins)" = 1 ] || fail "pins: $out"
    diff <(inodes "$dir/m") <(inodes "$dir/i") >"$scratch/diff" || fail "other inodes: $(head -n 5 "$scratch/diff")"
    same_trees "$dir/m" "$dir/i"
    (: >"$dir/i/new") 2>/dev/null && fail 'it can be written'
    ok varve umount "$dir/i"
    [ -z "$(ls "$XDG_CACHE_HOME/varve/mounts")" ] || fail "left over: $(find "$XDG_CACHE_HOME/varve/mounts" | head)"
    [ "$(pins)" = 0 ] || fail "pins are left: $out"
    refused 1 'there is no recovery point' varve mount --from "$url#00000000" --key-file "$dir/key" "$dir/i"
    none_left() { [ -z "$(ls "$XDG_CACHE_HOME/varve/mounts")" ]; }
    wait_for 10 none_left
    refused 2 'which recovery point is missing' varve mount --from "$url" --key-file "$dir/key" "$dir/i"
}

test_written_snapshot_cloned_backed_up() {
    new_repo
    new_volume
    whole_tree "$dir/m"
    backup
    from "$dir/t/vol" "$dir/w" --no-hydrate
    [ "$(remote "$dir/w")" -gt $((big * 1048576 / 2)) ] || fail "too little is remote: $out"
    for t in m w; do # the same is done to both
        printf 0123456789 | dd of="$dir/$t/big" bs=1 seek=3000001 conv=notrunc status=none
        truncate -s 250001 "$dir/$t/d/large"
        truncate -s 400000 "$dir/$t/d/large"
        rm -r "$dir/$t/d/e/f/9" "$dir/$t/hard"
        mv "$dir/$t/d/e" "$dir/$t/moved"
        touch -d '2011-02-03' "$dir/$t" "$dir/$t/d" "$dir/$t/moved" "$dir/$t/moved/f" "$dir/$t/d/large" "$dir/$t/big"
    done
    ok varve snapshot create "$dir/w" one
    cp "$dir/w/big" "$dir/w/copy" && cp "$dir/m/big" "$dir/m/copy"
    touch -d '2012-02-03' "$dir/m/copy" "$dir/w/copy" "$dir/m" "$dir/w"
    ok varve clone "$dir/w@one" other
    mounted+=("$dir/o")
    mkdir "$dir/o"
    ok varve mount "$dir/t/other" "$dir/o"
    same_trees "$dir/m" "$dir/w"
    cmp "$dir/m/big" "$dir/o/big" || fail 'the clone has other bytes'
    url2=dir:$dir/r2
    ok varve repo init "$url2" --key-file "$dir/key"
    ok varve backup run "$dir/w" --to "$url2" --key-file "$dir/key"
    ok varve restore "$url2#latest" "$dir/out" --key-file "$dir/key"
    same_trees "$dir/w" "$dir/out"
    ok varve hydrate "$dir/w"
    has 'lies here as a whole'
    [ "$(remote "$dir/w")" = 0 ] || fail "some is remote: $out"
    wait_for 20 no_pins
    rm -rf "$dir/r" # nothing of it is needed any more
    same_trees "$dir/m" "$dir/w"
    cmp "$dir/m/big" "$dir/o/big" || fail 'the clone has other bytes'
    ok varve umount "$dir/o"
    ok varve umount "$dir/w"
    sound "$dir/t"
}

test_hydrates_behind_and_as_a_volume() {
    new_repo
    new_volume
    whole_tree "$dir/m"
    backup
    from "$dir/t/vol" "$dir/w"
    wait_for 60 all_local "$dir/w"
    wait_for 20 no_pins
    same_trees "$dir/m" "$dir/w"
    mkdir -p "$dir/w2"
    refused 1 'has a volume' varve mount --from "$url#latest" --key-file "$dir/key" "$dir/t/vol" "$dir/w2"
    ok varve restore "$url#latest" --as "$dir/t/second" --key-file "$dir/key"
    has 'lies here as a whole'
    ok varve umount "$dir/w"
    ok varve restore "$url#latest" --as "$dir/u/third" --key-file "$dir/key"
    has 'lies here as a whole'
    mv "$dir/r" "$dir/gone"
    for v in t/second u/third; do
        mounted+=("$dir/w2")
        ok varve mount "$dir/$v" "$dir/w2"
        same_trees "$dir/m" "$dir/w2"
        ok varve umount "$dir/w2"
    done
    sound "$dir/t"
    sound "$dir/u"
    refused 2 'not both' varve restore "$url#latest" --as "$dir/t/x" "$dir/y" --key-file "$dir/key"
    refused 2 'DEST is missing' varve restore "$url#latest" --key-file "$dir/key"
}

# What has come can be read, the rest gives EIO, and comes when the repository is back
# The number of a source that ended is given to the next one: it reads from its own repository.
test_another_repository_takes_the_place_of_the_first() {
    local other
    new_repo
    new_volume
    random 3000000 >"$dir/m/a"
    backup
    from "$dir/t/vol" "$dir/w" --no-hydrate
    cmp "$dir/m/a" "$dir/w/a" || fail 'other bytes'
    ok varve hydrate "$dir/w"
    wait_for 20 no_pins
    other=dir:$dir/r2
    ok varve repo init "$other" --key-file "$dir/key"
    random 3000000 | tee "$dir/b" >"$dir/w/b"
    ok varve tier release "$dir/w" --upload --to "$other" --key-file "$dir/key"
    [ "$(remote "$dir/w")" -gt 2000000 ] || fail "too little is remote: $out"
    cmp "$dir/b" "$dir/w/b" || fail 'what went to the other repository cannot be read'
    ok varve umount "$dir/w"
    sound "$dir/t"
}

# What it shows are its origin's bytes: they come for it, too.
test_a_clone_hydrates() {
    new_repo
    new_volume
    random 3000000 >"$dir/m/a"
    backup
    from "$dir/t/vol" "$dir/w" --no-hydrate
    ok varve snapshot create "$dir/w" one
    ok varve clone "$dir/w@one" other
    mounted+=("$dir/o")
    mkdir "$dir/o"
    ok varve mount "$dir/t/other" "$dir/o"
    ok varve hydrate "$dir/o"
    mv "$dir/r" "$dir/away"
    cmp "$dir/m/a" "$dir/o/a" || fail "not here: $out"
}

test_the_repository_away() {
    new_repo
    new_volume
    whole_tree "$dir/m"
    backup
    ok varve create "$dir/t"
    echo 'recall_timeout = "2s";' >"$dir/t/config"
    from "$dir/t/vol" "$dir/w" --no-hydrate
    cmp "$dir/m/d/large" "$dir/w/d/large" || fail 'other bytes'
    echo new >"$dir/w/new"
    mv "$dir/r" "$dir/away"
    for p in $(served_by "$url"); do kill -9 "$p"; done
    cmp "$dir/m/d/large" "$dir/w/d/large" || fail 'what had come is lost'
    timed cat "$dir/w/new"
    (cat "$dir/w/big" >/dev/null) 2>"$scratch/err2" && fail 'it can be read'
    grep -q 'Input/output error' "$scratch/err2" || fail "$(cat "$scratch/err2")"
    ok varve events "$dir/w"
    has recall-failed
    ls -lR "$dir/w" >/dev/null || fail 'the tree'
    mv "$dir/away" "$dir/r"
    cmp "$dir/m/big" "$dir/w/big" || fail 'not when it is back'
    ok varve events "$dir/w"
    has recall-works
    ok varve umount "$dir/w"
    sound "$dir/t"
}

# 100 readers wait for a repository that stands still; others go on
test_others_go_on_while_it_hangs() {
    local i p pids=() began
    new_repo
    new_volume
    whole_tree "$dir/m"
    for i in $(seq 1 100); do random 600000 >"$dir/m/cold$i"; done
    backup
    ok varve create "$dir/t"
    echo 'recall_timeout = "20s";' >"$dir/t/config"
    from "$dir/t/vol" "$dir/w" --no-hydrate
    echo here >"$dir/w/here"
    cat "$dir/w/d/e/text" >/dev/null
    sync "$dir/w/here"
    find "$dir/r/packs" -type f -exec sh -c 'mv "$1" "$1.kept" && mkfifo "$1"' - {} \; # who opens one waits
    for i in $(seq 1 100); do
        cat "$dir/w/cold$i" >"$dir/got$i" 2>/dev/null &
        pids+=($!)
    done
    sleep 1
    echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
    began=$SECONDS
    for i in $(seq 1 20); do
        echo "$i" >"$dir/w/local$i" && cat "$dir/w/here" "$dir/w/d/e/text" >/dev/null && ls -l "$dir/w/d" >/dev/null || fail "local work"
    done
    [ $((SECONDS - began)) -lt 12 ] || fail "$((SECONDS - began)) s for local files"
    find "$dir/r/packs" -name '*.kept' -exec sh -c 'mv "$1" "${1%.kept}"' - {} \;
    for p in $(served_by "$url"); do kill -9 "$p"; done
    wait "${pids[@]}"
    for i in $(seq 1 100); do cmp -s "$dir/m/cold$i" "$dir/w/cold$i" || fail "cold$i afterwards"; done
    ok varve umount "$dir/w"
    sound "$dir/t"
}

test_pins_hold_what_is_deleted() {
    local id
    new_repo
    new_volume
    whole_tree "$dir/m"
    backup
    id=$(json 'd["recovery_point"]["id"]')
    from "$dir/t/vol" "$dir/w" --no-hydrate
    ok varve backup delete "$url#$id" --key-file "$dir/key"
    for _ in 1 2; do ok varve repo prune "$url" --key-file "$dir/key" --exclusive; done
    same_trees "$dir/m" "$dir/w"
    ok varve repo verify "$url" --key-file "$dir/key" --full --json
    [ "$(json 'd["pins"]')" = 1 ] || fail "$out"
    ok varve umount "$dir/w"
    # a copy of the store has a pin of its own, which the first one's end leaves alone
    cp -a "$dir/t" "$dir/t2"
    mkdir "$dir/w2"
    mounted+=("$dir/w2")
    ok varve mount "$dir/t2/vol" "$dir/w2"
    two_pins() { [ "$(pins)" = 2 ]; }
    wait_for 60 two_pins
    ok varve mount "$dir/t/vol" "$dir/w"
    ok varve hydrate "$dir/w"
    one_pin() { [ "$(pins)" = 1 ]; }
    wait_for 20 one_pin
    for _ in 1 2; do ok varve repo prune "$url" --key-file "$dir/key" --exclusive; done
    same_trees "$dir/m" "$dir/w2"
    refused 1 'no volume x relies' varve repo forget "$url" x --key-file "$dir/key"
    ok varve repo forget "$url" vol --key-file "$dir/key"
    [ "$(pins)" = 0 ] || fail "$out"
    ok varve repo prune "$url" --key-file "$dir/key" --exclusive
    [ -z "$(find "$dir/r/packs" -type f)" ] || fail 'packs are left'
}

# Everything is killed while it hydrates
test_killed_while_it_hydrates() {
    local i p
    new_repo
    new_volume
    whole_tree "$dir/m"
    backup
    url="$url?bandwidth=4M"
    from "$dir/t/vol" "$dir/w"
    for i in 1 2 3; do
        sleep 0.3
        p=$(daemon_of "$dir/w")
        kill -9 "$p"
        cmp "$dir/m/d/e/text" "$dir/w/d/e/text" || fail 'other bytes'
        for p in $(served_by "$url"); do kill -9 "$p"; done
        cmp "$dir/m/d/large" "$dir/w/d/large" || fail 'other bytes'
    done
    ok varve hydrate "$dir/w"
    has 'lies here as a whole'
    mv "$dir/r" "$dir/gone"
    same_trees "$dir/m" "$dir/w"
    ok varve umount "$dir/w"
    sound "$dir/t"
}

# The daemon of a store, before anything is mounted
daemon_at() {
    local p
    for p in $(grep -lsazxF "$1" /proc/[0-9]*/cmdline | cut -d/ -f3); do
        if [ "$(tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | awk '{ print $2 }')" = daemon ]; then
            echo "$p"
            return
        fi
    done
}
# The daemon dies while the volume is made: another makes it, and of the first attempt nothing is left
test_killed_while_it_is_made() {
    local i pid killed=0
    new_repo
    new_volume
    for i in $(seq 1 30); do
        mkdir "$dir/m/d$i"
        (cd "$dir/m/d$i" && seq 1 100 | split -l 1 -a 3 - f)
    done
    backup
    for i in 1 2 3 4 5 6; do
        mkdir -p "$dir/w$i"
        mounted+=("$dir/w$i")
        varve mount --from "$url#latest" --key-file "$dir/key" --no-hydrate "$dir/t$i/vol" "$dir/w$i" >"$dir/log" 2>&1 &
        pid=$!
        p=''
        while [ -z "$p" ] && kill -0 $pid 2>/dev/null; do p=$(daemon_at "$dir/t$i"); done
        sleep "0.0$((RANDOM % 10))"
        [ -z "$p" ] || { kill -9 "$p" 2>/dev/null && killed=$((killed + 1)); }
        wait $pid || fail "mount: $(cat "$dir/log")"
        [ "$(find "$dir/w$i" -type f | wc -l)" = 3000 ] || fail 'files are missing'
        ok varve list "$dir/t$i" --json
        [ "$(json 'len(d["volumes"])')" = 1 ] || fail "$out"
        ok varve hydrate "$dir/w$i" # sees to what nothing needs, too
        wait_for 30 no_pins
        diff -r "$dir/m" "$dir/w$i" >/dev/null || fail 'another tree'
        ok varve umount "$dir/w$i"
        sound "$dir/t$i"
    done
    say "    killed while it was made: $killed of 6"
}

# late COMMAND...: in the background, with a varve-tierd that puts its first pin when the file $dir/late.waits is gone; waits until it waits,
# and kills the daemon of the store $dir/t. $late is that varve-tierd, $pid the command.
late() {
    : >"$dir/late"
    VARVE_TIERD=$VARVE_TIERD_LATE VARVE_LATE=$dir/late varve "$@" >"$dir/log" 2>&1 &
    pid=$!
    wait_for 30 test -s "$dir/late.waits"
    late=$(cat "$dir/late.waits")
    kill -9 "$(daemon_at "$dir/t")"
}
# It puts the pin that the dead daemon asked for, and ends
late_comes() {
    late_is_gone() { ! kill -0 "$late" 2>/dev/null; }
    rm "$dir/late.waits"
    wait_for 10 late_is_gone
}

# The daemon dies while it pins, and varve-tierd, which outlives it, puts the pin when another has made the volume and looked
test_pin_that_comes_late() {
    new_repo
    new_volume
    some_tree "$dir/m"
    backup
    mkdir -p "$dir/w"
    mounted+=("$dir/w")
    late mount --from "$url#latest" --key-file "$dir/key" --no-hydrate "$dir/t/vol" "$dir/w"
    wait $pid || fail "mount: $(cat "$dir/log")"
    [ "$(pins)" = 1 ] || fail "pins: $out"
    ok varve hydrate "$dir/w"
    wait_for 20 no_pins
    no_sources() { ok varve tier status "$dir/w" --json && [ "$(json 'len(d["store_sources"])')" = 0 ]; }
    wait_for 20 no_sources # what the first attempt made is freed, and its pin was looked for
    late_comes
    wait_for 20 no_pins
    same_trees "$dir/m" "$dir/w"
    ok varve umount "$dir/w"
    sound "$dir/t"
}

# A release goes on when its daemon was killed while it pinned: the pin that it needs is not taken for what the first attempt left
test_pin_of_a_release_that_goes_on() {
    local id again
    new_repo
    mkdir -p "$dir/m"
    mounted+=("$dir/m")
    ok varve mount "$dir/t" "$dir/m" --create
    some_tree "$dir/m"
    backup
    id=$(json 'd["recovery_point"]["id"]')
    cp -a "$dir/m" "$dir/copy"
    ok varve umount "$dir/m"
    VARVE_TIERD=$VARVE_TIERD_LATE VARVE_LATE=$dir/late ok varve mount "$dir/t" "$dir/m"
    late tier release "$dir/m" "$url" --key-file "$dir/key"
    wait $pid || fail "release: $(cat "$dir/log")"
    [ "$(remote "$dir/m")" -gt 0 ] || fail 'nothing is released'
    late_comes
    one_pin() { [ "$(pins)" = 1 ]; }
    again=$((SECONDS + 8)) # what the first attempt left is looked at every three seconds
    while [ $SECONDS -lt $again ]; do [ "$(pins)" -ge 1 ] || { fail 'the pin that is needed is gone'; break; }; done
    wait_for 10 one_pin
    ok varve backup delete "$url#$id" --key-file "$dir/key"
    ok varve repo prune "$url" --key-file "$dir/key" --exclusive
    same_trees "$dir/copy" "$dir/m"
    ok varve umount "$dir/m"
    sound "$dir/t"
}

test_cancelled_and_gone_on() {
    new_repo
    new_volume
    whole_tree "$dir/m"
    backup
    url="$url?bandwidth=2M"
    from "$dir/t/vol" "$dir/w"
    ok varve job cancel "$dir/w" 1
    refused 1 cancelled varve job wait "$dir/w" 1
    [ "$(remote "$dir/w")" -gt 0 ] || fail 'it was through already'
    url=dir:$dir/r
    ok varve hydrate "$dir/w"
    same_trees "$dir/m" "$dir/w"
}

# How long until it is there: N files of some hundred bytes
until_it_is_there() { # in $url
    python3 - "$dir/m" "$files" <<'P'
import os, sys
root, n = sys.argv[1], int(sys.argv[2])
for d in range(max(1, n // 1000)):
    os.mkdir(f"{root}/d{d}")
    for i in range(min(n, 1000)):
        fd = os.open(f"{root}/d{d}/file{i}", os.O_CREAT | os.O_WRONLY)
        os.write(fd, (f"{d} {i} " * 100).encode()[:300 + i % 700])
        os.close(fd)
P
    backup
    mkdir -p "$dir/i"
    mounted+=("$dir/i")
    sync
    timed sh -c "'$VARVE' mount --from '$url#latest' --key-file '$dir/key' --no-hydrate '$dir/i' && ls '$dir/i'"
    ls_ms=$took
    timed head -c 4096 "$dir/i/d0/file77"
    read_ms=$took
    cmp "$dir/m/d0/file77" "$dir/i/d0/file77" || fail 'other bytes'
    say "    $files files from ${url%%:*}: mounted and listed after $ls_ms ms, first bytes of a file after $read_ms ms more (load $(cut -d' ' -f1 /proc/loadavg))"
    # bounds of a machine that does something else besides; the figures above are what counts
    [ "$ls_ms" -le $((2000 + files / 10)) ] || fail "$ls_ms ms to the first list"
    [ "$read_ms" -le 1000 ] || fail "$read_ms ms to the first bytes"
    [ "$(find "$dir/i" -type f | wc -l)" = "$(find "$dir/m" -type f | wc -l)" ] || fail 'files are missing'
}

test_time_from_a_directory() {
    new_repo
    new_volume
    until_it_is_there
}

# S3, where a server can be had
s3_begin() {
    s3_case_get && s3_case_start "$dir/server" instant-bucket || return 1
    url="s3://instant-bucket/x?endpoint=$s3_endpoint"
    ok varve repo init "$url" --key-file "$dir/key"
}

test_time_from_s3() {
    key
    s3_begin || return 0
    new_volume
    until_it_is_there
    ok varve umount "$dir/i"
    s3_stop
}

test_s3() {
    local port
    key
    s3_begin || return 0
    port=${s3_endpoint##*:}
    new_volume
    whole_tree "$dir/m"
    backup
    ok varve create "$dir/t"
    echo 'recall_timeout = "3s";' >"$dir/t/config"
    from "$dir/t/vol" "$dir/w" --no-hydrate
    cmp "$dir/m/d/large" "$dir/w/d/large" || fail 'other bytes'
    s3_stop
    (cat "$dir/w/big" >/dev/null) 2>/dev/null && fail 'it can be read without the server'
    cmp "$dir/m/d/large" "$dir/w/d/large" || fail 'what had come is lost'
    s3_start versitygw "$dir/server" '' "$port" || fail 'the server does not come back'
    cmp "$dir/m/big" "$dir/w/big" || fail 'not when it is back'
    ok varve hydrate "$dir/w"
    s3_stop
    same_trees "$dir/m" "$dir/w"
    ok varve umount "$dir/w"
    sound "$dir/t"
}

if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046
    set -- $(all_cases)
fi
run_cases "$@"
suite_end
