#!/bin/bash
# Programs that people run on a volume half of which is released, while the line to its repository delays, cuts, goes and comes back: no byte
# is wrong, and nobody waits longer than was set. What must be is known without varve: sums taken before the release, PostgreSQL's own
# checksums, books and amcheck, git's fsck. SCALE=short: smaller. `tiering_apps.sh NAME...` runs the named cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/s3_server.sh"
. "$here/../tools/postgres.sh"
PG_SCALE=10 rows=400000 seconds=40 files=6000 kib=24 many=24 gone=2 late=2
if [ "${SCALE:-full}" = short ]; then PG_SCALE=1 rows=30000 seconds=2 files=200 kib=32 many=8 gone=1 late=0.4; fi
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' GIT_CONFIG_KEY_1=gc.auto GIT_CONFIG_VALUE_1=0
harm_pid=''
end_all() {
    local rc=$?
    [ -z "${cluster:-}" ] || as_pg pg_ctl -D "$cluster" -m immediate stop >/dev/null 2>&1
    line_down 2>/dev/null
    (exit $rc)
    scratch_release
}
trap end_all EXIT

# --- the line --------------------------------------------------------------------------------------------------------------

begin() { # [SETTING...]: a server, the line to it, and a volume at $dir/m
    s3_case_get && s3_case_start "$dir/server" apps || return 1
    s3_proxy_start "$dir/line" || { fail 'no proxy'; return 1; }
    url="s3://apps/r?endpoint=$s3_proxy_endpoint&timeout=1s"
    random 64 >"$dir/key"
    ok varve repo init "$url" --key-file "$dir/key"
    ok varve create "$dir/s"
    printf '%s\n' "$@" >"$dir/s/config"
    mkdir -p "$dir/m"
    mounted+=("$dir/m")
    ok varve mount "$dir/s" "$dir/m"
}
faults=0
line() { # KIND [METHOD [COUNT]]: what becomes of the next requests; `good`: nothing
    if [ "$1" = good ]; then : >"$dir/line/next"; else echo "$BASHPID-$((faults++)) $1 ${2:-ANY} ${3:-1000000}" >"$dir/line/next"; fi
    mv "$dir/line/next" "$dir/line/fault"
}
harm() { # it is late, cut, cut, late, gone for a while and back, until it is told to be good
    harm_stop
    rm -f "$dir/line/good"
    (
        while [ ! -e "$dir/line/good" ]; do
            for kind in refuse late cut-body short-body late lose-answer stall-body late error-not garbage; do
                case $kind in
                late) line late; sleep $late ;;
                refuse) line refuse; sleep $gone ;;
                *) line $kind GET 2; sleep 0.3 ;;
                esac
                [ ! -e "$dir/line/good" ] || break
            done
        done
        line good
    ) &
    harm_pid=$!
}
harm_stop() {
    [ -z "$harm_pid" ] && return
    touch "$dir/line/good"
    wait "$harm_pid"
    harm_pid=''
}
line_down() {
    harm_stop
    s3_proxy_stop
    s3_stop
}
did() { grep -c "^GET .* \(${1:-[a-z].*}\) *$" "$dir/line/fault.log"; }
met() { # KIND...: requests have met it
    local kind
    for kind in "$@"; do [ "$(did "$kind")" -gt 0 ] || fail "nothing was $kind"; done
}

# --- the cold half -----------------------------------------------------------------------------------------------------------

old=$(date -d '40 days ago' +%s)
half() { LC_ALL=C sort | awk 'NR % 2'; } # of lines
released() { # paths, a line each: old, so that a policy lets go of what a backup has of them; nothing of them is in the kernel's memory
    (cd "$dir/m" && xargs -d '\n' touch -d "@$old")
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
    ok varve tier run "$dir/m" --to "$url" --key-file "$dir/key" --after 30d --by change
    cd / && ok varve umount "$dir/m" && ok varve mount "$dir/s" "$dir/m"
    [ "$(remote)" -gt 1000000 ] || fail "only $(remote) are released"
}
remote() {
    ok varve tier status "$dir/m" --json
    json 'd["remote_bytes"]'
}

# within SECONDS COMMAND...: it ends by then, in whatever way: $rc, $took, what it said in $dir/said
within() {
    local most=$1 began=$EPOCHREALTIME
    shift
    timeout -k 5 $((most + 60)) bash -c '"$@"' within "$@" >"$dir/said" 2>&1 # also of this file's functions
    rc=$?
    took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    awk -v t="$took" -v m="$most" 'BEGIN { exit t > m }' || fail "$took s, not $most: $*"
}
succeeds() { # SECONDS COMMAND...
    within "$@"
    [ $rc -eq 0 ] || fail "exit $rc: ${*:2}: $(tail -n 3 "$dir/said")"
}
fails() { # SECONDS COMMAND...
    within "$@"
    [ $rc -ne 0 ] || fail "it worked: ${*:2}"
}

# --- PostgreSQL ---------------------------------------------------------------------------------------------------------------

COLD='SELECT count(*), sum(hashtextextended(c::text, 0)) FROM cold c'
cluster_made() { # with a table that nobody asks for: $cold, what it says; $cold_files, where it lies. It does not run.
    cluster=$dir/m/pg
    {
        chmod 711 "$dir" && pg_create "$cluster" \
            && pg_ask "CREATE TABLE cold AS SELECT i AS id, md5(i::text) AS v, repeat(md5((i * 7)::text), 6) AS more FROM generate_series(1, $rows) i" \
            && pg_ask 'CREATE INDEX ON cold(v)' && pg_ask 'VACUUM FREEZE cold' && cold=$(pg_ask "$COLD") \
            && cold_files=$(pg_ask "SELECT 'pg/' || pg_relation_filepath(oid) FROM pg_class WHERE relname LIKE 'cold%'") && pg_stop "$cluster"
    } >"$dir/made" 2>&1 || fail "$(tail -n 5 "$dir/made")"
}
pg_psql() { as_pg psql -v ON_ERROR_STOP=1 -Atqc "$1" bench; }
export -f as_pg pg_ask pg_psql pg_rows pg_sound pg_start pg_stop
export pg_bin PG_OWNER scratch
all_of_it_is_right() { # by PostgreSQL's own means; it ends
    [ "$(pg_ask "$COLD")" = "$cold" ] || fail "the cold table says $(pg_ask "$COLD"), not $cold"
    pg_sound 1 >"$dir/said" 2>&1 || fail "$(tail -n 5 "$dir/said")"
    pg_stop "$cluster" >/dev/null || fail 'it does not stop'
    as_pg pg_checksums --check -D "$cluster" >"$dir/said" 2>&1 || fail "$(tail -n 5 "$dir/said")"
    cd / && ok varve umount "$dir/m"
    ok varve check "$dir/s"
}
pg_case() {
    [ -n "$pg_bin" ] || { skip='PostgreSQL is not installed (make deps-tests)'; return 1; }
    begin "$@" || return 1
    cluster_made
}

# Where nobody waits for longer than a request, a query that needs what cannot be had fails in time, others go on, and nothing wrong is ever told.
test_postgres_while_its_repository_is_away() {
    [ "${SCALE:-full}" != short ] || { skip='the longer form only'; return; }
    pg_case 'recall_timeout = "4s";' || return
    released <<<"$cold_files"
    pg_start "$cluster" >"$dir/said" 2>&1 || fail "$(cat "$dir/said")"
    line stall
    fails 20 pg_psql "$COLD"
    grep -q 'Input/output error' "$dir/said" || fail "$(cat "$dir/said")"
    say "    a query of what cannot be had failed after $took s"
    succeeds 30 as_pg pgbench -n -c 2 -T 2 bench
    line refuse
    fails 20 pg_psql "$COLD"
    wrong=0 failed_queries=0
    for kind in corrupt-answer short-body cut-body late lose-answer; do
        line $kind GET 40
        within 30 pg_psql "$COLD"
        if [ $rc -ne 0 ]; then failed_queries=$((failed_queries + 1)); elif [ "$(cat "$dir/said")" != "$cold" ]; then wrong=$((wrong + 1)); fi
    done
    [ $wrong = 0 ] || fail "$wrong queries had other sums"
    met stall refuse corrupt-answer
    line good
    all_of_it_is_right
    say "    of 5 queries while it was cut and corrupted $failed_queries failed, $wrong told anything wrong"
    line_down
}

# Where readers wait, nobody notices but by the time that it takes.
test_postgres_on_a_bad_line() {
    pg_case 'recall_timeout = "3s";' 'recall_wait = "60s";' || return
    { echo "$cold_files" && (cd "$dir/m" && find pg -type f | half); } >"$dir/half"
    released <"$dir/half"
    before=$(remote)
    harm
    succeeds 60 pg_start "$cluster"
    succeeds 60 as_pg pgbench -n -c 3 -T "$seconds" bench
    succeeds 60 pg_psql "$COLD"
    [ "$(cat "$dir/said")" = "$cold" ] || fail "the cold table says $(cat "$dir/said"), not $cold"
    succeeds 90 as_pg pg_amcheck --install-missing --heapallindexed bench
    harm_stop
    met late refuse
    ! grep -E 'ERROR|FATAL|PANIC' "$cluster.log" || fail "somebody noticed"
    transactions=$(pg_rows)
    say "    $transactions transactions; $((before - $(remote))) of $before bytes came through $(did) requests that were harmed"
    all_of_it_is_right
    line_down
}

# --- git ------------------------------------------------------------------------------------------------------------------------

repository_made() { # a history of $files files; $dir/sums of the newest tree and of its packs
    python3 - "$dir/m/tree" "$files" "$kib" <<'END' || fail 'no tree'
import os, random, subprocess, sys
top, files, kib = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(7)
def git(*words): subprocess.run(["git", "-C", top, "-c", "user.name=varve", "-c", "user.email=varve@localhost", *words], check=True)
subprocess.run(["git", "init", "-q", "-b", "main", top], check=True)
for commit in range(4):
    for i in range(files):
        if commit and i % 7 != commit:
            continue
        dir = f"{top}/{i % 97}"
        os.makedirs(dir, exist_ok=True)
        with open(f"{dir}/{i}", "wb") as f:
            f.write(rng.randbytes(rng.randrange(kib * 512)).hex().encode() + b"\n")
    git("add", "-A")
    git("commit", "-q", "-m", f"commit {commit}")
git("gc", "-q")
END
    (cd "$dir/m/tree" && find . -name .git -prune -o -type f -print0 | xargs -0 sha256sum && sha256sum .git/objects/pack/*) >"$dir/sums"
    head_was=$(git -C "$dir/m/tree" rev-parse HEAD)
}
tree_released() { # each second file, and the packs
    (cd "$dir/m" && find tree -name .git -prune -o -type f -print | half && ls tree/.git/objects/pack/*.pack) >"$dir/half"
    (cd "$dir/m" && xargs -d '\n' touch -d "@$old" <"$dir/half")
    git -C "$dir/m/tree" update-index -q --refresh # it notes times
    released <"$dir/half"
    [ "$(getfattr -h --only-values -n user.varve.tier "$dir"/m/tree/.git/objects/pack/*.pack 2>/dev/null)" = remote ] || fail 'the pack is here'
}
tree_is_right() { # by sums and by git
    (cd "$dir/m/tree" && sha256sum --quiet -c "$dir/sums") >"$dir/said" 2>&1 || fail "$(head -n 5 "$dir/said")"
    [ "$(git -C "$dir/m/tree" rev-parse HEAD)" = "$head_was" ] || fail 'another HEAD'
    [ -z "$(git -C "$dir/m/tree" status --porcelain)" ] || fail "$(git -C "$dir/m/tree" status --porcelain | head -n 3)"
    git -C "$dir/m/tree" fsck --full --strict >"$dir/said" 2>&1 || fail "$(head -n 5 "$dir/said")"
}

test_git_on_a_bad_line() {
    [ "${SCALE:-full}" != short ] || { skip='the longer form only'; return; }
    begin 'recall_timeout = "3s";' 'recall_wait = "60s";' || return
    repository_made
    tree_released
    before=$(remote)
    harm
    succeeds 600 git -C "$dir/m/tree" fsck --full --strict
    succeeds 600 git -C "$dir/m/tree" checkout -q HEAD~2
    succeeds 600 git clone -q --no-local --no-hardlinks "$dir/m/tree" "$dir/m/clone"
    succeeds 600 git -C "$dir/m/tree" checkout -q main
    succeeds 600 git -C "$dir/m/tree" grep -qI 0123 HEAD~1
    harm_stop
    met late refuse
    say "    $((before - $(remote))) of $before bytes came through $(did) requests that were harmed"
    tree_is_right
    git -C "$dir/m/clone" fsck --full --strict >"$dir/said" 2>&1 || fail "$(head -n 5 "$dir/said")"
    cd / && ok varve umount "$dir/m"
    ok varve check "$dir/s"
    line_down
}

# Of a repository that stays away: who waits, waits as long as was set, and git ends; what is there can be read all the while.
test_nobody_waits_longer_than_was_set() {
    begin 'recall_timeout = "2s";' 'recall_wait = "3s";' || return
    repository_made
    tree_released
    line stall
    python3 - "$dir" 10 <<'END' >"$dir/read" 2>&1 || fail "$(cat "$dir/read")"
import errno, mmap, os, sys, threading, time
dir, bound = sys.argv[1], float(sys.argv[2])
tree, cold, here = dir + "/m/tree", [], []
for line in open(dir + "/sums"):
    path = line.split("  ", 1)[1].strip()
    state = os.getxattr(f"{tree}/{path}", "user.varve.tier")
    (cold if state == b"remote" else here).append(path)
longest, ends = [0.0], []
def read(path):
    fd = os.open(f"{tree}/{path}", os.O_RDONLY | os.O_DIRECT) # one request: the kernel asks again for what it read ahead in vain
    began = time.monotonic()
    try:
        os.preadv(fd, [mmap.mmap(-1, 4096)], 0)
        ends.append("read")
    except OSError as e:
        ends.append(errno.errorcode[e.errno])
    longest[0] = max(longest[0], time.monotonic() - began)
threads = [threading.Thread(target=read, args=(p,), daemon=True) for p in cold[:8]]
for t in threads:
    t.start()
for p in here[:50]:
    with open(f"{tree}/{p}", "rb") as f:
        f.read()
until = time.monotonic() + bound * 2
for t in threads:
    t.join(max(0, until - time.monotonic()))
if any(t.is_alive() for t in threads):
    open(dir + "/line/fault", "w").close() # else this process could not end
    sys.exit(f"somebody reads still; others after {longest[0]:.1f} s: {ends}")
assert ends == ["EIO"] * 8, ends
assert longest[0] < bound, f"{longest[0]:.1f} s"
print(f"8 readers at once, each EIO after {longest[0]:.1f} s at the most")
END
    [ $failures = 0 ] || { line_down; return; }
    say "    $(cat "$dir/read")"
    if [ "${SCALE:-full}" != short ]; then # each page that it looks at is waited for
        fails 120 git -C "$dir/m/tree" fsck --full --strict
        say "    git fsck gave up after $took s"
    fi
    line good
    tree_is_right
    line_down
}

# What is turned over on its way is never read: an error, or the right bytes.
test_corrupted_answers_are_no_bytes() {
    begin 'recall_timeout = "2s";' || return
    mkdir "$dir/m/d"
    for i in $(seq $many); do random 400000 >"$dir/m/d/$i"; done
    (cd "$dir/m" && sha256sum d/*) >"$dir/sums"
    released < <(cd "$dir/m" && ls d/*)
    sha256sum --quiet -c <(head -n 1 "$dir/sums" | sed "s,d/,$dir/m/d/,") || fail 'the first one' # what else it asks for is known then
    line corrupt-answer GET
    wrong=0 unread=0
    for i in $(seq 2 $many); do
        if within 20 sha256sum "$dir/m/d/$i" && [ $rc -eq 0 ]; then
            [ "$(cut -d' ' -f1 "$dir/said")" = "$(awk -v p="d/$i" '$2 == p { print $1 }' "$dir/sums")" ] || wrong=$((wrong + 1))
        else
            unread=$((unread + 1))
        fi
        [ "$i" != $((many / 2)) ] || line corrupt-answer GET 3
    done
    met corrupt-answer
    [ $wrong = 0 ] || fail "$wrong files had other bytes"
    [ $unread -gt 0 ] || fail 'nothing was corrupted'
    line good
    (cd "$dir/m" && sha256sum --quiet -c "$dir/sums") >"$dir/said" 2>&1 || fail "$(head -n 3 "$dir/said")"
    say "    $((many - 1)) files, $unread not read, $wrong wrong"
    line_down
}

suite_needs_mounts
command -v git >/dev/null || skip_suite 'git is not installed (make deps-tests)'
if [ $# -eq 0 ]; then read -ra cases -d '' < <(all_cases); else cases=("$@"); fi
run_cases "${cases[@]}"
suite_end
