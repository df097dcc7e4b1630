#!/bin/bash
# S3: the contract of backends against a real server, faults between it and us, then backup and restore through it as people do it.
# SERVER=versitygw|minio; tests/tier/ceph.sh runs it with SERVER=radosgw. `s3.sh NAME...` runs the named cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/s3_server.sh"
SERVER=${SERVER:-versitygw}
s3_environment
export VARVE_TEST_BUCKET=test-bucket VARVE_TEST_S3

s3_get "$SERVER" >"$scratch/why" 2>&1 || skip_suite "$(tail -n 1 "$scratch/why")"
end_all() {
    local rc=$?
    s3_proxy_stop
    s3_stop
    (exit $rc)
    scratch_release
}
trap end_all EXIT
s3_start "$SERVER" "$scratch/server" || skip_suite "$SERVER does not start here"
VARVE_TEST_S3=$s3_endpoint
tool() { "$here/s3_tool.py" "$s3_endpoint" "$@"; }
s3_bucket "$VARVE_TEST_BUCKET"
say "    server: $SERVER"
s3_proxy_start "$scratch/proxy" >"$scratch/why" || skip_suite "$(cat "$scratch/why")"
export VARVE_TEST_FAULT=$scratch/proxy/fault VARVE_TEST_PROXY=$s3_proxy_endpoint
credentials() { # NAME KEY SECRET
    printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$2" "$3" >"$scratch/$1"
}
credentials keys "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"
without_keys() { (unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; HOME=$scratch "$@"); }
new_case() {
    mkdir -p "$dir/m"
    head -c 64 /dev/urandom >"$dir/key"
    url="s3://$VARVE_TEST_BUCKET/${dir##*/}?endpoint=$s3_endpoint"
}

# As people do it; the keys come from a file, since the process that has the volume open has not got this shell's environment
test_backup_and_restore() {
    new_case
    ok without_keys varve repo add "r$$" "$url" --key-file "$dir/key" --credentials "$scratch/keys" --init
    ok without_keys varve repo test "r$$"
    without_keys varve mount "$dir/s" "$dir/m" --create || fail mount
    mounted+=("$dir/m")
    mkdir "$dir/m/d"
    head -c 40000000 /dev/urandom >"$dir/m/d/large"
    for i in $(seq 1 50); do echo "small $i" >"$dir/m/d/$i"; done
    ok without_keys varve backup run "$dir/m" --to "r$$" --json
    echo more >>"$dir/m/d/large"
    rm "$dir/m/d/7"
    ok without_keys varve backup run "$dir/m" --to "r$$" --json
    [ "$(json 'd["recovery_point"]["sent_bytes"]')" -lt 1000000 ] || fail "the second sent $(json 'd["recovery_point"]["sent_bytes"]') bytes"
    ok without_keys varve restore "r$$#latest" "$dir/out"
    diff -r "$dir/m/d" "$dir/out/d" || fail 'other bytes'
    ok without_keys varve repo verify "r$$" --full
    ok varve snapshot list "$dir/m" --json
    [ "$(json 'len(d["snapshots"])')" = 1 ] || fail "snapshots of backups pile up: $out"
    # another program, from the page of the format alone
    mkdir "$dir/objects"
    tool fetch "$VARVE_TEST_BUCKET" "${dir##*/}/" "$dir/objects" || fail fetch
    read_repo_python || return
    "$py" "$here/read_repo.py" "$dir/objects" "$dir/key" latest /d/large "$dir/read" || fail read_repo
    cmp "$dir/read" "$dir/m/d/large" || fail 'other bytes by another program'
    ok without_keys varve repo remove "r$$"
}

# A cause and what to do, in seconds
test_what_is_wrong_is_said() {
    local at=s3://$VARVE_TEST_BUCKET/none?endpoint=$s3_endpoint
    new_case
    credentials other "$AWS_ACCESS_KEY_ID" wrongwrongwrong
    credentials stranger AKSTRANGER wrongwrongwrong
    printf '[else]\naws_access_key_id = a\n' >"$scratch/section"
    refused - 'the secret key is not that of the access key' without_keys varve repo show "$at" --key-file "$dir/key" --credentials "$scratch/other"
    refused - 'the access key is not known there' without_keys varve repo show "$at" --key-file "$dir/key" --credentials "$scratch/stranger"
    refused - 'has no section [default]' without_keys varve repo show "$at" --key-file "$dir/key" --credentials "$scratch/section"
    refused - 'no credentials: give --credentials FILE' without_keys varve repo show "$at" --key-file "$dir/key"
    refused - 'there is no bucket no-such-bucket' varve repo init "s3://no-such-bucket/x?endpoint=$s3_endpoint" --key-file "$dir/key"
    refused - 'there is no repository here' varve repo show "$at" --key-file "$dir/key"
    refused - 'check endpoint= and the network' varve repo show "s3://b00/x?endpoint=http://127.0.0.1:1" --key-file "$dir/key"
    refused - 'check endpoint= and the network' varve repo show "s3://b00/x?endpoint=http://nowhere.invalid" --key-file "$dir/key"
    refused - 'is no option of such a URL' varve repo show "s3://b00/x?endpont=http://127.0.0.1:1" --key-file "$dir/key"
    refused - 'write endpoint=' varve repo show "s3://b00/x?endpoint=http://me:secret@127.0.0.1:1" --key-file "$dir/key"
    refused - 'write s3://bucket/prefix' varve repo show "s3://b00/x/../y" --key-file "$dir/key"
    refused - '--credentials is for s3:' varve repo show "dir:$dir" --key-file "$dir/key" --credentials "$scratch/keys"
}

# The certificate of the server's own authority is trusted where the URL says so, and only there
test_tls() {
    local at s3_pid='' s3_endpoint=$s3_endpoint # this case has a server of its own
    new_case
    command -v openssl >/dev/null || { skip='openssl is not installed'; return; }
    (
        cd "$dir" && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=varve-test-ca -keyout ca.key -out ca.pem &&
            openssl req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr &&
            printf 'subjectAltName=IP:127.0.0.1\n' >ext &&
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.pem
    ) >"$dir/openssl" 2>&1 || fail "openssl: $(cat "$dir/openssl")"
    s3_start "$SERVER" "$dir/tls" "$dir" || fail start
    at="s3://$VARVE_TEST_BUCKET/x?endpoint=$s3_endpoint"
    S3_CA=$dir/ca.pem s3_bucket "$VARVE_TEST_BUCKET"
    refused - 'its certificate is not to be trusted' varve repo init "$at" --key-file "$dir/key"
    refused - 'its certificate is not to be trusted' varve repo init "$at&ca=$dir/missing.pem" --key-file "$dir/key"
    ok varve repo init "$at&ca=$dir/ca.pem" --key-file "$dir/key"
    ok varve repo test "$at&ca=$dir/ca.pem" --key-file "$dir/key"
    s3_stop
}

test_bucket_in_the_name_of_the_host() {
    new_case
    url="s3://$VARVE_TEST_BUCKET/host?endpoint=http://localhost:${s3_endpoint##*:}&style=virtual"
    ok varve repo init "$url" --key-file "$dir/key"
    ok varve repo test "$url" --key-file "$dir/key"
    ok varve repo show "s3://$VARVE_TEST_BUCKET/host?endpoint=$s3_endpoint&style=path" --key-file "$dir/key"
}

# Where names go and the bytes stay, and where nothing may be deleted: all else is done, and it is told until when
locked_prunes() {
    local first
    new_volume
    random 2000000 >"$dir/m/a"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key" --json
    first=$(json 'd["recovery_point"]["id"]')
    rm "$dir/m/a" && random 2000000 >"$dir/m/b"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key" --json
    ok varve repo prune "$url" --exclusive --key-file "$dir/key"
    ok varve backup delete "$url#$first" --key-file "$dir/key"
    echo "locked$$ denied DELETE 100000" >"$VARVE_TEST_FAULT"
    ok varve repo prune "${url/$s3_endpoint/$VARVE_TEST_PROXY}" --exclusive --key-file "$dir/key"
    : >"$VARVE_TEST_FAULT"
    has 'may not be deleted'
    has "is locked until $(date -u -d '1 day' +%Y-)"
    ok varve repo unlock "$url" --force
    for _ in 1 2 3; do ok varve repo prune "$url" --exclusive --key-file "$dir/key"; done
    ok varve restore "$url#latest" "$dir/out" --key-file "$dir/key"
    cmp "$dir/m/b" "$dir/out/b" || fail 'other bytes'
}

test_object_lock() {
    local key
    new_case
    S3_HEADER='x-amz-bucket-object-lock-enabled: true' tool PUT /locked-bucket >"$dir/made" 2>&1 || { skip="the server makes no such buckets: $(cat "$dir/made")"; return; }
    refused - 'lock=governance or lock=compliance and retain=' varve repo init "s3://locked-bucket/x?endpoint=$s3_endpoint&lock=governance" --key-file "$dir/key"
    url="s3://locked-bucket/x?endpoint=$s3_endpoint&lock=governance&retain=1d"
    if [ "$SERVER" = radosgw ]; then # 16.2 passes If-None-Match over where a bucket keeps versions, and that is said
        refused - 'give conditional=no' varve repo init "$url" --key-file "$dir/key"
        url="$url&conditional=no"
    fi
    ok varve repo init "$url" --key-file "$dir/key"
    tool fetch locked-bucket x/ "$dir/objects" || fail fetch
    key=$(cd "$dir/objects" && find root -type f)
    tool GET "/locked-bucket/x/$key?retention" >"$dir/retention" 2>&1
    grep -q GOVERNANCE "$dir/retention" || fail "$key: $(cat "$dir/retention")"
    ok varve repo test "$url" --key-file "$dir/key"
    locked_prunes
    refused - "$VARVE_TEST_BUCKET" varve repo init "s3://$VARVE_TEST_BUCKET/locked?endpoint=$s3_endpoint&lock=governance&retain=1d" --key-file "$dir/key"
}

# A server that passes If-None-Match over
test_conditions_passed_over() {
    new_case
    url="s3://$VARVE_TEST_BUCKET/over?endpoint=$VARVE_TEST_PROXY"
    echo "over$$ ignore-condition PUT 100000" >"$VARVE_TEST_FAULT"
    refused - 'give conditional=no' varve repo init "$url" --key-file "$dir/key"
    ok varve repo init "$url&conditional=no" --key-file "$dir/key"
    ok varve repo test "$url&conditional=no" --key-file "$dir/key"
    refused - 'give conditional=no' varve repo test "$url" --key-file "$dir/key"
    : >"$VARVE_TEST_FAULT"
}

# Everything goes wrong now and then: the backup is whole
test_backup_on_a_bad_line() {
    local kind n=0
    new_case
    url="s3://$VARVE_TEST_BUCKET/line?endpoint=$VARVE_TEST_PROXY&timeout=2s"
    backup_begins 100000000
    while kill -0 "$backing_up" 2>/dev/null; do
        for kind in lose-answer cut-request slow-down error-done garbage corrupt-request cut-body refuse; do
            echo "line$$-$((n++)) $kind ANY 1" >"$VARVE_TEST_FAULT.n" && mv "$VARVE_TEST_FAULT.n" "$VARVE_TEST_FAULT"
            sleep 0.3
        done
        [ $n -lt 400 ] || { fail 'it does not end'; kill "$backing_up"; }
    done
    : >"$VARVE_TEST_FAULT"
    backup_ends
    ok varve restore "$url#latest" "$dir/out" --key-file "$dir/key"
    cmp "$dir/m/large" "$dir/out/large" || fail 'other bytes'
    say "    faults while a backup ran: $(grep -c ' [a-z]' "$VARVE_TEST_FAULT.log")"
}

# Packs have the class, what must be read to find them has not
test_storage_class() {
    new_case
    [ "$SERVER" != radosgw ] || { skip='radosgw knows STANDARD only, until more are defined'; return; }
    url="s3://$VARVE_TEST_BUCKET/class?endpoint=$VARVE_TEST_PROXY&storage-class=REDUCED_REDUNDANCY"
    ok varve repo init "$url" --key-file "$dir/key"
    new_volume
    head -c 100000 /dev/urandom >"$dir/m/f"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    grep -q '^PUT .*/class/packs/.* REDUCED_REDUNDANCY$' "$VARVE_TEST_FAULT.log" || fail 'no pack has the class'
    ! grep '/class/' "$VARVE_TEST_FAULT.log" | grep -v /packs/ | grep -q REDUCED || fail 'others have it'
    ok varve restore "$url#latest" "$dir/out" --key-file "$dir/key"
}

# Plain objects, a large one in parts: changed, gone, and as the last manifest says
test_plain_exports() {
    new_case
    new_volume
    mkdir "$dir/m/Some Where"
    for i in 1 2 3; do echo "small $i" >"$dir/m/Some Where/$i"; done
    random 70000000 >"$dir/m/large"
    ok varve snapshot create "$dir/m" a
    ok varve export "$dir/m@a" "$url" --plain --credentials "$scratch/keys" --json
    [ "$(json 'd["export"]["put"]')" = 4 ] || fail "$out"
    echo other >"$dir/m/Some Where/2"
    rm "$dir/m/Some Where/3"
    ok varve snapshot create "$dir/m" b
    ok varve export "$dir/m@b" "$url" --plain --delete --credentials "$scratch/keys" --json
    [ "$(json 'd["export"]["put"], d["export"]["deleted"]')" = '(1, 1)' ] || fail "$out"
    ok tool fetch "$VARVE_TEST_BUCKET" "${dir##*/}" "$dir/p"
    plain_is b
}

packs() { tool GET "/$VARVE_TEST_BUCKET?list-type=2&prefix=${dir##*/}/packs/" | grep -o '<Key>' | wc -l; }
# A volume's own domain beside the one that all share: what was shredded cannot be read, is not missed, and its packs go
test_a_domain_is_shredded() {
    local first own id before
    new_case
    ok varve repo init "$url" --key-file "$dir/key"
    new_volume
    random 9000000 >"$dir/m/large"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key" --json
    first=$(json 'd["recovery_point"]["id"]')
    cp -r "$dir/m" "$dir/was"
    echo more >"$dir/m/more"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key" --domain own --json
    own=$(json 'd["recovery_point"]["id"]')
    [ "$(json 'd["recovery_point"]["sent_bytes"]')" -gt 9000000 ] || fail "bytes of another domain were taken: $out"
    restored
    ok varve repo domains "$url" --key-file "$dir/key" --json
    id=$(json '[x["id"] for x in d["domains"] if x["own"]][0]')
    ok varve repo shred "$url" "${id:0:8}" --force --key-file "$dir/key"
    refused 1 'there is no recovery point' varve restore "$url#$own" --key-file "$dir/key" "$dir/gone"
    ok varve repo verify "$url" --key-file "$dir/key" --full
    has 'of domains that were shredded'
    before=$(packs)
    ok varve repo prune "$url" --exclusive --key-file "$dir/key"
    [ "$(packs)" -lt "$before" ] || fail "none of $before packs went"
    ok varve repo verify "$url" --key-file "$dir/key" --full
    ok varve restore "$url#$first" --key-file "$dir/key" "$dir/first"
    diff -r "$dir/was" "$dir/first" || fail 'other bytes of the other domain'
}

# The process that speaks is killed in the middle: another takes its place
test_the_process_that_speaks_dies() {
    new_case
    speaker_dies
    restored
}

# The server is gone, and comes back
test_server_killed() {
    local data=$scratch/server
    new_case
    ok varve repo init "$url" --key-file "$dir/key"
    new_volume
    head -c 30000000 /dev/urandom >"$dir/m/large"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    s3_stop
    echo more >>"$dir/m/large"
    refused - 'check endpoint= and the network' varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    s3_start "$SERVER" "$data" '' "${s3_endpoint##*:}" || fail 'the server does not come back'
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    restored
}

units=() cases=()
for name in "$@"; do
    case $name in test_s3__*) units+=("$name") ;; *) cases+=("$name") ;; esac
done
if [ $# -eq 0 ]; then
    read -ra units -d '' < <(grep -oPh 'S3_TEST\(\K\w+' "$here"/*.c)
    read -ra cases -d '' < <(all_cases)
fi
[ -z "${SAN:-}" ] || cases=()
[ ${#units[@]} -eq 0 ] || run_units "${units[@]}"
run_cases "${cases[@]}"
suite_end
