#!/bin/bash
# RADOS: the contract of backends against a real cluster, what happens when parts of it stand still or die, backup and restore as people do
# it; then the suite of S3 over radosgw on the same cluster. `ceph.sh NAME...` runs the named cases only. All of the
# cluster lies below $TMPDIR: some 150 MB and what is backed up.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/s3_server.sh"
. "$here/ceph_server.sh"
for p in ceph ceph-mon ceph-osd rados; do
    command -v $p >/dev/null || skip_suite "$p is not installed: run make check-ceph as root"
done
end_all() {
    local rc=$?
    ceph_stop
    (exit $rc)
    scratch_release
}
trap end_all EXIT
began=$(date +%s%N)
ceph_start "$scratch/ceph" >"$scratch/why" 2>&1 || skip_suite "no cluster starts here: $(tail -n 1 "$scratch/why")"
say "    cluster: $(ceph --version | cut -d' ' -f3), ready in $((($(date +%s%N) - began) / 1000000)) ms"
export VARVE_TEST_CEPH=data VARVE_TEST_CEPH_OPTIONS="conf=$ceph_conf&id=all" VARVE_TEST_CEPH_CONF=$ceph_conf
export VARVE_TEST_CEPH_OSD=$osd_pid

new_case() {
    mkdir -p "$dir/m"
    head -c 64 /dev/urandom >"$dir/key"
    url="rados://data/${dir##*/}?conf=$ceph_conf&id=all"
}
objects() { timeout -k 5 60 rados -c "$ceph_conf" -n client.all -p data -N "${dir##*/}" "$@"; }
# What is in the pool, as files: whole objects only
fetch() {
    local name
    objects ls | grep -v '^\.' | while read -r name; do
        mkdir -p "$1/$(dirname "$name")" && objects get "$name" "$1/$name" || return 1
    done
}

test_backup_and_restore() {
    local second
    new_case
    ok varve repo add "r$$" "$url" --key-file "$dir/key" --init
    ok varve repo test "r$$"
    new_volume
    mkdir "$dir/m/d"
    head -c 40000000 /dev/urandom >"$dir/m/d/large"
    for i in $(seq 1 50); do echo "small $i" >"$dir/m/d/$i"; done
    ok varve backup run "$dir/m" --to "r$$" --json
    echo more >>"$dir/m/d/large"
    rm "$dir/m/d/7"
    ok varve backup run "$dir/m" --to "r$$" --json
    second=$(json 'd["recovery_point"]["sent_bytes"]')
    [ "$second" -lt 1000000 ] || fail "the second sent $second bytes"
    ok varve restore "r$$#latest" "$dir/out"
    diff -r "$dir/m/d" "$dir/out/d" || fail 'other bytes'
    ok varve repo verify "r$$" --full
    # another program, from the page of the format alone
    fetch "$dir/objects" || fail fetch
    read_repo_python || return
    "$py" "$here/read_repo.py" "$dir/objects" "$dir/key" latest /d/large "$dir/read" || fail read_repo
    cmp "$dir/read" "$dir/m/d/large" || fail 'other bytes by another program'
    # what no recovery point needs goes
    rm "$dir/m/d/large"
    ok varve backup run "$dir/m" --to "r$$" --json
    ok varve backup list "r$$" --json
    for p in $(json '" ".join(p["id"] for p in d["recovery_points"][:2])'); do ok varve backup delete "r$$#$p"; done
    ok varve repo prune "r$$" --exclusive --json
    [ "$(json 'd["deleted_packs"]')" -gt 0 ] || fail "$out"
    ok varve repo verify "r$$" --full
    ok varve restore "r$$#latest" "$dir/out2"
    diff -r "$dir/m/d" "$dir/out2/d" || fail 'other bytes after the prune'
    ok varve repo remove "r$$"
}

# Packs in 16 parts each, read by the RADOS tool as the page of the format says
test_objects_in_parts() {
    local name owner parts i
    new_case
    url="$url&part=1M"
    ok varve repo init "$url" --key-file "$dir/key"
    new_volume
    head -c 20000000 /dev/urandom >"$dir/m/large"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    [ "$(objects ls | grep -c '^\.part/')" -ge 19 ] || fail "$(objects ls)"
    name=$(objects ls | grep -m 1 '^packs/')
    owner=$(objects getxattr "$name" varve.owner)
    parts=$(objects getxattr "$name" varve.parts)
    for ((i = 0; i < (${parts% *} + ${parts#* } - 1) / ${parts#* }; i++)); do
        objects get "$(printf '.part/%s/%08x' "$owner" $i)" "$dir/part" && cat "$dir/part"
    done >"$dir/pack"
    [ "$(stat -c %s "$dir/pack")" = "${parts% *}" ] || fail "$parts: $(stat -c %s "$dir/pack")"
    [ "$(sha256sum "$dir/pack" | cut -d' ' -f1)" = "${name##*/}" ] || fail 'the parts of a pack are not the pack'
    restored
}

# A cause and what to do, in seconds
test_what_is_wrong_is_said() {
    local at=rados://data/none?conf=$ceph_conf none=rados://data/none
    new_case
    ceph-authtool -C "$dir/other.keyring" --gen-key -n client.all >/dev/null
    printf '[client.all]\n\tkey = nonsense\n' >"$dir/bad.keyring"
    refused - 'the cluster refuses the key of client.all' varve repo show "$at&id=all&keyring=$dir/other.keyring" --key-file "$dir/key"
    refused - 'the cluster refuses the key of client.all' varve repo show "$at&id=all" --key-file "$dir/key" --credentials "$dir/other.keyring"
    refused - 'keyring of client.all cannot be understood' varve repo show "$at&id=all&keyring=$dir/bad.keyring" --key-file "$dir/key"
    refused - 'there is no key of client.stranger' varve repo show "$at&id=stranger" --key-file "$dir/key"
    refused - 'check keyring=' varve repo show "$at&id=all&keyring=$dir/none" --key-file "$dir/key"
    refused - 'check conf=' varve repo show "$none?conf=$dir/none&id=all" --key-file "$dir/key"
    refused - 'there is no pool nowhere' varve repo show "rados://nowhere/x?conf=$ceph_conf&id=all" --key-file "$dir/key"
    refused - 'there is no repository here' varve repo show "$at&id=all" --key-file "$dir/key"
    refused - "client.reader may not" varve repo init "$at&id=reader" --key-file "$dir/key"
    refused - "allow rwx pool=data" varve repo init "$at&id=writer" --key-file "$dir/key"
    refused - "client.own may not look at objects in pool data, namespace none" varve repo show "$at&id=own" --key-file "$dir/key"
    refused - 'no monitor of the cluster answers: check monitors=' varve repo show "$none?monitors=127.0.0.1:1&id=all&keyring=$scratch/ceph/client.all.keyring&timeout=2s" --key-file "$dir/key"
    refused - 'is no option of such a URL' varve repo show "$none?monitor=127.0.0.1:1" --key-file "$dir/key"
    refused - '--credentials is for s3:' varve repo show "dir:$dir" --key-file "$dir/key" --credentials "$dir/key"
}

# A key for one namespace is enough there; one that may read is enough to restore; monitors in place of a configuration
test_what_a_key_must_be_able_to() {
    new_case
    url="rados://data/own?conf=$ceph_conf&id=own"
    ok varve repo init "$url" --key-file "$dir/key"
    new_volume
    head -c 100000 /dev/urandom >"$dir/m/large"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    ok varve repo prune "$url" --key-file "$dir/key"
    url="rados://data/own?monitors=$(sed -n 's/^mon_host = .*v1:\(.*\)\]/\1/p' "$ceph_conf")&id=client.reader&keyring=$scratch/ceph/client.reader.keyring"
    restored
    ok varve repo verify "$url" --full --key-file "$dir/key"
    refused - 'client.reader may not' varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
}

# The OSD stands still: what is asked ends in its time and says why; then all goes on
test_osd_stands_still() {
    new_case
    url="$url&timeout=3s"
    ok varve repo init "$url" --key-file "$dir/key"
    new_volume
    head -c 30000000 /dev/urandom >"$dir/m/large"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    kill -STOP "$osd_pid"
    began=$SECONDS
    refused - 'no OSD answers in time (timeout=3s)' varve repo show "$url" --key-file "$dir/key"
    [ $((SECONDS - began)) -lt 10 ] || fail "$((SECONDS - began)) s"
    echo more >>"$dir/m/large" # the mount itself has nothing to do with it
    kill -CONT "$osd_pid"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    restored
}

# The monitor stands still: who is connected goes on, who is not is told
test_monitor_stands_still() {
    new_case
    ok varve repo init "$url" --key-file "$dir/key"
    kill -STOP "${ceph_pids[0]}"
    began=$SECONDS
    refused - 'no monitor of the cluster answers: check conf=' varve repo show "$url&timeout=3s" --key-file "$dir/key"
    [ $((SECONDS - began)) -lt 10 ] || fail "$((SECONDS - began)) s"
    kill -CONT "${ceph_pids[0]}"
    ok varve repo show "$url" --key-file "$dir/key"
}

# The OSD dies in the middle of a backup, as by a power cut, and comes back
test_osd_dies() {
    new_case
    url="$url&bandwidth=16M"
    backup_begins 60000000
    sleep 2
    osd_kill
    sleep 2
    osd_start
    backup_ends
    restored
}

# The process that speaks is killed in the middle: another takes its place
test_the_process_that_speaks_dies() {
    new_case
    speaker_dies
    restored
}

# until_says WORDS SECONDS COMMAND...: it says so at last
until_says() {
    local words=$1 end=$((SECONDS + $2))
    shift 2
    while out=$("$@" 2>&1) && rc=0 || rc=$?; [[ $out != *"$words"* ]]; do
        [ $SECONDS -lt $end ] || { fail "$* says \"$out\" to the end, not \"$words\""; return; }
        random 200000 >>"$dir/m/large" # what is there already need not be put
        sleep 1
    done
}

# A quota; it is the manager that counts, so this wants one (deps.sh does not install it: 34 packages more)
test_full() {
    new_case
    command -v ceph-mgr >/dev/null || { skip='ceph-mgr is not installed'; return; }
    ceph_manager || { fail 'no manager'; return; }
    ceph_tool osd pool create small 4 4 replicated >"$dir/log" 2>&1 || fail "$(cat "$dir/log")"
    ceph_tool osd pool application enable small varve >/dev/null 2>&1
    url="rados://small/x?conf=$ceph_conf&id=admin&timeout=10s"
    ok varve repo init "$url" --key-file "$dir/key"
    new_volume
    random 10000000 >"$dir/m/large"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    ceph_tool osd pool set-quota small max_bytes 5000000 >/dev/null 2>&1 || fail quota
    until_says "the pool's quota is reached" 120 varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    ok varve repo show "$url" --key-file "$dir/key"
    ceph_tool osd pool set-quota small max_bytes 0 >/dev/null 2>&1
    until_says 'recovery point' 120 varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    ok varve repo verify "$url" --full --key-file "$dir/key"
    restored
}

# Somebody deletes the pool: nobody says that the repository has lost its packs
test_pool_deleted() {
    new_case
    ceph_tool osd pool create gone 4 4 replicated >/dev/null 2>&1 || fail pool
    ceph_tool osd pool application enable gone varve >/dev/null 2>&1
    url="rados://gone/x?conf=$ceph_conf&id=admin&keyring=$scratch/ceph/client.admin.keyring&bandwidth=4M"
    backup_begins 40000000
    sleep 2
    ceph_tool osd pool delete gone gone --yes-i-really-really-mean-it >/dev/null 2>&1 || fail delete
    wait "$backing_up" && fail 'it went well'
    grep -q 'pool gone, namespace x: the pool is gone' "$dir/log" || fail "$(cat "$dir/log")"
    refused - 'there is no pool gone' varve repo show "$url" --key-file "$dir/key"
}

radosgw_suite() { # its own process: its cases have the names of these
    command -v radosgw >/dev/null || { say 'skip radosgw: it is not installed'; skipped=$((skipped + 1)); return; }
    timeout -k 5 120 radosgw-admin -c "$ceph_conf" -n client.rgw user create --uid=varve --display-name=varve --access-key=AKTESTAKTEST \
        --secret-key=SKTESTSKTESTSKTEST >"$scratch/rgw" 2>&1 || { say "FAIL radosgw-admin: $(tail -n 1 "$scratch/rgw")"; failed=$((failed + 1)); return; }
    SERVER=radosgw run_part "$here/s3.sh" "$@"
}

# without arguments all; else the named tests of the C program and cases; radosgw, or radosgw:NAME of what s3.sh has
units=() cases=() rgw='' rgw_cases=()
[ $# -gt 0 ] || { mapfile -t units < <(grep -ohP '^CEPH_TEST\(\K\w+' "$here"/*.c) && mapfile -t cases < <(all_cases) && rgw=1; }
for name in "$@"; do
    case $name in test_ceph__*) units+=("$name") ;; radosgw) rgw=1 ;; radosgw:*) rgw=1 rgw_cases+=("${name#*:}") ;; *) cases+=("$name") ;; esac
done
[ ${#units[@]} -eq 0 ] || run_units "${units[@]}"
run_cases "${cases[@]}"
[ -z "$rgw" ] || radosgw_suite "${rgw_cases[@]}"
suite_end
