#!/bin/bash
# The repository: the C program beside this, then backup and restore as people do it. SCALE=short: smaller files. `run.sh NAME...` runs
# the named cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/repo.sh"
big=1024
load=160 # MiB where something is done meanwhile
[ "${SCALE:-full}" = short ] && big=64 load=64
[ -z "${SAN:-}" ] || big=32

test_trees_come_back() {
    new_repo
    new_volume
    some_tree "$dir/m"
    backup
    first=$(json 'd["recovery_point"]["id"]')
    restore "$first" "$dir/out"
    same_trees "$dir/m" "$dir/out"
    cp -a "$dir/out" "$dir/before"
    rm -r "$dir/m/d/e/f" "$dir/m/nothing"
    mv "$dir/m/d/e" "$dir/m/moved"
    truncate -s 1000 "$dir/m/d/large"
    random 5000 >>"$dir/m/holes"
    setfattr -x user.note "$dir/m/d"
    chmod 600 "$dir/m/moved/text"
    backup
    [ "$(json 'd["recovery_point"]["base"]')" = "$first" ] || fail 'not made from the one before'
    restore latest "$dir/out2"
    same_trees "$dir/m" "$dir/out2"
    restore "${first:0:10}" "$dir/out3"
    same_trees "$dir/before" "$dir/out3"
    restore latest moved/text d/large "$dir/some"
    cmp "$dir/some/text" "$dir/m/moved/text" && cmp "$dir/some/large" "$dir/m/d/large" || fail 'single files'
    verify --full
    has sound
    ok varve backup list "dir:$dir/r" --key-file "$dir/key" --json
    [ "$(json 'len(d["recovery_points"])')" = 2 ] || fail "$out"
}

test_ten_bytes_of_a_large_file() {
    local sent
    new_repo
    new_volume
    random $((big * 1048576)) >"$dir/m/db"
    sync "$dir/m/db"
    backup
    printf 0123456789 | dd of="$dir/m/db" bs=1 seek=$((big * 524288 + 4090)) conv=notrunc status=none
    backup
    sent=$(json 'd["recovery_point"]["sent_bytes"]')
    [ "$sent" -lt 65536 ] || fail "$sent bytes sent"
    [ "$(json 'd["recovery_point"]["read_bytes"]')" = 8192 ] || fail "$(json 'd["recovery_point"]["read_bytes"]') bytes read"
    say "    $big MiB, 10 bytes changed: $sent bytes sent"
    restore latest "$dir/out"
    cmp "$dir/out/db" "$dir/m/db" || fail 'other bytes'
}

test_a_repository_in_a_directory_loads_nothing_of_the_network() {
    local needs
    needs=$(readelf -d "$VARVE_TIERD" | grep NEEDED) || fail 'no readelf'
    grep -q libcrypto <<<"$needs" || fail "$needs"
    ! grep -qE 'curl|rados|gnutls|ssl' <<<"$needs" || fail "$needs"
}

test_another_program_reads_by_the_format_page() {
    read_repo_python || return
    mkdir -p "$dir"
    printf 'correct horse\n' >"$dir/pass"
    ok varve repo init "dir:$dir/r" --passphrase-file "$dir/pass"
    new_volume
    some_tree "$dir/m"
    random 3000000 >"$dir/m/d/db"
    ok varve backup run "$dir/m" --to "dir:$dir/r" --passphrase-file "$dir/pass" --compression lz4
    refused 2 'zstd or lz4' varve backup run "$dir/m" --to "dir:$dir/r" --passphrase-file "$dir/pass" --compression gzip
    seq 100000 >"$dir/m/d/numbers"
    random 9000 | dd of="$dir/m/d/db" bs=1 seek=1500000 conv=notrunc status=none
    truncate -s 2500000 "$dir/m/d/db"
    VARVE_PASSPHRASE='correct horse' ok varve backup list "dir:$dir/r"
    ok varve backup run "$dir/m" --to "dir:$dir/r" --passphrase-file "$dir/pass"
    for f in d/db d/numbers d/e/text d/e/f/33 d/large nothing holes; do
        ok "$py" "$here/read_repo.py" "$dir/r" "@$dir/pass" latest "$f" "$dir/got"
        cmp "$dir/got" "$dir/m/$f" || fail "$f differs"
    done
    [ "$(wc -l <"$here/read_repo.py")" -le 200 ] || fail 'the program is longer than 200 lines'
    refused 1 'wrong passphrase or key' env VARVE_PASSPHRASE=wrong "$VARVE" repo show "dir:$dir/r"
    refused 1 'no passphrase: give' varve repo show "dir:$dir/r"
}

test_a_domain_of_its_own_is_shredded_alone() {
    local first own id
    read_repo_python || return
    new_repo
    new_volume
    some_tree "$dir/m"
    backup
    first=$(json 'd["recovery_point"]["id"]')
    refused 2 'own or shared' varve backup run "$dir/m" --to "dir:$dir/r" --key-file "$dir/key" --domain mine
    backup --domain own
    [ "$(json 'd["recovery_point"]["base"] or "none"')" = none ] || fail 'made from one of another domain'
    echo more >"$dir/m/more"
    backup
    own=$(json 'd["recovery_point"]["id"]')
    ok varve repo domains "dir:$dir/r" --key-file "$dir/key" --json
    id=$(json '[x["id"] for x in d["domains"] if x["own"] and x["recovery_points"] == 2][0]')
    ok varve repo domains "dir:$dir/r" --key-file "$dir/key"
    has "${id:0:12}  own"
    restore "$own" "$dir/out"
    same_trees "$dir/m" "$dir/out"
    ok "$py" "$here/read_repo.py" "$dir/r" "$dir/key" "$own" d/large "$dir/got"
    cmp "$dir/got" "$dir/m/d/large" || fail 'another program reads other bytes'
    ok varve repo verify "dir:$dir/r" --key-file "$dir/key" --full
    ok varve backup export "dir:$dir/r#$own" "$dir/file" --key-file "$dir/key"
    mkdir "$dir/i"
    mounted+=("$dir/i")
    ok varve mount --from "dir:$dir/r#$own" --key-file "$dir/key" --no-hydrate "$dir/i"
    refused 1 'reads from it what it has not here' varve repo shred "dir:$dir/r" "${id:0:8}" --key-file "$dir/key"
    cmp "$dir/i/d/large" "$dir/m/d/large" || fail 'other bytes on demand'
    ok varve umount "$dir/i"
    ok varve tier release "$dir/m" "dir:$dir/r" --key-file "$dir/key"
    ok cmp "$dir/m/d/large" "$dir/got"
    random 2000000 >"$dir/m/new"
    backup
    ok varve tier release "$dir/m" "dir:$dir/r" --key-file "$dir/key"
    refused 1 'reads from it what it has not here' varve repo shred "dir:$dir/r" "${id:0:8}" --key-file "$dir/key"
    refused 2 'all volumes without' varve repo shred "dir:$dir/r" \
        "$(ls "$dir/r/domains" | grep -v "$id")" --key-file "$dir/key"
    refused 1 'no domain and no volume' varve repo shred "dir:$dir/r" 00000000 --key-file "$dir/key"
    ok varve repo shred "dir:$dir/r" "${id:0:8}" --force --key-file "$dir/key"
    has '3 recovery points: nothing can read it any more'
    refused 1 'there is no recovery point' varve restore "dir:$dir/r#$own" --key-file "$dir/key" "$dir/out2"
    ok varve repo domains "dir:$dir/r" --key-file "$dir/key"
    has "${id:0:12}  shredded"
    ok varve repo verify "dir:$dir/r" --key-file "$dir/key" --full
    has 'of domains that were shredded'
    ok varve repo prune "dir:$dir/r" --exclusive --key-file "$dir/key"
    ok varve repo verify "dir:$dir/r" --key-file "$dir/key" --full
    grep -q shredded <<<"$out" && fail 'what was shredded was not pruned'
    restore "$first" "$dir/out3"
    ok varve backup import "$dir/file" --to "dir:$dir/r" --to-key-file "$dir/key" --key-file "$dir/key"
    restore latest "$dir/out4"
    same_trees "$dir/out" "$dir/out4"
    ok varve repo domains "dir:$dir/r" --key-file "$dir/key" --json
    [ "$(json 'len([x for x in d["domains"] if x["own"] and not x["shredded"]])')" = 1 ] || fail 'what was exported did not stay apart'
}

test_names_of_repositories() {
    new_repo
    ok varve repo add off "dir:$dir/r" --key-file "$dir/key"
    refused 1 'exists already' varve repo add off "dir:$dir/r"
    refused 1 'cannot be a name' varve repo add 'a/b' "dir:$dir/r"
    refused 2 'is no URL of a repository' varve repo add x ftp://x
    ok varve repo list
    has "dir:$dir/r"
    ok varve repo show off
    has 'recovery points  0'
    ok varve repo test off
    has 'off works'
    [ ! -e "$dir/r/test" ] || [ -z "$(ls "$dir/r/test")" ] || fail 'the test left something'
    new_volume
    echo hello >"$dir/m/f"
    ok varve snapshot create "$dir/m" now
    ok varve backup run "$dir/s/main@now" --to off
    ok varve backup show off#latest
    has 'snapshot     now'
    ok varve backup run "$dir/m" --snap now --to off
    has 'is in'
    refused 1 'snapshot none' varve backup run "$dir/m" --snap none --to off
    refused 1 'there is no repository of this name' varve backup run "$dir/m" --to of
    refused 1 'there is no recovery point' varve restore off#00000000 "$dir/x"
    refused 2 'is no recovery point' varve restore off#1 "$dir/x"
    refused 2 'which recovery point is missing' varve restore off "$dir/x"
    refused 1 'there is a repository already' varve repo init off
    refused 1 'there is no repository here' varve repo show "dir:$dir/m" --key-file "$dir/key"
    refused 1 'does not exist' varve repo show "dir:$dir/nowhere" --key-file "$dir/key"
    ok varve repo remove off
    refused 1 'there is no repository of this name' varve repo show off
}

test_prune_and_delete() {
    local first second third
    new_repo
    new_volume
    random 30000000 >"$dir/m/old"
    backup
    first=$(json 'd["recovery_point"]["id"]')
    rm "$dir/m/old"
    some_tree "$dir/m"
    backup
    second=$(json 'd["recovery_point"]["id"]')
    prune() { ok varve repo prune "dir:$dir/r" --key-file "$dir/key" --json "$@"; }
    prune --exclusive
    [ "$(json 'd["deleted_packs"]')" = 0 ] || fail "deleted what is needed: $out"
    refused 2 '1h at least' varve repo prune "dir:$dir/r" --key-file "$dir/key" --grace 5m
    refused 2 'write which one' varve backup delete "dir:$dir/r#latest" --key-file "$dir/key"
    ok varve backup delete "dir:$dir/r#${first:0:10}" --key-file "$dir/key"
    refused 1 'there is no recovery point' varve backup delete "dir:$dir/r#$first" --key-file "$dir/key"
    prune --dry-run --exclusive
    [ "$(json 'd["condemned_packs"]')" -gt 0 ] || fail "nothing would go: $out"
    prune
    [ "$(json 'd["young_bytes"]')" -gt 25000000 ] || fail "$out"
    [ "$(json 'd["condemned_packs"]')" = 0 ] || fail "$out"
    find "$dir/r/packs" "$dir/r/index" -type f -exec touch -d '2 hours ago' {} +
    prune
    [ "$(json 'd["condemned_packs"]')" -gt 0 ] || fail "$out"
    [ "$(json 'd["deleted_packs"]')" = 0 ] || fail "deleted without a grace: $out"
    random 10000 >"$dir/m/third"
    backup # with a list about
    third=$(json 'd["recovery_point"]["id"]')
    find "$dir/r/condemned" -type f -exec touch -d '2 hours ago' {} +
    prune --grace 1h
    [ "$(json 'd["deleted_packs"]')" -gt 0 ] || fail "$out"
    [ "$(repo_bytes "$dir/r")" -lt 5000000 ] || fail "$(repo_bytes "$dir/r") bytes are left"
    verify --full
    for p in "$second" "$third"; do
        restore "$p" "$dir/out-$p"
    done
    same_trees "$dir/m" "$dir/out-$third"
}

test_copy_and_status() {
    local there
    new_repo
    new_volume
    some_tree "$dir/m"
    random 3000000 >"$dir/m/db"
    backup
    random 64 >"$dir/key2"
    copy() { ok varve backup copy "$1" "$2" --key-file "$dir/key" --to-key-file "$dir/key2" --json; }
    ok varve repo init "dir:$dir/r2" --key-file "$dir/key2"
    copy "dir:$dir/r#latest" "dir:$dir/r2"
    there=$(json 'd["id"]')
    printf x | dd of="$dir/m/db" bs=1 seek=1000000 conv=notrunc status=none
    backup
    copy "dir:$dir/r#latest" "dir:$dir/r2"
    [ "$(json 'd["base"]')" = "$there" ] || fail "not from the one both have: $out"
    [ "$(json 'd["sent_bytes"]')" -lt 40000 ] || fail "sent $out"
    ok varve backup copy "dir:$dir/r#latest" "dir:$dir/r2" --key-file "$dir/key" --to-key-file "$dir/key2"
    has 'has it already'
    refused 2 'are the same repository' varve backup copy "dir:$dir/r#latest" "dir:$dir/r" --key-file "$dir/key" --to-key-file "$dir/key"
    ok varve restore "dir:$dir/r2#latest" --key-file "$dir/key2" "$dir/out"
    same_trees "$dir/m" "$dir/out"
    ok varve repo add one "dir:$dir/r" --key-file "$dir/key"
    ok varve repo add two "dir:$dir/r2" --key-file "$dir/key2"
    ok varve backup status --json
    [ "$(json '[(v["volume"], v["copies"], v["recovery_points"], v["three_two_one"], v["age_seconds"] < 600) for v in d["volumes"]]')" = "[('main', 3, 4, False, True)]" ] || fail "$out"
    rm -r "$dir/r2"
    refused 1 'two: ' varve backup status
    has main
    ok varve repo remove one
    ok varve repo remove two
    refused 1 'no repositories' varve backup status
}

test_keys_of_a_repository() {
    local id
    new_repo
    random 64 >"$dir/second"
    echo 'correct horse' >"$dir/pass"
    ok varve repo key add "dir:$dir/r" --key-file "$dir/key" --new-key-file "$dir/second" --json
    id=$(json 'd["added"]')
    ok varve repo show "dir:$dir/r" --key-file "$dir/second"
    ok varve repo key rotate "dir:$dir/r" --key-file "$dir/key" --new-passphrase-file "$dir/pass"
    refused 1 'wrong passphrase or key' varve repo show "dir:$dir/r" --key-file "$dir/key"
    ok varve repo key list "dir:$dir/r"
    has passphrase
    has "${id:0:12}"
    refused 1 'so that nobody is locked out' varve repo key remove "dir:$dir/r" "$id" --key-file "$dir/second"
    ok varve repo key remove "dir:$dir/r" "$id" --passphrase-file "$dir/pass"
    refused 1 'wrong passphrase or key' varve repo show "dir:$dir/r" --key-file "$dir/second"
    refused 2 'none of list, add' varve repo key lose "dir:$dir/r" --passphrase-file "$dir/pass"
}

test_indexes_made_anew_and_samples() {
    new_repo
    new_volume
    some_tree "$dir/m"
    backup
    ok varve repo unlock "dir:$dir/r"
    ok varve repo verify "dir:$dir/r" --key-file "$dir/key" --sample 100
    has '100.0 %'
    refused 2 'write percents' varve repo verify "dir:$dir/r" --key-file "$dir/key" --sample 0
    find "$dir/r/index" -type f -exec dd if=/dev/zero of={} bs=1 seek=90 count=8 conv=notrunc status=none \;
    refused 4 'verify --repair' varve repo verify "dir:$dir/r" --key-file "$dir/key"
    refused 1 'verify --repair' varve repo prune "dir:$dir/r" --key-file "$dir/key"
    ok varve repo verify "dir:$dir/r" --key-file "$dir/key" --repair --full
    has '1 damaged ones removed'
    restore latest "$dir/out"
    same_trees "$dir/m" "$dir/out"
}

test_a_damaged_list_is_told_and_removed() {
    new_repo
    new_volume
    random 3000000 >"$dir/m/f"
    backup
    ok varve backup delete "dir:$dir/r#$(json 'd["recovery_point"]["id"]')" --key-file "$dir/key"
    find "$dir/r/packs" "$dir/r/index" -type f -exec touch -d '2 hours ago' {} +
    ok varve repo prune "dir:$dir/r" --key-file "$dir/key"
    find "$dir/r/condemned" -type f -exec dd if=/dev/zero of={} bs=1 seek=90 count=8 conv=notrunc status=none \;
    refused 1 'verify --repair removes it' varve backup run "$dir/m" --to "dir:$dir/r" --key-file "$dir/key"
    refused 1 'verify --repair removes it' varve repo prune "dir:$dir/r" --key-file "$dir/key"
    refused 4 'list of condemned packs' varve repo verify "dir:$dir/r" --key-file "$dir/key"
    ok varve repo verify "dir:$dir/r" --key-file "$dir/key" --repair
    has '1 damaged ones removed'
    backup
    verify --full
    restore latest "$dir/out"
    same_trees "$dir/m" "$dir/out"
}

test_control_file() {
    local id
    new_repo
    new_volume
    echo hello >"$dir/m/f"
    echo "run to=\"dir:$dir/r\" key-file=\"$dir/key\"" >"$dir/m/.snapshots/.control/backup" || fail 'refused'
    out=$(cat "$dir/m/.snapshots/.control/backup.json")
    id=$(json 'd["jobs"][0]["id"]')
    ok varve job wait "$dir/m" "$id"
    grep -q 'recovery point' "$dir/m/.snapshots/.control/backup" || fail "$(cat "$dir/m/.snapshots/.control/backup")"
    (echo "run to=nothing" >"$dir/m/.snapshots/.control/backup") 2>/dev/null && fail 'an unknown repository'
    grep -q 'there is no repository of this name' "$dir/m/.snapshots/.control/error" || fail "$(cat "$dir/m/.snapshots/.control/error")"
    restore latest "$dir/out"
    cmp "$dir/out/f" "$dir/m/f" || fail 'other bytes'
}

# Waits until N packs are in the repository, for 20 s
wait_packs() {
    local i
    for ((i = 0; i < 2000; i++)); do
        [ "$(packs "$dir/r")" -lt "$1" ] || return 0
        sleep 0.01
    done
    fail "no $1 packs"
}

test_killed_and_begun_again() {
    local size=$((load * 1048576)) pid total
    new_repo
    new_volume
    random $size >"$dir/m/f"
    ok varve umount "$dir/m"
    "$VARVE" backup run "$dir/s/main" --to "dir:$dir/r" --key-file "$dir/key" >/dev/null 2>&1 & # itself: $! of a function is a shell
    pid=$!
    wait_packs 1
    kill -9 $pid
    wait $pid 2>/dev/null
    total=$(packs "$dir/r")
    [ -z "$(ls "$dir/r/points" 2>/dev/null)" ] || fail 'it was through already'
    ok varve mount "$dir/s" "$dir/m" # the job goes on by itself
    ok varve job wait "$dir/m" 1
    total=$(repo_bytes "$dir/r")
    say "    killed and begun again: $((size / 1048576)) MiB, $((total / 1048576)) MiB in packs"
    [ "$total" -lt $((size + 33 * 1048576)) ] || fail "$total bytes"
    verify --full
    restore latest "$dir/out"
    cmp "$dir/out/f" "$dir/m/f" || fail 'other bytes'
}

packs_are_put() { # by a backup that goes on in the background, $backing_up
    new_repo
    new_volume
    random $((load * 1048576)) >"$dir/m/f"
    varve backup run "$dir/m" --to "dir:$dir/r" --key-file "$dir/key" >"$dir/log" 2>&1 &
    backing_up=$!
    wait_packs 1
}

# The daemon dies in the middle: the next one goes on, and who waits is answered
test_daemon_killed() {
    local total
    packs_are_put
    ok varve status "$dir/m" --json
    kill -9 "$(json 'd["daemon_pid"]')"
    wait "$backing_up" || fail "$(cat "$dir/log")"
    grep -q 'recovery point' "$dir/log" || fail "$(cat "$dir/log")"
    [ "$(ls "$dir/r/points" | wc -l)" = 1 ] || fail "recovery points: $(ls "$dir/r/points")"
    total=$(repo_bytes "$dir/r")
    [ "$total" -lt $(((load + 33) * 1048576)) ] || fail "$total bytes"
    restore latest "$dir/out"
    cmp "$dir/out/f" "$dir/m/f" || fail 'other bytes'
}

test_the_process_that_speaks_dies() {
    packs_are_put
    kill_speakers "dir:$dir/r"
    wait "$backing_up" || fail "$(cat "$dir/log")"
    restore latest "$dir/out"
    cmp "$dir/out/f" "$dir/m/f" || fail 'other bytes'
    verify --full
}

test_cancelled() {
    new_repo
    new_volume
    random $((load * 1048576)) >"$dir/m/f"
    ok varve backup run "$dir/m" --to "dir:$dir/r" --key-file "$dir/key" --background
    wait_packs 1
    ok varve job cancel "$dir/m" 1
    refused 1 cancelled varve job wait "$dir/m" 1
    [ -z "$(ls "$dir/r/points" 2>/dev/null)" ] || fail 'there is a recovery point'
    backup
    verify --full
}

test_damage_is_named() {
    local pack
    new_repo
    new_volume
    random 3000000 >"$dir/m/hurt"
    backup
    pack=$(find "$dir/r/packs" -type f -size +1M)
    for i in 1 2 3; do echo "fine $i" >"$dir/m/$i"; done
    backup
    printf '\377\377' | dd of="$pack" bs=1 seek=1500000 conv=notrunc status=none
    verify
    refused 4 '/hurt of' varve repo verify "dir:$dir/r" --full --key-file "$dir/key"
    refused 1 '/hurt is damaged in the repository and was left out' varve restore "dir:$dir/r#latest" "$dir/out" --key-file "$dir/key"
    cmp "$dir/out/2" "$dir/m/2" || fail 'what is not hurt'
    [ ! -e "$dir/out/hurt" ] || fail 'a damaged file was restored'
    refused 4 '1 damaged packs are condemned' varve repo verify "dir:$dir/r" --full --repair --key-file "$dir/key"
    backup
    [ "$(json 'd["recovery_point"]["base"]')" = None ] || fail "$out"
    restore latest "$dir/out2"
    cmp "$dir/out2/hurt" "$dir/m/hurt" || fail 'what was lost was not sent again'
}

test_snapshots_taken_for_backups_do_not_pile_up() {
    local i
    new_repo
    new_volume
    ok varve snapshot create "$dir/m" mine
    for i in 1 2 3; do
        echo $i >"$dir/m/f"
        backup
    done
    ok varve snapshot list "$dir/m" --json
    [ "$(json '" ".join(sorted(s["name"].split("-")[0] for s in d["snapshots"]))')" = 'backup mine' ] || fail "$out"
    [ "$(json 'sum(len(s["holds"]) for s in d["snapshots"])')" = 0 ] || fail "$out"
}

# What two places go on from stays until both have gone on
test_a_snapshot_is_the_base_of_two_repositories() {
    local first second
    new_repo
    new_volume
    ok varve repo init "dir:$dir/r2" --key-file "$dir/key"
    random 3000000 >"$dir/m/large"
    backup
    first=$(ls "$dir/m/.snapshots")
    second() { ok varve backup run "$dir/m" --to "dir:$dir/r2" --key-file "$dir/key" --json "$@"; }
    ok varve backup run "$dir/m@$first" --to "dir:$dir/r2" --key-file "$dir/key" --json
    echo more >"$dir/m/small"
    backup
    [ -e "$dir/m/.snapshots/$first" ] || fail "$first went, and $dir/r2 goes on from it"
    [ "$(ls "$dir/m/.snapshots" | wc -l)" = 2 ] || fail "$(ls "$dir/m/.snapshots")"
    second
    [ "$(json 'd["recovery_point"]["read_bytes"] < 100000')" = True ] || fail "all was read: $out"
    [ ! -e "$dir/m/.snapshots/$first" ] || fail "$first is still there"
    [ "$(ls "$dir/m/.snapshots" | wc -l)" = 2 ] || fail "$(ls "$dir/m/.snapshots")"
}

# Append only: a prune does what it may, says what it may not, and puts nothing when it comes again
test_a_prune_where_nothing_may_be_deleted() {
    local objects
    new_repo
    new_volume
    random 3000000 >"$dir/m/a"
    backup
    first=$(json 'd["recovery_point"]["id"]')
    rm "$dir/m/a" && random 3000000 >"$dir/m/b"
    backup
    ok varve backup delete "dir:$dir/r#$first" --key-file "$dir/key"
    chattr +a "$dir/r/index" 2>/dev/null || { skip='no chattr +a here'; return; }
    ok varve repo prune "dir:$dir/r" --exclusive --key-file "$dir/key"
    has 'may not be deleted'
    has 'permission denied'
    objects=$(find "$dir/r" -type f | wc -l)
    for i in 1 2 3; do
        ok varve repo prune "dir:$dir/r" --exclusive --key-file "$dir/key" --json
        [ "$(json 'd["refused"] > 0 and d["stuck_packs"] > 0')" = True ] || fail "$out"
    done
    [ "$(find "$dir/r" -type f | wc -l)" = "$objects" ] || fail "$objects objects, then $(find "$dir/r" -type f | wc -l)"
    chattr -a "$dir/r/index"
    ok varve repo prune "dir:$dir/r" --exclusive --key-file "$dir/key" --json
    [ "$(json 'd["refused"], d["stuck_packs"], d["deleted_bytes"] > 2900000')" = '(0, 0, True)' ] || fail "$out"
    verify --full
    has sound
    restore latest "$dir/out"
    cmp "$dir/m/b" "$dir/out/b" || fail 'other bytes'
}

if [ $# -eq 0 ]; then
    run_units
    # shellcheck disable=SC2046
    set -- $(all_cases)
fi
run_cases "$@"
suite_end
