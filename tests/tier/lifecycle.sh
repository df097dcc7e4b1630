#!/bin/bash
# What becomes of backups that are there: recovery points go when the profile says so, and come back. SCALE=short: without what must be
# waited for. `lifecycle.sh NAME...` runs the named cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/s3_server.sh"
suite_needs_mounts
past=$(readlink -f "$BUILD")/tests/varve-past # its clock is $VARVE_PAST seconds behind

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
    mkdir -p "$dir"
    repo=r-${dir##*_}
    cat >"$dir/p.conf" <<END
name = "aging";
backups = ( { name = "never"; every = "30d"; start = "2099-01-01T00:00:00Z"; to = "$repo"; } );
lifecycle: { expire_after = "3d"; undo = "2d"; };
END
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
    mkdir -p "$dir"
    repo=r-${dir##*_}
    cat >"$dir/p.conf" <<END
name = "aging";
backups = ( { name = "never"; every = "30d"; start = "2099-01-01T00:00:00Z"; to = "$repo"; } );
lifecycle: { expire_after = "3d"; };
END
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
    mkdir -p "$dir"
    repo=r-${dir##*_}
    cat >"$dir/p.conf" <<END
name = "aging";
backups = ( { name = "never"; every = "30d"; start = "2099-01-01T00:00:00Z"; to = "$repo"; } );
lifecycle: { expire_after = "3d"; };
END
    begin_past 864000
    mv "$dir/r" "$dir/away"
    ok varve mount "$dir/s" "$dir/m"
    within 45 said 'expire-failed'
    refused 1 'expiry never: ' varve status "$dir/m" --check
    mv "$dir/away" "$dir/r"
    within 150 are main 1
    ok varve status "$dir/m" --check
}
said() { varve events "$dir/m" | grep -q "$1"; }

if [ $# -eq 0 ]; then read -ra cases -d '' < <(all_cases); else cases=("$@"); fi
run_cases "${cases[@]}"
suite_end
