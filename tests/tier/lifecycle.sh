#!/bin/bash
# What becomes of backups that are there: recovery points go when the profile says so, and come back. SCALE=short: without what must be
# waited for. `lifecycle.sh NAME...` runs the named cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/s3_server.sh"
suite_needs_mounts
past=$(readlink -f "$BUILD")/tests/varve-past # its clock is $VARVE_PAST seconds behind
[ -x "$past" ] || skip_suite "$past is not built"

end_all() {
    local rc=$?
    classes_end 2>/dev/null
    (exit $rc)
    scratch_release
}
trap end_all EXIT

within() { # SECONDS COMMAND...: it comes true by then
    local until=$((SECONDS + $1))
    shift
    while ! "$@"; do
        [ $SECONDS -lt $until ] || { fail "not within its time: $*"; return 1; }
        sleep 0.3
    done
}
points() { # of the volume NAME
    ok varve backup list "dir:$dir/r" --key-file "$dir/key" --volume "$1" --json
    json 'len(d["recovery_points"])'
}
are() { [ "$(points "$1")" = "$2" ]; }

aging() { # LIFECYCLE: a profile in $dir/p.conf that makes no backups by itself, for a repository of the case's own: $repo
    mkdir -p "$dir"
    repo=r-${dir##*_}
    cat >"$dir/p.conf" <<END
name = "aging";
backups = ( { name = "never"; every = "30d"; start = "2099-01-01T00:00:00Z"; to = "$repo"; } );
lifecycle: { $1 };
END
}

# A store $dir/s whose volumes have three recovery points each, taken $1 seconds ago; main has the profile of $dir/p.conf since then.
# Nobody serves it at the end.
begin_past() {
    mkdir -p "$dir"
    random 64 >"$dir/key"
    ok varve repo init "dir:$dir/r" --key-file "$dir/key"
    ok varve repo add "$repo" "dir:$dir/r" --key-file "$dir/key"
    mkdir "$dir/m"
    mounted+=("$dir/m")
    VARVE_PAST=$1 "$past" mount "$dir/s" "$dir/m" --create >/dev/null || fail 'mount in the past'
    ok varve create "$dir/s/other"
    for i in 1 2 3; do
        random 100000 >"$dir/m/f$i"
        ok varve backup run "$dir/m" --to "$repo"
        ok varve backup run "$dir/s/other" --to "$repo"
    done
    ok varve profile add "$dir/p.conf" --replace
    ok varve profile set "$dir/m" aging
    ok varve umount "$dir/m"
}

test_a_profile_lets_recovery_points_go() {
    aging 'expire_after = "3d"; undo = "2d";'
    begin_past 864000
    [ "$(points main)" = 3 ] || fail "before: $(points main)"
    ok varve profile check "$dir/p.conf"
    [ "$(grep -c 'lifecycle.*acted on' <<<"$out")" = 2 ] || fail "$out"
    ok varve mount "$dir/s" "$dir/m"
    within 45 are main 1 # the newest stays
    [ "$(points other)" = 3 ] || fail 'those of another volume went, too'
    ok varve events "$dir/m"
    has '2 of 3 recovery points deleted; to be had back until'
    ok varve profile get "$dir/m" --json
    [ "$(json '[(s["kind"], s["name"], s["undo_seconds"], s["failures"]) for s in d["profile"]["schedules"] if s["kind"] == "expiry"]')" = \
        "[('expiry', 'never', 172800, 0)]" ] || fail "$out"
    ok varve profile get "$dir/m"
    has "in $repo, undo 2d"
    ok varve job list "$dir/m"
    has "expire"
    # nothing goes twice: by the next daemon neither
    ok varve umount "$dir/m"
    ok varve backup undelete "$repo" --json
    [ "$(json 'len(d["deleted"])')" = 2 ] || fail "$out"
    ok varve backup undelete "$repo" "$(json 'd["deleted"][0]["id"]')"
    ok varve mount "$dir/s" "$dir/m"
    sleep 3
    [ "$(points main)" = 2 ] || fail "it had just been had back: $(points main)"
    ok varve repo verify "$repo"
    ok varve job list "$dir/m" --json
    [ "$(json 'len([1 for j in d["jobs"] if j["verb"] == "expire"])')" = 1 ] || fail "$out"
}

# The clock of a machine that is years ahead deletes nothing: the repository's says when it is.
test_a_clock_that_is_ahead_ends_nothing() {
    aging 'expire_after = "3d";'
    begin_past 0
    VARVE_PAST=-86400000 "$past" mount "$dir/s" "$dir/m" || fail 'mount in the future'
    within 45 looked
    [ "$(points main)" = 3 ] || fail "a wrong clock has deleted: $(points main)"
}
looked() {
    ok varve job list "$dir/m" --json
    [ "$(json '[(j["state"], j["text"][:4]) for j in d["jobs"] if j["verb"] == "expire"]')" = "[('done', '0 of')]" ]
}

# A repository that is away is told, and asked again.
test_a_repository_that_is_away() {
    [ "${SCALE:-full}" != short ] || { skip='waits for a minute'; return; }
    aging 'expire_after = "3d";'
    begin_past 864000
    mv "$dir/r" "$dir/away"
    ok varve mount "$dir/s" "$dir/m"
    within 100 said 'expire-failed' # a daemon looks about once a minute: when it begins, and then how that ended
    refused 1 'expiry never: ' varve status "$dir/m" --check
    mv "$dir/away" "$dir/r"
    within 200 are main 1
    within 100 is_well
}
is_well() { varve status "$dir/m" --check >/dev/null 2>&1; }
said() { varve events "$dir/m" | grep -q "$1"; }

# --- storage classes: a proxy before versitygw plays a server that has them ------------------------------------------------

# A bucket's server, the proxy, and a volume with two backups in $url; $1: seconds that an archive takes
classes_begin() {
    mkdir -p "$dir"
    random 64 >"$dir/key"
    s3_case_get && s3_case_start "$dir/server" classes || return 1
    echo "$1" >"$dir/fault.classes"
    : >"$dir/fault.log"
    s3_proxy_start "$dir" || { fail 'no proxy'; return 1; }
    url="s3://classes/c?endpoint=$s3_proxy_endpoint"
    ok varve repo init "$url" --key-file "$dir/key"
    new_volume
    random 20000000 >"$dir/m/large"
    mkdir "$dir/m/d"
    for i in 1 2 3 4 5; do random 30000 >"$dir/m/d/$i"; done
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
}
classes_end() {
    s3_proxy_stop
    s3_stop
}
transition() { ok varve repo transition "$url" --key-file "$dir/key" "$@" --json; }
copies() { grep -c "^PUT .*/packs/.* - $1\$" "$dir/fault.log"; }

test_packs_go_to_another_class() {
    classes_begin 0 || return
    transition STANDARD_IA --older 1h
    [ "$(json 'd["transition"]["packs"], d["transition"]["young"] > 1')" = '(0, True)' ] || fail "$out"
    sleep 2.1 # times are in whole seconds there
    transition STANDARD_IA --older 0s --dry-run
    [ "$(json 'd["transition"]["packs"] >= 2, d["transition"]["metadata"] >= 1')" = '(True, True)' ] || fail "$out"
    [ "$(copies STANDARD_IA)" = 0 ] || fail 'a dry run has moved'
    packs=$(json 'd["transition"]["packs"]')
    transition STANDARD_IA --older 0s
    [ "$(json 'd["transition"]["packs"]')" = "$packs" ] || fail "$out"
    [ "$(copies STANDARD_IA)" = "$packs" ] || fail "$(copies STANDARD_IA) copies, not $packs"
    transition STANDARD_IA --older 0s # what has it is passed over
    [ "$(json 'd["transition"]["packs"], d["transition"]["there"]')" = "(0, $packs)" ] || fail "$out"
    ! grep '^PUT' "$dir/fault.log" | grep -v '/packs/' | grep -q STANDARD_IA || fail 'others than packs have it'
    ok varve repo verify "$url" --full --key-file "$dir/key"
    ok varve restore "$url#latest" "$dir/back" --key-file "$dir/key"
    same_trees "$dir/m" "$dir/back"
    refused 2 'class "none of them" is none' varve repo transition "$url" 'none of them' --older 1d --key-file "$dir/key"
    say "    moved $packs packs"
    # a server without classes, and a directory
    url="s3://classes/c?endpoint=$s3_endpoint"
    refused - 'storage class' varve repo transition "$url" GLACIER --older 0s --key-file "$dir/key"
    ok varve repo init "dir:$dir/r" --key-file "$dir/key"
    refused - 'there are no storage classes here' varve repo transition "dir:$dir/r" GLACIER --older 1d --key-file "$dir/key"
    classes_end
}

# Killed, and losing answers: begun anew it goes on with what is left
test_a_transition_is_interrupted() {
    classes_begin 0 || return
    sleep 2.1
    echo 'x1 lose-answer PUT 1' >"$dir/fault"
    echo 'x2 slow-down PUT 2' >"$dir/fault"
    "$VARVE" repo transition "$url" STANDARD_IA --older 0s --key-file "$dir/key" >/dev/null 2>&1 &
    sleep 0.4
    kill -9 $!
    wait $! 2>/dev/null
    : >"$dir/fault"
    transition STANDARD_IA --older 0s
    transition STANDARD_IA --older 0s
    [ "$(json 'd["transition"]["packs"], d["transition"]["there"] >= 2')" = '(0, True)' ] || fail "$out"
    ok varve repo verify "$url" --full --key-file "$dir/key"
    classes_end
}

# What was locked is locked as long as before
test_object_lock_is_kept() {
    classes_begin 0 || return
    S3_HEADER='x-amz-bucket-object-lock-enabled: true' "$here/s3_tool.py" "$s3_endpoint" PUT /locked >"$dir/made" 2>&1 || fail "$(cat "$dir/made")"
    url="s3://locked/c?endpoint=$s3_proxy_endpoint&lock=governance&retain=1d"
    ok varve repo init "$url" --key-file "$dir/key"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    sleep 2.1
    transition STANDARD_IA --older 0s
    [ "$(json 'd["transition"]["packs"] >= 2')" = True ] || fail "$out"
    grep -q '^COPIED /locked/c/packs/.* GOVERNANCE$' "$dir/fault.log" || fail 'the copy is not locked'
    ! grep '^COPIED' "$dir/fault.log" | grep -qv GOVERNANCE || fail 'some are not locked'
    classes_end
}

# By a profile. It waits for what is a minute old.
test_a_profile_moves_packs() {
    [ "${SCALE:-full}" != short ] || { skip='waits for two minutes'; return; }
    classes_begin 0 || return
    aging 'transition_after = "1m"; storage_class = "GLACIER";'
    ok varve repo add "$repo" "$url" --key-file "$dir/key"
    ok varve profile set "$dir/m" "$(cat "$dir/p.conf")"
    within 200 said 'transition-done'
    [ "$(copies GLACIER)" -ge 2 ] || fail "$(copies GLACIER) copies"
    ok varve profile get "$dir/m"
    has 'to GLACIER'
    classes_end
}

# --- archives --------------------------------------------------------------------------------------------------------------

archive() { # what there is of packs without metadata
    sleep 2.1
    transition GLACIER --older 0s
    [ "$(json 'd["transition"]["packs"] >= 2')" = True ] || fail "nothing went to the archive: $out"
    packs=$(json 'd["transition"]["packs"]')
    : >"$dir/fault.log"
}
requests() { grep -c '^POST .*restore' "$dir/fault.log"; }

test_a_restore_asks_for_archives_and_waits() {
    classes_begin 4 || return
    archive
    ok varve restore "$url#latest" "$dir/back" --key-file "$dir/key"
    same_trees "$dir/m" "$dir/back"
    [ "$(requests)" = "$packs" ] || fail "$(requests) requests for $packs packs"
    # all were sent before the first answer: none comes after a read of a pack that had been asked for
    python3 - "$dir/fault.log" <<'END' || fail 'not at once'
import sys
lines = [l.split()[:2] for l in open(sys.argv[1])]
asked = [i for i, (m, p) in enumerate(lines) if m == 'POST']
got = [i for i, (m, p) in enumerate(lines) if m == 'GET' and any(p == q.split('?')[0] for mm, q in lines if mm == 'POST')]
assert max(asked) < [i for i in got if i > asked[0]][0], (asked, got)
END
    say "    $(requests) packs asked for"
    classes_end
}

# Asked for and cancelled: what was put down is gone on with
test_waiting_for_an_archive_is_cancelled() {
    classes_begin 5 || return
    archive
    "$VARVE" restore "$url#latest" "$dir/back" --key-file "$dir/key" >"$dir/said" 2>&1 &
    pid=$!
    within 10 asked_all
    kill -INT $pid
    wait $pid && fail 'it was not cancelled'
    grep -q 'the same with --resume goes on' "$dir/said" || fail "$(cat "$dir/said")"
    ok timeout 60 "$VARVE" restore "$url#latest" "$dir/back" --key-file "$dir/key" --resume
    same_trees "$dir/m" "$dir/back"
    [ "$(requests)" = "$packs" ] || fail "asked twice: $(requests)"
    classes_end
}
asked_all() { [ "$(requests)" = "$packs" ]; }

is_read() { dd if="$dir/m/large" iflag=direct bs=1M status=none 2>/dev/null | cmp -s - "$dir/was"; }
# A reader gets EIO at once, an event names it, and it works when it is there; looking for damage finds none
test_a_read_of_an_archive() {
    classes_begin 4 || return
    cp "$dir/m/large" "$dir/was"
    ok varve tier release "$dir/m" "$url" large --key-file "$dir/key"
    archive
    ok varve repo verify "$url" --full --key-file "$dir/key"
    has "$packs packs lie in an archive"
    has sound
    [ "$(requests)" = 0 ] || fail 'verify has asked for it'
    ok varve repo verify "$url" --key-file "$dir/key"
    cd / && ok varve umount "$dir/m" && ok varve mount "$dir/s" "$dir/m"
    [ "$(getfattr --only-values -n user.varve.tier "$dir/m/large")" = remote ] || fail "large is $(getfattr --only-values -n user.varve.tier "$dir/m/large")"
    began=$SECONDS
    is_read && fail "it was read: $(getfattr --only-values -n user.varve.tier.remote "$dir/m/large") $(tail -n 12 "$dir/fault.log")"
    [ $((SECONDS - began)) -lt 20 ] || fail "$((SECONDS - began)) s"
    ok varve events "$dir/m"
    has 'is in an archive; it was asked for'
    [ "$(requests)" -ge 1 ] || fail 'nothing was asked for'
    within 60 is_read
    classes_end
}

remote() {
    ok varve tier status "$dir/m" --json
    json 'd["remote_bytes"]'
}
waits() { varve status "$dir/m" | grep -q "^job .* waits for the archive: . of $packs packs"; }
away() { # all of the volume's bytes are in the archive only, and nothing is in memory; the mount has the copy $dir/was
    cp -a "$dir/m" "$dir/was"
    ok varve tier release "$dir/m" "$url" --key-file "$dir/key"
    archive
    cd / && ok varve umount "$dir/m" && ok varve mount "$dir/s" "$dir/m"
}
all_here() { [ "$(remote)" = 0 ]; }
# All that is needed is asked for, once; a killed daemon's job goes on waiting
test_hydration_waits_for_an_archive() {
    classes_begin 5 || return
    away
    ok varve hydrate "$dir/m" --background
    within 20 waits
    [ "$(packs_asked)" = "$packs" ] || fail "$(packs_asked) of $packs packs were asked for"
    asked=$(requests)
    kill -9 "$(head -n 1 "$dir/s/lock")"
    within 60 all_here
    same_trees "$dir/was" "$dir/m"
    [ "$(requests)" = "$asked" ] || fail "asked again: $(requests) requests for $packs packs, $asked before the kill"
    ok varve events "$dir/m"
    has "$packs packs were asked for"
    has 'volume-hydrated'
    classes_end
}

# Of some files only what they need is asked for; cancelled, and with a server that fails meanwhile
test_recall_by_path_waits_for_an_archive() {
    classes_begin 4 || return
    mkdir "$dir/m/two"
    random 20000000 >"$dir/m/two/large"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    away
    ok varve tier recall "$dir/m" two --background --json
    id=$(json 'd["job"]["id"]')
    within 20 waits_any
    [ "$(packs_asked)" -lt "$packs" ] || fail "$(packs_asked) of $packs packs were asked for"
    ok varve job cancel "$dir/m" "$id"
    refused - 'cancel' varve job wait "$dir/m" "$id"
    echo 'y1 error-not HEAD 12' >"$dir/fault"
    ok timeout 60 "$VARVE" tier recall "$dir/m" two
    same_trees "$dir/was/two" "$dir/m/two"
    [ "$(packs_asked)" -lt "$packs" ] || fail "$(packs_asked) of $packs packs were asked for"
    [ "$(remote)" -ge 20000000 ] || fail "only $(remote) are left"
    classes_end
}
packs_asked() { awk '/^POST .*restore/ { print $2 }' "$dir/fault.log" | sort -u | wc -l; }
waits_any() { varve status "$dir/m" | grep -q '^job .* waits for the archive'; }

# 20 chunks of a file in three packs or four: by several of them a request, and right
test_what_lies_together_comes_by_one_request() {
    classes_begin 0 || return
    cp -a "$dir/m" "$dir/was"
    for how in recall read; do
        ok varve tier release "$dir/m" "$url" --key-file "$dir/key"
        cd / && ok varve umount "$dir/m" && ok varve mount "$dir/s" "$dir/m"
        : >"$dir/fault.log"
        [ $how = read ] || ok varve tier recall "$dir/m"
        same_trees "$dir/was" "$dir/m"
        gets=$(grep -c '^GET .*/packs/' "$dir/fault.log")
        # a reader who is faster than what is read ahead asks for single ones
        [ "$gets" -le $([ $how = recall ] && echo 10 || echo 19) ] || fail "$how: $gets requests"
        say "    $how: $gets requests"
    done
    classes_end
}

# Of an increment only what the other repository lacks is asked for
test_a_copy_waits_for_an_archive() {
    classes_begin 3 || return
    ok varve repo init "dir:$dir/r" --key-file "$dir/key"
    ok varve backup copy "$url#latest" --key-file "$dir/key" --to "dir:$dir/r" --to-key-file "$dir/key"
    random 3000000 >"$dir/m/new"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    random 9000000 >"$dir/m/newer" # the last pack of a backup, which has metadata, is left out
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    archive
    ok timeout 60 "$VARVE" backup copy "$url#latest" --key-file "$dir/key" --to "dir:$dir/r" --to-key-file "$dir/key"
    [ "$(packs_asked)" -ge 1 ] && [ "$(packs_asked)" -lt "$packs" ] || fail "$(packs_asked) of $packs packs were asked for"
    ok varve restore "dir:$dir/r#latest" "$dir/back" --key-file "$dir/key"
    same_trees "$dir/m" "$dir/back"
    classes_end
}

# Of which little is needed: they stay whole, and the prune does its other work
test_a_prune_leaves_what_lies_in_an_archive() {
    classes_begin 3 || return
    mkdir "$dir/m/e"
    for i in $(seq 40); do random 1000000 >"$dir/m/e/$i"; done
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    for i in $(seq 40); do [ $((i % 8)) = 0 ] || rm "$dir/m/e/$i"; done
    rm "$dir/m/large"
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    ok varve backup list "$url" --key-file "$dir/key" --json
    for p in $(json '" ".join(p["id"] for p in sorted(d["recovery_points"], key=lambda p: p["taken"])[:-1])'); do
        ok varve backup delete "$url#$p" --key-file "$dir/key"
    done
    archive
    ok varve repo prune "$url" --key-file "$dir/key" --exclusive --json
    [ "$(json 'd["archived_packs"]')" -ge 2 ] || fail "$out"
    [ "$(requests)" = 0 ] || fail "$(requests) packs were asked for"
    ok timeout 60 "$VARVE" restore "$url#latest" "$dir/back" --key-file "$dir/key"
    same_trees "$dir/m" "$dir/back"
    classes_end
}

# What is to be copied is asked for at once; a killed daemon's migration goes on waiting
test_a_migration_waits_for_an_archive() {
    classes_begin 5 || return
    ok varve repo init "dir:$dir/r" --key-file "$dir/key"
    archive
    ok varve migrate run "$dir/s" mv --from "$url" --to "dir:$dir/r" --key-file "$dir/key" --to-key-file "$dir/key" --background
    within 20 waits_any
    asked=$(requests)
    [ "$asked" = "$packs" ] || fail "$asked of $packs packs were asked for"
    kill -9 "$(head -n 1 "$dir/s/lock")"
    within 60 migrated
    [ "$(requests)" = "$asked" ] || fail "asked again: $(requests) requests for $packs packs, $asked before the kill"
    ok varve events "$dir/m"
    has "mv: $packs packs were asked for; it goes on"
    ok varve job list "$dir/m"
    case $out in *'waits for the archive'*) fail "still waits: $out" ;; esac
    ok varve restore "dir:$dir/r#latest" "$dir/back" --key-file "$dir/key"
    same_trees "$dir/m" "$dir/back"
    classes_end
}
# The copies are there already: of what is released one range in 256 is compared, and what that needs is asked for
test_a_volume_that_changes_over_waits_for_an_archive() {
    classes_begin 3 || return
    ok varve repo init "dir:$dir/r" --key-file "$dir/key"
    ok varve backup copy "$url#latest" --key-file "$dir/key" --to "dir:$dir/r" --to-key-file "$dir/key"
    away
    ok timeout 60 "$VARVE" migrate run "$dir/s" mv --from "$url" --to "dir:$dir/r" --key-file "$dir/key" --to-key-file "$dir/key"
    ok migrated
    [ "$(requests)" -ge 1 ] || fail 'nothing was asked for'
    ok varve events "$dir/m"
    has 'packs were asked for; it goes on when they are out of the archive'
    [ "$(requests)" = "$(packs_asked)" ] || fail "$(requests) requests for $(packs_asked) packs"
    ok varve tier status "$dir/m" --json
    has "dir:$dir/r"
    gets=$(grep -c '^GET .*/packs/' "$dir/fault.log")
    same_trees "$dir/was" "$dir/m"
    [ "$(grep -c '^GET .*/packs/' "$dir/fault.log")" = "$gets" ] || fail 'the volume reads from the source still'
    classes_end
}
migrated() {
    ok varve migrate status "$dir/s" mv --json
    [ "$(json 'd["migration"]["state"]')" = 'done' ]
}

if [ $# -eq 0 ]; then read -ra cases -d '' < <(all_cases); else cases=("$@"); fi
run_cases "${cases[@]}"
suite_end
