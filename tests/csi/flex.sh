#!/bin/bash
# varve-flex, called as the kubelet calls it. `flex.sh NAME...` runs the named cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/mounted.sh"
suite_needs_mounts
FLEX=$(readlink -f "$BUILD")/varve-flex
passed=0 failed=0
. "$here/driver.sh"
trap 'unmount_all; serve_end; scratch_release' EXIT
"$VARVE" create "$store" >/dev/null && serve_start || exit 1
plugins=$scratch/exec
mkdir "$plugins" "$scratch/pods"
driver=$plugins/varve.io~varve/varve

fail() {
    failures=$((failures + 1))
    printf '    line %s: %s\n' "${BASH_LINENO[1]}" "$*"
}
# call STATUS WORDS...: the driver's status is this, its exit code fits; the answer is in $out
call() {
    local want=$1 rc got
    shift
    out=$("$driver" "$@" 2>"$scratch/err")
    rc=$?
    got=$(printf '%s' "$out" | python3 -c 'import json, sys; print(json.load(sys.stdin)["status"])' 2>&1)
    [ "$got" = "$want" ] || fail "$*: $out, not $want"
    [ "$(printf '%s\n' "$out" | wc -l)" = 1 ] || fail "$*: more than a line: $out"
    [ -s "$scratch/err" ] && fail "$*: on standard error: $(cat "$scratch/err")"
    if [ "$want" = Success ]; then [ $rc -eq 0 ] || fail "$*: exit $rc"; else [ $rc -ne 0 ] || fail "$*: exit 0"; fi
}
json() { printf '%s' "$out" | python3 -c 'import json, sys; d = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }
says() { case $out in *"$1"*) ;; *) fail "it says $out, not $1" ;; esac; }
mount_at() { # DIR OPTIONS
    mounted+=("$1")
    call Success mount "$1" "$2"
}

test_installed_whole() {
    out=$("$FLEX" install "$plugins" "$store")
    says '"Success"'
    [ -x "$driver" ] || fail 'it is not there'
    [ "$(ls -A "$plugins/varve.io~varve" | tr '\n' ' ')" = 'varve varve.conf ' ] || fail "$(ls -A "$plugins/varve.io~varve")"
    grep -qx "store=$store" "$plugins/varve.io~varve/varve.conf" || fail 'varve.conf'
    printf 'varve=%s\n' "$VARVE" >>"$plugins/varve.io~varve/varve.conf"
    "$FLEX" install "$plugins" "$store" >/dev/null || fail again
    sed -i "s,^varve=.*,varve=$VARVE," "$plugins/varve.io~varve/varve.conf"
    out=$("$FLEX" install "$plugins/none" "$store") && fail "$out"
    says PLUGINDIR
}

test_what_it_can() {
    local word
    call Success init
    [ "$(json 'sorted(k for k, v in d["capabilities"].items() if v)')" = "['supportsMetrics']" ] || fail "$out"
    [ "$(json 'len(d["capabilities"])')" = 5 ] || fail "$out"
    for word in attach detach waitforattach isattached mountdevice unmountdevice nonsense ''; do call 'Not supported' $word; done
}

test_mounted_and_unmounted() {
    local m=$scratch/pods/a options='{"volume":"web","size":"64Mi","kubernetes.io/fsType":"","kubernetes.io/readwrite":"rw","kubernetes.io/pod.name":"p","kubernetes.io/secret/password":"hunter2"}'
    mount_at "$m" "$options"
    [ "$(findmnt -no SOURCE "$m")" = "$store/web" ] || fail "$(findmnt "$m")"
    [ "$(df --output=size -B1M "$m" | tail -n 1 | tr -d ' ')" = 64 ] || fail "$(df "$m")"
    echo kept >"$m/f"
    call Success mount "$m" "$options"
    call Success unmount "$m"
    call Success unmount "$m"
    call Success unmount "$scratch/pods/never"
    mountpoint -q "$m" && fail 'it is mounted still'
    mount_at "$m" '{"volume":"web","kubernetes.io/readwrite":"ro"}'
    [ "$(cat "$m/f")" = kept ] || fail bytes
    touch "$m/g" 2>/dev/null && fail 'it can be written'
    call Success unmount "$m"
    grep -q hunter2 "$scratch"/*.log "$store"/log/* && fail 'a secret is in a log'
}

# as the documents say, and as the code of the kubelet does
test_the_group_in_both_spellings() {
    local key n=0 m
    for key in kubernetes.io/fsGroup kubernetes.io/mounterArgs.FsGroup; do
        m=$scratch/pods/g$((++n))
        mount_at "$m" "{\"volume\":\"group$n\",\"create\":\"true\",\"$key\":\"4321\"}"
        [ "$(stat -c '%g %A' "$m" | cut -c1-12)" = '4321 drwxrws' ] || fail "$key: $(stat -c '%g %A' "$m")"
        call Success unmount "$m"
    done
    call Failure mount "$m" '{"volume":"group1","kubernetes.io/fsGroup":"wheel"}'
    says fsGroup
    call Success unmount "$m"
}

test_wrong_words_are_named() {
    local m=$scratch/pods/w
    call Failure mount "$m" 'no JSON'; says JSON
    call Failure mount "$m" '[1]'; says JSON
    call Failure mount "$m" '{}'; says options.volume
    call Failure mount "$m" '{"volume":"none"}'; says 'no volume none'
    call Failure mount "$m" '{"volume":"x","sise":"1Gi"}'; says options.sise
    call Failure mount "$m" '{"volume":"x","size":"large"}'; says options.size
    call Failure mount "$m" '{"volume":"x","size":1}'; says options.size
    call Failure mount "$m" '{"volume":"x","size":"1Gi","control":"all"}'; says control
    call Failure mount "$m" '{"volume":"x","size":"1Gi","control":"admin"}'; says 'cannot give itself admin'
    call Failure mount "$m" '{"volume":"a/b","size":"1Gi"}'; says "volumes' names"
    call Failure mount "$m" '{"volume":"x","size":"1Gi","kubernetes.io/fsType":"ext4"}'; says fsType
    call Failure mount "$m" '{"volume":"x","store":"/nonexistent","size":"1Gi"}'; says /nonexistent
    call Failure mount relative '{"volume":"x","size":"1Gi"}'; says 'mount dir'
    call Failure mount; says 'takes 2'
    call Failure expandvolume '{"volume":"none"}' dev 1 2; says 'no volume'
    mountpoint -q "$m" && fail 'something is mounted'
}

test_a_claims_volume_is_not_to_be_had() {
    local m=$scratch/pods/c options='{"volume":"pvc-claim"}'
    "$VARVE" create "$store/pvc-claim" >/dev/null || fail create
    mkdir -p "$store/csi"
    echo '{"schema": 1, "name": "pvc-claim", "source": "", "parameters": ""}' >"$store/csi/pvc-claim.json"
    call Failure mount "$m" "$options"; says 'is of a claim'
    call Failure expandvolume "$options" "" 134217728 0; says 'is of a claim'
    mountpoint -q "$m" && umount "$m" && fail 'it is mounted'
    rm "$store/csi/pvc-claim.json"
    mount_at "$m" "$options"
    call Success unmount "$m"
}

test_name_and_size() {
    local m=$scratch/pods/s options='{"volume":"grow","size":"64Mi"}'
    call Success getvolumename "$options"
    [ "$(json 'd["volumeName"]')" = "$store/grow" ] || fail "$out"
    mount_at "$m" "$options"
    call Success expandvolume "$options" "" 134217728 67108864
    [ "$(json 'd["volumeNewSize"]')" = 134217728 ] || fail "$out"
    [ "$(df --output=size -B1M "$m" | tail -n 1 | tr -d ' ')" = 128 ] || fail "$(df "$m")"
    call Success expandvolume "$options" "" 100000000 67108864
    [ "$(json 'd["volumeNewSize"]')" = 134217728 ] || fail "smaller: $out"
    call Success expandfs "$options" "" "$m" 134217728 67108864
    call Failure expandvolume "$options" "" huge 0
    call Success unmount "$m"
}

# the whole of varve dies: what is left of the mount goes, or is made anew
test_no_dead_mount_stays() {
    local m=$scratch/pods/d daemon
    mount_at "$m" '{"volume":"dead","create":"true"}'
    echo kept >"$m/f"
    sync "$m/f"
    daemon=$("$VARVE" status "$store/dead" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["daemon_pid"])')
    kill -STOP "$serve_pid"; kill -KILL "$daemon" "$serve_pid"; wait "$serve_pid" 2>/dev/null
    for ((i = 0; i < 200; i++)); do df "$m" >/dev/null 2>&1 || break; sleep 0.02; done
    df "$m" >/dev/null 2>&1 && fail 'it lives'
    call Success unmount "$m"
    findmnt -n "$m" >/dev/null && fail 'it is there still'
    call Failure mount "$m" '{"volume":"dead"}'; says 'varve serve'
    serve_start
    mount_at "$m" '{"volume":"dead"}'
    [ "$(cat "$m/f")" = kept ] || fail bytes
    call Success unmount "$m"
}

all=$(declare -F | sed -n 's/^declare -f test_/test_/p')
for name in test_installed_whole $(grep -vx test_installed_whole <<<"$all"); do
    [ $# -eq 0 ] || [ "$name" = test_installed_whole ] || [[ " $* " == *" $name "* ]] || continue
    failures=0 out=''
    "$name"
    if [ $failures -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); say "FAIL $name"; fi
done
say "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
