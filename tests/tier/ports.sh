#!/bin/bash
# What goes out of repositories and comes in, as people do it: diffs of recovery points, exports, restores into volumes. SCALE=short:
# smaller files. `ports.sh NAME...` runs the named cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/repo.sh"
big=256 # MiB where something is done meanwhile
[ "${SCALE:-full}" = short ] && big=32
[ -z "${SAN:-}" ] || big=32

id_of() { json 'd["recovery_point"]["id"]'; } # of a backup
K() { varve "$@" --key-file "$dir/key"; }

# --- diff ------------------------------------------------------------------------------------------------------------

test_recovery_points_differ_as_their_snapshots() {
    local a b
    new_repo
    new_volume
    some_tree "$dir/m"
    rm "$dir/m/hard" # of what has several names one is told
    ok varve snapshot create "$dir/m" a
    backup --snap a
    a=$(id_of)
    mv "$dir/m/d/e" "$dir/m/moved"
    rm "$dir/m/nothing"
    mkdir "$dir/m/new dir"
    echo new >"$dir/m/new dir/f"
    random 5000 | dd of="$dir/m/d/large" bs=1 seek=200000 conv=notrunc status=none
    chmod 600 "$dir/m/moved/text"
    ok varve snapshot create "$dir/m" b
    backup --snap b
    b=$(id_of)
    ok varve diff "$dir/m" a b
    printf '%s\n' "$out" >"$dir/want"
    ok K backup diff "dir:$dir/r#$a" "${b:0:10}"
    printf '%s\n' "$out" | diff - "$dir/want" >"$dir/log" || fail "$(cat "$dir/log")"
    ok K backup diff "dir:$dir/r#$a" "dir:$dir/r#latest" 'new dir/'
    [ "$out" = "$(grep 'new\\040dir' "$dir/want")" ] || fail "$out"
    ok K backup diff "dir:$dir/r#$a" "$b" --json
    [ "$(json '[d["volume"], d["a"]["name"], d["b"]["id"], d["count"], len(d["entries"])]')" = \
        "['main', 'a', '$b', $(wc -l <"$dir/want"), $(wc -l <"$dir/want")]" ] || fail "$out"
    refused 1 'is in neither' K backup diff "dir:$dir/r#$a" "$b" none
    refused 2 'both must be of one repository' K backup diff "dir:$dir/r#$a" "dir:$dir/other#$b"
    refused 1 'there is no recovery point' K backup diff "dir:$dir/r#$a" 00000000
}

# --- export, import --------------------------------------------------------------------------------------------------

test_exports_come_back_elsewhere() {
    new_repo
    new_volume
    some_tree "$dir/m"
    ok varve snapshot create "$dir/m" a --label of=ports
    backup --snap a
    ok K backup export "dir:$dir/r#latest" "$dir/file"
    has "is in $dir/file"
    [ ! -e "$dir/file.part" ] && [ ! -e "$dir/file.part.d" ] || fail "$(ls "$dir")"
    refused 1 'exists already' K backup export "dir:$dir/r#latest" "$dir/file"
    random 64 >"$dir/key2"
    ok varve repo init "dir:$dir/r2" --key-file "$dir/key2"
    refused 1 'wrong passphrase or key' varve backup import "$dir/file" --to "dir:$dir/r2" --to-key-file "$dir/key2"
    ok varve backup import "$dir/file" --to "dir:$dir/r2" --to-key-file "$dir/key2" --key-file "$dir/key" --json
    [ "$(json 'd["same"], d["base"]')" = '(False, None)' ] || fail "$out"
    ok varve backup import "$dir/file" --to "dir:$dir/r2" --to-key-file "$dir/key2" --key-file "$dir/key"
    has 'has it already'
    ok varve restore "dir:$dir/r2#latest" "$dir/out" --key-file "$dir/key2"
    same_trees "$dir/m" "$dir/out"
    ok varve backup show "dir:$dir/r2#latest" --key-file "$dir/key2"
    has 'label        of=ports'
    ok varve repo verify "dir:$dir/r2" --full --key-file "$dir/key2"
    ok varve backup import "$dir/file" --to "dir:$dir/r" --to-key-file "$dir/key"
    has 'has it already' # it comes from there
}

test_exports_go_through_pipes() {
    new_repo
    new_volume
    some_tree "$dir/m"
    backup
    random 64 >"$dir/key2"
    ok varve repo init "dir:$dir/r2" --key-file "$dir/key2"
    ok env TMPDIR="$dir" sh -c '"$0" backup export "dir:$1/r#latest" - --key-file "$1/key" --to-key-file "$1/key2" |
        tee "$1/seen" | "$0" backup import - --to "dir:$1/r2" --to-key-file "$1/key2"' "$VARVE" "$dir"
    ok varve restore "dir:$dir/r2#latest" "$dir/out" --key-file "$dir/key2"
    same_trees "$dir/m" "$dir/out"
    ok varve backup import "$dir/seen" --to "dir:$dir/r2" --to-key-file "$dir/key2"
    has 'has it already'
    head -c 200000 "$dir/seen" >"$dir/cut"
    refused 1 'ends too early' varve backup import - --to "dir:$dir/r2" --to-key-file "$dir/key2" <"$dir/cut"
    refused 1 'is no export' varve backup import "$dir/key" --to "dir:$dir/r2" --to-key-file "$dir/key2"
    [ -z "$(find "$dir" -maxdepth 1 -name 'varve-*')" ] || fail "left: $(ls "$dir")"
}

# A killed export goes on with what it has written
test_an_export_is_killed() {
    local pid i had size=$((big > 64 ? big : 64))
    new_repo
    new_volume
    random $((size * 1048576)) >"$dir/m/f"
    backup
    "$VARVE" backup export "dir:$dir/r#latest" "$dir/file" --key-file "$dir/key" >/dev/null 2>&1 &
    pid=$!
    for ((i = 0; i < 2000; i++)); do
        [ "$(stat -c %s "$dir/file.part" 2>/dev/null || echo 0)" -lt 17000000 ] || break
        sleep 0.005
    done
    kill -9 $pid
    wait $pid 2>/dev/null
    had=$(stat -c %s "$dir/file.part") || fail 'it was through already'
    ok K backup export "dir:$dir/r#latest" "$dir/file" --json
    say "    killed at $((had / 1048576)) of $size MiB, sent then: $(json 'd["sent_bytes"] >> 20') MiB"
    [ "$(json 'd["sent_bytes"]')" -lt $((size * 1048576 - 15000000)) ] || fail "sent again: $out"
    [ "$(json 'd["file_bytes"]')" -lt $(((size + 18) * 1048576)) ] || fail "$out"
    random 64 >"$dir/key2"
    ok varve repo init "dir:$dir/r2" --key-file "$dir/key2"
    ok varve backup import "$dir/file" --to "dir:$dir/r2" --to-key-file "$dir/key2" --key-file "$dir/key"
    ok varve restore "dir:$dir/r2#latest" "$dir/out" --key-file "$dir/key2"
    cmp "$dir/out/f" "$dir/m/f" || fail 'other bytes'
}

# Damage in the file, and in the repository, is named with the file that it hurts, and nothing comes of it
test_damage_of_exports_is_named() {
    new_repo
    new_volume
    mkdir "$dir/m/d"
    random 3000000 >"$dir/m/d/hurt"
    backup
    ok K backup export "dir:$dir/r#latest" "$dir/file"
    printf '\377\377' | dd of="$dir/file" bs=1 seek=1500000 conv=notrunc status=none
    random 64 >"$dir/key2"
    ok varve repo init "dir:$dir/r2" --key-file "$dir/key2"
    refused 1 '/d/hurt' varve backup import "$dir/file" --to "dir:$dir/r2" --to-key-file "$dir/key2" --key-file "$dir/key"
    grep -q 'nothing was imported' "$scratch/err" || fail "$(cat "$scratch/err")"
    [ -z "$(ls "$dir/r2/points" 2>/dev/null)" ] || fail 'there is a recovery point'
    printf '\377\377' | dd of="$(find "$dir/r/packs" -type f -size +1M)" bs=1 seek=1500000 conv=notrunc status=none
    refused 1 'damaged: /d/hurt' K backup export "dir:$dir/r#latest" "$dir/file2"
    [ ! -e "$dir/file2" ] || fail 'a damaged export'
}

# --- plain exports ---------------------------------------------------------------------------------------------------

plain() { ok varve export "$dir/m@$1" "dir:$dir/p" --plain --json "${@:2}"; }

test_plain_exports() {
    new_volume
    some_tree "$dir/m"
    random $((big * 300000)) >"$dir/m/Large File" # more than is kept in memory
    mkdir "$dir/m/$(printf 'x\377')"
    echo odd >"$dir/m/$(printf 'x\377/y')"
    ok varve snapshot create "$dir/m" a
    plain a
    [ "$(json 'd["export"]["number"], d["export"]["put"] == d["export"]["files"]')" = '(1, True)' ] || fail "$out"
    plain_is a
    [ -e "$dir/p/files/_4carge_20_46ile" ] || fail "$(ls "$dir/p/files")"
    echo more >>"$dir/m/d/e/text"
    mv "$dir/m/d/e/f" "$dir/m/moved"
    rm "$dir/m/nothing"
    ok varve snapshot create "$dir/m" b
    plain b
    [ "$(json 'd["export"]["put"], d["export"]["gone"]')" = '(61, 61)' ] || fail "$out"
    plain_is b
    plain b --delete
    [ "$(json 'd["export"]["put"], d["export"]["deleted"]')" = '(0, 61)' ] || fail "$out"
    [ ! -e "$dir/p/files/nothing" ] || fail 'what is gone is there'
    plain a --delete --base b
    plain_is a
    refused 2 'say --plain' varve export "$dir/m@a" "dir:$dir/p"
    refused 2 'a snapshot is missing' varve export "$dir/m" "dir:$dir/p" --plain
    refused 2 'the last export there is number 4, of a' varve export "$dir/m@a" "dir:$dir/p" --plain --base b
    new_repo
    refused 1 'a repository lies there' varve export "$dir/m@a" "dir:$dir/r" --plain
    echo "export plain=yes snap=b url=\"dir:$dir/p\"" >"$dir/m/.snapshots/.control/backup" || fail 'refused'
}

# The daemon dies in the middle: the next one goes on, and who waits is answered
test_a_plain_export_is_killed() {
    local pid i
    new_volume
    for i in $(seq 1 $((big / 4))); do random 4000000 >"$dir/m/$i"; done
    ok varve snapshot create "$dir/m" a
    "$VARVE" export "$dir/m@a" "dir:$dir/p?bandwidth=16M" --plain --json >"$dir/log" 2>&1 &
    pid=$!
    for ((i = 0; i < 2000; i++)); do
        [ "$(ls "$dir/p/files" 2>/dev/null | wc -l)" -lt 3 ] || break
        sleep 0.005
    done
    ok varve status "$dir/m" --json
    kill -9 "$(json 'd["daemon_pid"]')"
    wait $pid || fail "$(cat "$dir/log")"
    out=$(cat "$dir/log")
    [ "$(json 'd["export"]["resumed"], d["export"]["put"] < d["export"]["files"]')" = '(1, True)' ] || fail "$out"
    plain_is a
}

# --- attachments -----------------------------------------------------------------------------------------------------

test_attachments_travel_along() {
    new_repo
    new_volume
    echo hello >"$dir/m/f"
    random 500000 >"$dir/pod.yaml"
    : >"$dir/nothing"
    backup --attach "$dir/pod.yaml" --attach "state=$dir/nothing" --label host=a --label of=me
    ok K backup show "dir:$dir/r#latest" --json
    [ "$(json '[(a["name"], a["bytes"]) for a in d["recovery_point"]["attachments"]], d["recovery_point"]["labels"]["of"]')" = \
        "([('pod.yaml', 500000), ('state', 0)], 'me')" ] || fail "$out"
    ok K backup show "dir:$dir/r#latest"
    has 'attached     pod.yaml'
    ok K restore "dir:$dir/r#latest" --attachments "$dir/att"
    has '2 attachments'
    cmp "$dir/att/pod.yaml" "$dir/pod.yaml" && [ -e "$dir/att/state" ] || fail 'other bytes'
    refused 1 'exists already' K restore "dir:$dir/r#latest" --attachments "$dir/att"
    restore latest "$dir/out"
    [ "$(ls "$dir/out")" = f ] || fail "$(ls "$dir/out")"
    ok K backup export "dir:$dir/r#latest" "$dir/file"
    random 64 >"$dir/key2"
    ok varve repo init "dir:$dir/r2" --key-file "$dir/key2"
    ok varve backup import "$dir/file" --to "dir:$dir/r2" --to-key-file "$dir/key2" --key-file "$dir/key"
    ok varve restore "dir:$dir/r2#latest" --attachments "$dir/att2" --key-file "$dir/key2"
    cmp "$dir/att2/pod.yaml" "$dir/pod.yaml" || fail 'other bytes in the copy'
    backup
    ok K backup show "dir:$dir/r#latest" --json
    [ "$(json 'd["recovery_point"]["attachments"]')" = '[]' ] || fail "$out"
    random 1100000 >"$dir/large"
    refused 1 'is too large' K backup run "$dir/m" --to "dir:$dir/r" --attach "$dir/large"
    refused 1 'there is no such file' K backup run "$dir/m" --to "dir:$dir/r" --attach "$dir/none"
    refused 1 'the name is there twice' K backup run "$dir/m" --to "dir:$dir/r" --attach "$dir/pod.yaml" --attach "$dir/pod.yaml"
    refused 2 'DEST is missing' K restore "dir:$dir/r#latest"
}

# --- control files ---------------------------------------------------------------------------------------------------

# control FILE LINE: said, and its job waited for; what the job says is $out
control() {
    echo "$2" >"$dir/m/.snapshots/.control/$1" || { fail "$1 refuses: $2: $(cat "$dir/m/.snapshots/.control/error")"; return; }
    ok varve job list "$dir/m" --json
    ok varve job wait "$dir/m" "$(json 'max(j["id"] for j in d["jobs"])')"
}
# control_refused FILE LINE WORDS
control_refused() {
    (echo "$2" >"$dir/m/.snapshots/.control/$1") 2>/dev/null && fail "$1 takes: $2"
    grep -q "$3" "$dir/m/.snapshots/.control/error" || fail "$(cat "$dir/m/.snapshots/.control/error")"
}

test_control_files_say_the_same() {
    new_repo
    new_volume
    some_tree "$dir/m"
    control repos "add one url=\"dir:$dir/r\" key-file=\"$dir/key\""
    grep -q "dir:$dir/r" "$dir/m/.snapshots/.control/repos" || fail "$(cat "$dir/m/.snapshots/.control/repos")"
    out=$(cat "$dir/m/.snapshots/.control/repos.json")
    [ "$(json 'd["repositories"][0]["name"]')" = one ] || fail "$out"
    control backup 'run to=one'
    control repos 'verify one full'
    has sound
    control backup 'list one'
    has main
    control backup 'show one#latest'
    has 'volume       main'
    mkdir "$dir/m/back"
    control restore 'restore one#latest to=d/e/text to=/back'
    cmp "$dir/m/back/text" "$dir/m/d/e/text" || fail 'not restored'
    grep -q '1 files' "$dir/m/.snapshots/.control/restore" || fail "$(cat "$dir/m/.snapshots/.control/restore")"
    echo 'restore one#latest to=back' >"$dir/m/.snapshots/.control/restore"
    ok varve job list "$dir/m" --json
    refused 1 'is not empty' varve job wait "$dir/m" "$(json 'max(j["id"] for j in d["jobs"])')"
    control_refused restore 'restore one#latest to=../x' 'without ..'
    control_refused restore 'restore one#latest' 'write to=DIR'
    control_refused restore "restore one#latest to=x attachments=\"$dir/att\"" 'write to=DIR'
    chown 12345 "$dir/m"
    out=$(setpriv --reuid 12345 --clear-groups sh -c 'echo "restore one#latest to=stolen" >"$1/m/.snapshots/.control/restore"' - "$dir" 2>&1) && fail 'somebody restores as root'
    grep -q 'for root and the user of the daemon' "$dir/m/.snapshots/.control/error" || fail "$(cat "$dir/m/.snapshots/.control/error")"
    [ ! -e "$dir/m/stolen" ] || fail 'stolen'
    control repos 'remove one'
}

test_a_restore_of_a_control_file_is_cancelled() {
    local id
    new_repo
    new_volume
    random $((big * 1048576)) >"$dir/m/f"
    backup
    echo "restore point=\"dir:$dir/r?bandwidth=8M#latest\" key-file=\"$dir/key\" to=out" >"$dir/m/.snapshots/.control/restore" || fail 'refused'
    ok varve job list "$dir/m" --json
    id=$(json 'max(j["id"] for j in d["jobs"])')
    ok varve job cancel "$dir/m" "$id"
    refused 1 cancelled varve job wait "$dir/m" "$id"
    [ ! -e "$dir/m/out/f" ] || fail 'it was through'
}

# --- restores ---------------------------------------------------------------------------------------------------------

# A tree and what was changed in it since it was backed up: two files others, one gone, one that is not in the recovery point
changed_tree() {
    new_repo
    new_volume
    some_tree "$dir/m"
    backup
    cp -a --sparse=always "$dir/m/." "$dir/was"
    echo other >"$dir/m/d/e/f/5"
    random 300000 >"$dir/m/d/large"
    rm "$dir/m/link"
    echo mine >"$dir/m/d/mine"
    ok varve snapshot create "$dir/m" changed --sync
}
# into DEST: everything over what is there; then it is as it was, but for what is not in the recovery point
over() {
    refused 1 'is not empty' varve restore "dir:$dir/r#latest" "$1" --key-file "$dir/key" "${@:2}"
    refused 1 'exists already and is another' varve restore "dir:$dir/r#latest" "$1" --key-file "$dir/key" --resume "${@:2}"
    restore latest "$1" --overwrite --resume --json "${@:2}"
}

test_restores_into_a_mounted_volume() {
    changed_tree
    over "$dir/s/main"
    [ "$(json 'd["replaced"] in (2, 3) and d["same"] > 50')" = True ] || fail "$out"
    [ "$(cat "$dir/m/d/mine")" = mine ] || fail 'what is not in the recovery point is gone'
    rm "$dir/m/d/mine"
    touch -r "$dir/was/d" "$dir/m/d"
    same_trees "$dir/m" "$dir/was"
    mkdir "$dir/m/back"
    restore latest d/e/text "$dir/s/main:back"
    cmp "$dir/m/back/text" "$dir/was/d/e/text" || fail 'a single file'
    refused 1 'exists already; --overwrite' varve restore "dir:$dir/r#latest" d/e/text "$dir/s:back" --key-file "$dir/key"
    restore latest d "$dir/s/main:back/new"
    diff -r "$dir/m/back/new/d" "$dir/was/d" >"$dir/log" || fail "$(cat "$dir/log")"
    refused 1 'volume' varve restore "dir:$dir/r#latest" "$dir/s/none" --key-file "$dir/key"
    mkdir "$dir/outside"
    ln -s "$dir/outside" "$dir/m/way"
    refused 1 'leads out of the volume' varve restore "dir:$dir/r#latest" "$dir/s/main:way" --key-file "$dir/key"
    refused 1 'leads out of the volume' varve restore "dir:$dir/r#latest" "$dir/s/main:way/new" --key-file "$dir/key"
    refused 1 'leads out of the volume' varve restore "dir:$dir/r#latest" "$dir/s/main:../x" --key-file "$dir/key"
    [ -z "$(ls "$dir/outside")" ] || fail 'restored outside of the volume'
    refused 1 'does not exist' varve restore "dir:$dir/r#latest" "$dir/s/main:none/new" --key-file "$dir/key"
}

# One that nobody has mounted; and nothing is left mounted
test_restores_into_a_volume_at_rest() {
    changed_tree
    ok varve umount "$dir/m"
    over "$dir/s/main"
    restore latest "$dir/s/main:again"
    ! grep -q varve-into /proc/self/mounts || fail 'left mounted'
    [ -z "$(ls -d /var/tmp/varve-into.* 2>/dev/null)" ] || fail 'left a directory'
    ok varve create "$dir/s/second"
    restore latest "$dir/s/second"
    ok varve mount "$dir/s" "$dir/m"
    same_trees "$dir/m/again" "$dir/was"
    mkdir "$dir/m2"
    mounted+=("$dir/m2")
    ok varve mount "$dir/s/second" "$dir/m2"
    same_trees "$dir/m2" "$dir/was"
    ok varve umount "$dir/m2"
    ok varve umount "$dir/m"
    ok varve check "$dir/s"
}

# Killed in the middle, it goes on: what is whole stays, what was begun is not read again
test_a_restore_is_killed() {
    local pid i
    new_repo
    new_volume
    for i in $(seq 1 $((big / 8))); do random 4000000 >"$dir/m/$i"; done
    random $((big * 1048576 / 2)) >"$dir/m/z"
    backup
    "$VARVE" restore "dir:$dir/r?bandwidth=32M#latest" "$dir/out" --key-file "$dir/key" >/dev/null 2>&1 &
    pid=$!
    for ((i = 0; i < 2000; i++)); do
        [ "$(ls "$dir/out" 2>/dev/null | wc -l)" -lt $((big / 16)) ] || break
        sleep 0.005
    done
    kill -9 $pid
    wait $pid 2>/dev/null
    [ "$(ls "$dir/out" | wc -l)" -lt "$(ls "$dir/m" | wc -l)" ] || fail 'it was through already'
    for i in "$dir/out"/*; do cmp "$i" "$dir/m/${i##*/}" || fail 'a file that is not whole has its name'; done
    refused 1 'is not empty' varve restore "dir:$dir/r#latest" "$dir/out" --key-file "$dir/key"
    restore latest "$dir/out" --resume --json
    [ "$(json 'd["same"] > 0 and d["bytes"] < '$((big * 1048576 - 4000000)))" = True ] || fail "$out"
    same_trees "$dir/m" "$dir/out"
}

test_flags_and_reserved_space_come_back() {
    new_repo
    new_volume
    fallocate -l 3000000 "$dir/m/reserved" || fail 'fallocate'
    printf x | dd of="$dir/m/reserved" bs=1 seek=1000000 conv=notrunc status=none
    fallocate -n -o 0 -l 8000000 "$dir/m/beyond"
    backup
    restore latest "$dir/out"
    cmp "$dir/m/reserved" "$dir/out/reserved" || fail 'other bytes'
    [ "$(stat -c '%s %b' "$dir/out/reserved")" = "$(stat -c '%s %b' "$dir/m/reserved")" ] || fail "$(stat -c '%n %s %b' "$dir"/{out,m}/reserved)"
    [ "$(stat -c '%s %b' "$dir/out/beyond")" = "$(stat -c '%s %b' "$dir/m/beyond")" ] || fail "$(stat -c '%n %s %b' "$dir"/{out,m}/beyond)"
}

# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(all_cases)
# By a rule, and had back: the same id, the same bytes, also after a prune.
test_recovery_points_expire_and_come_back() {
    local gone
    mkdir -p "$dir"
    random 64 >"$dir/key"
    ok varve repo init "dir:$dir/r" --key-file "$dir/key"
    new_volume
    for i in 1 2 3 4; do
        random 300000 >"$dir/m/f$i"
        ok varve snapshot create "$dir/m" "s$i"
        ok varve backup run "$dir/m@s$i" --to "dir:$dir/r" --key-file "$dir/key"
    done
    list() { ok varve backup list "dir:$dir/r" --key-file "$dir/key" --json && json '" ".join(p["snapshot"] for p in d["recovery_points"])'; }
    ok varve backup expire "dir:$dir/r" --key-file "$dir/key" --keep 2 --dry-run --json
    [ "$(json '[p["snapshot"] for p in d["would_be_deleted"]]')" = "['s1', 's2']" ] || fail "$out"
    ok varve backup expire "dir:$dir/r" --key-file "$dir/key" --keep 1 --older 1d
    has 'nothing to delete'
    [ "$(list)" = 's1 s2 s3 s4' ] || fail "$out"
    refused 2 'say what stays' varve backup expire "dir:$dir/r" --key-file "$dir/key"
    ok varve backup expire "dir:$dir/r" --key-file "$dir/key" --keep 2 --undo 7d --json
    gone=$(json '[p["id"] for p in d["deleted"] if p["snapshot"] == "s1"][0]')
    [ "$(list)" = 's3 s4' ] || fail "$out"
    ok varve repo prune "dir:$dir/r" --key-file "$dir/key" --exclusive
    ok varve repo pins "dir:$dir/r" --key-file "$dir/key"
    has 'no volume relies on it'
    ok varve backup undelete "dir:$dir/r" --key-file "$dir/key"
    has s1
    ok varve backup undelete "dir:$dir/r" "${gone:0:12}" --key-file "$dir/key"
    [ "$(list)" = 's1 s3 s4' ] || fail "$out"
    ok varve restore "dir:$dir/r#$gone" --key-file "$dir/key" "$dir/out"
    cmp "$dir/out/f1" "$dir/m/f1" || fail "restored"
    refused - 'can be had back' varve backup undelete "dir:$dir/r" "${gone:0:12}" --key-file "$dir/key"
    ok varve repo verify "dir:$dir/r" --key-file "$dir/key" --full
}

run_cases "$@"
suite_end
