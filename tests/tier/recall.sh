#!/bin/bash
# Recalling through mounts: by name, in trouble, within limits. `recall.sh NAME...` runs the named cases only. SCALE=short: smaller.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
big=192
if [ "${SCALE:-full}" = short ]; then big=40; fi
[ -z "${SAN:-}" ] || big=24

begin() { # [SETTING...]: a volume at $dir/m whose files lie in a repository beside it
    mkdir -p "$dir/config/varve"
    random 64 >"$dir/key"
    ok varve repo init "dir:$dir/r" --key-file "$dir/key"
    ok varve create "$dir/s"
    printf '%s\n' "$@" >"$dir/s/config"
    mkdir -p "$dir/m"
    mounted+=("$dir/m")
    ok varve mount "$dir/s" "$dir/m"
    mkdir "$dir/m/a" "$dir/m/b"
    random $((big << 20)) >"$dir/m/a/big"
    for i in 1 2 3 4; do random $((i * 300000)) >"$dir/m/b/$i"; done
    mkdir "$dir/m/c"
    for i in $(seq 80); do random 30000 >"$dir/m/c/$i"; done # many in a chunk, and several of those
    cp -a "$dir/m" "$dir/was"
    ok varve backup run "$dir/m" --to "dir:$dir/r" --key-file "$dir/key"
    ok varve tier release "$dir/m" "dir:$dir/r" --key-file "$dir/key"
    again
}
again() { # another mount: nothing is in the kernel's memory
    cd /
    ok varve umount "$dir/m"
    ok varve mount "$dir/s" "$dir/m"
}
remote() {
    ok varve tier status "$dir/m" --json
    json 'd["remote_bytes"]'
}
event() { varve events "$dir/m" | grep -q " $1 "; }
same() { cmp "$dir/was/$1" "$dir/m/$1" || fail "$1"; }

test_files_and_trees_come_by_name() {
    begin
    all=$(remote)
    ok varve tier recall "$dir/m" b/1 b/3
    [ $((all - $(remote))) = $(((300000 + 4095) / 4096 * 4096 + (900000 + 4095) / 4096 * 4096)) ] || fail "of $all $(remote) are left"
    ok varve tier recall "$dir/m" b/1 b/3
    has "0 B came"
    refused - "none" varve tier recall "$dir/m" b/none
    ok varve tier recall "$dir/m" b
    [ "$(remote)" = $(((big << 20) + 80 * 32768)) ] || fail "$(remote) are left"
    ok varve tier recall "$dir/m"
    [ "$(remote)" = 0 ] || fail "$(remote) are left"
    mv "$dir/r" "$dir/away"
    again
    diff -r "$dir/was" "$dir/m" || fail "others"
}

test_what_has_just_come_can_go_again() {
    begin
    all=$(remote)
    ok varve tier recall "$dir/m" a
    same b/4
    ok varve tier release "$dir/m" "dir:$dir/r" --key-file "$dir/key"
    [ "$(remote)" = "$all" ] || fail "$(remote) of $all are released"
}

test_it_goes_on_after_a_kill_and_can_be_cancelled() {
    begin
    ok varve tier recall "$dir/m" a b c --background
    sleep 0.1
    kill -9 "$(head -n 1 "$dir/s/lock")"
    for _ in $(seq 200); do
        [ "$(remote)" = 0 ] && break
        sleep 0.1
    done
    [ "$(remote)" = 0 ] || fail "$(remote) are left"
    same a/big
    ok varve tier release "$dir/m" "dir:$dir/r" --key-file "$dir/key"
    mv "$dir/r" "$dir/away"
    again
    ok varve tier recall "$dir/m" a --background --json
    id=$(json 'd["job"]["id"]')
    ok varve job cancel "$dir/m" "$id"
    refused - "cancel" varve job wait "$dir/m" "$id"
    mv "$dir/away" "$dir/r"
    same a/big
}

test_a_failure_is_told_and_passes() {
    begin 'recall_timeout = "2s";'
    mv "$dir/r" "$dir/away"
    cat "$dir/m/b/1" >"$dir/out" 2>"$dir/err" && fail "read without its repository"
    grep -q "Input/output error" "$dir/err" || fail "$(cat "$dir/err")"
    event recall-failed || fail "no event"
    mv "$dir/away" "$dir/r"
    same b/1
    event recall-works || fail "no event that it works"
}

test_reads_wait_where_that_is_set() {
    begin 'recall_wait = "30s";'
    mv "$dir/r" "$dir/away"
    (sleep 1.5; mv "$dir/away" "$dir/r") &
    same b/2
    wait $!
    event recall-failed || fail "no event"
}

# A job that waits for a repository as long as readers may is still cancelled at once, and does not hold up the last unmount.
test_a_job_that_waits_ends_when_it_is_to() {
    begin 'recall_wait = "40s";'
    mv "$dir/r" "$dir/away"
    varve hydrate "$dir/m" >"$dir/said" 2>&1 &
    sleep 1.5
    local began=$SECONDS job
    ok varve job list "$dir/m" --json
    job=$(json 'max(j["id"] for j in d["jobs"])')
    ok varve job cancel "$dir/m" "$job"
    wait $!
    [ $((SECONDS - began)) -lt 15 ] || fail "cancelled after $((SECONDS - began)) s"
    ok varve hydrate "$dir/m" --background
    sleep 1.5
    began=$SECONDS
    ok varve umount "$dir/m"
    [ $((SECONDS - began)) -lt 15 ] || fail "unmounted after $((SECONDS - began)) s"
    mv "$dir/away" "$dir/r"
    ok varve mount "$dir/s" "$dir/m"
    same b/2
}

# Whoever waits for a job in front of a terminal does not hold up the last unmount: the job goes on at the next mount.
test_somebody_who_waits_for_a_job_holds_no_unmount_up() {
    begin
    mv "$dir/r" "$dir/away"
    varve hydrate "$dir/m" >"$dir/said" 2>&1 &
    sleep 1.5
    timeout 25 "$VARVE" umount "$dir/m" || fail "the unmount takes longer than 25 s"
    wait $! && fail 'it says that all is here'
    grep -q 'goes on at the next mount' "$dir/said" || fail "it says: $(cat "$dir/said")"
    mv "$dir/away" "$dir/r"
}

test_the_death_of_varve_tierd_is_nobodys_trouble() {
    begin
    same c/1
    for pid in $(served_by "dir:$dir/r"); do kill -9 "$pid"; done
    same c/80
    same b/2
    (for _ in 1 2; do
        sleep 0.05
        for pid in $(served_by "dir:$dir/r"); do kill -9 "$pid" 2>/dev/null; done
    done) &
    same a/big
    wait $!
    event recall-failed && fail "an event says so"
}

test_a_scanner_does_not_bring_all_of_it_back() {
    begin 'recall_timeout = "300ms";' 'recall_limit = "18M";'
    all=$(remote)
    cat "$dir/m/a/big" >/dev/null 2>"$dir/err" && fail "read beyond the limit"
    grep -q "Input/output error" "$dir/err" || fail "$(cat "$dir/err")"
    event recall-limited || fail "no event"
    [ $((all - $(remote))) -le $((19 << 20)) ] || fail "$((all - $(remote))) came"
    [ $((all - $(remote))) -ge $((14 << 20)) ] || fail "only $((all - $(remote))) came"
    ok varve tier recall "$dir/m" a
    same a/big
}

if [ $# -gt 0 ]; then run_cases "$@"; else
    # shellcheck disable=SC2046
    run_cases $(all_cases)
fi
suite_end
