#!/bin/bash
# apps: programs that people run, on a volume and on ext4 beside it.
#   build    untar a C project (zlib, Debian's source), configure, compile, run its own tests
#   git      clone, fsck --full --strict
#   sqlite   WAL mode; a writer is killed, what it had acknowledged is there, integrity_check
#   postgres initdb, pgbench, kill -9 of every process of it, recovery, acknowledged <= rows, pg_amcheck --heapallindexed
# The tree that build and git leave has the same hash on both. All is looked at again, and done again, on a clone of a snapshot
# taken while pgbench ran, and on that snapshot brought back by cp -a.
set -u
cd "$(dirname "$0")/../.."
. tests/tools/mounted.sh
. tests/tools/postgres.sh
tree=$PWD
PG_SECONDS=$([ "${SCALE:-full}" = short ] && echo 6 || echo 30)
PG_SCALE=$([ "${SCALE:-full}" = short ] && echo 2 || echo 10)
passed=0 failed=0 skipped=0
logs=$(readlink -f "$BUILD")/log/apps
rm -rf "$logs"
mkdir -p "$logs"

ok() { # WHAT COMMAND...: one test; its output goes to a log that is shown when it fails
    local what=$1 log
    log=$logs/$(tr -c 'a-zA-Z0-9\n' _ <<<"$1").log
    shift
    if ("$@") >"$log" 2>&1; then
        passed=$((passed + 1))
        printf 'ok      %s\n' "$what"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$what"
        tail -n 15 "$log" | sed 's/^/    /'
        return 1
    fi
}

# tree_hash DIR: names, kinds, modes, owners, link targets, bytes; not what differs between two runs of the same work
tree_hash() {
    (
        cd "$1" || exit 1
        find . \( -name .git -o -name configure.log \) -prune -o -printf '%P %y %m %U %G %l\n' | sort
        find . \( -name .git -o -name configure.log \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
    ) | sha256sum | cut -d' ' -f1
}

# --- the programs ---------------------------------------------------------------------------------------------------
source_tarball() {
    source=$(ls "$VARVE_CACHE"/apt-zlib/cache/zlib_*.orig.tar.* 2>/dev/null | grep -v '\.asc$' | head -n 1)
    [ -n "$source" ] && return 0
    debian_source zlib "$(. /etc/os-release && echo "$VERSION_CODENAME")" >"$logs/source.log" || return 1
    source=$(ls "$VARVE_CACHE"/apt-zlib/cache/zlib_*.orig.tar.* | grep -v '\.asc$' | head -n 1)
}

work_build() { # DIR
    mkdir -p "$1/zlib" && tar -xf "$source" -C "$1/zlib" --strip-components=1 --no-same-owner || return 1
    cd "$1/zlib" && ./configure && make -j2 && make test
}

work_git() { # DIR
    git clone -q --no-local --no-hardlinks "$repo" "$1/clone" && git -C "$1/clone" fsck --full --strict
}

make_repo() { # a repository of this tree's files with some history, whatever way the tree came here
    repo=$scratch/origin
    git init -q -b main "$repo" && cp -a "$tree"/{base,snap,fs,tests,Makefile} "$repo"/ 2>/dev/null
    cd "$repo" || return 1
    git config user.name varve && git config user.email varve@localhost
    for dir in base snap fs tests .; do
        [ -e $dir ] && git add $dir && git commit -q -m "$dir" 2>/dev/null
    done
    git gc -q && git fsck --full --strict
}

sqlite_writer() { # DATABASE COUNT: one line is printed for each transaction that was acknowledged
    {
        echo 'PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;'
        echo 'CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v TEXT); CREATE INDEX IF NOT EXISTS t_v ON t(v);'
        for ((i = 1; i <= $2; i++)); do
            echo "BEGIN; INSERT INTO t(v) VALUES('row $i-1'),('row $i-2'),('row $i-3'); COMMIT; SELECT 'ack';"
        done
    } | sqlite3 "$1"
}

work_sqlite() { # DIR
    mkdir -p "$1/sqlite" && cd "$1/sqlite" || return 1
    sqlite_writer whole.db 300 >whole.out || return 1
    sqlite_verify whole.db 900 || return 1
    sqlite_writer killed.db 100000 >acked.out &
    local shell=$! writer
    for _ in $(seq 100); do
        [ "$(grep -c ack acked.out)" -gt 200 ] && break
        sleep 0.1
    done
    writer=$(pgrep -P $shell sqlite3) || return 1
    kill -9 "$writer"
    wait $shell 2>/dev/null
    sqlite_verify killed.db $((3 * $(grep -c ack acked.out)))
}

sqlite_verify() { # DATABASE ROWS-AT-LEAST
    [ "$(sqlite3 "$1" 'PRAGMA integrity_check')" = ok ] || { echo "integrity_check failed"; return 1; }
    local rows
    rows=$(sqlite3 "$1" 'SELECT count(*) FROM t')
    echo "$1: $rows rows, at least $2 expected"
    [ "$rows" -ge "$2" ]
}

# --- PostgreSQL -----------------------------------------------------------------------------------------------------
pg_kill() { # CLUSTER: kill -9 of the postmaster and of all its children, by their ids
    local master pids
    master=$(head -n 1 "$1/postmaster.pid") || return 1
    pids="$master $(pgrep -P "$master")"
    kill -9 $pids
    for _ in $(seq 100); do
        ps -p "$(echo $pids | tr ' ' ,)" >/dev/null || return 0
        sleep 0.1
    done
    return 1
}

pg_load() { # CLUSTER SECONDS: acknowledged transactions, a line each, in $scratch/ack/*
    rm -rf "$scratch/ack"
    install -d -m 700 ${PG_OWNER:+-o $PG_OWNER} "$scratch/ack"
    (cd "$scratch/ack" && as_pg pgbench -n -c 4 -j 2 -T "$2" -l --log-prefix="$scratch/ack/log" bench)
}
pg_acked() { cat "$scratch"/ack/log* 2>/dev/null | wc -l; }

pg_recover() { # CLUSTER ROWS-AT-LEAST: start after a crash, look, stop, checksums of every page
    pg_start "$1" || { tail -n 20 "$1.log"; return 1; }
    local r=0
    pg_sound "$2" || r=1
    pg_stop "$1" && [ $r = 0 ] && as_pg pg_checksums --check -D "$1"
}

work_postgres() { # DIR: $snapshot_during, when set, is called in the middle of the load with the rows committed by then
    local cluster=$1/pg load acked
    pg_create "$cluster" || return 1
    pg_load "$cluster" "$PG_SECONDS" >"$scratch/pgbench.out" 2>&1 &
    load=$!
    sleep $((PG_SECONDS / 2))
    if [ -n "${snapshot_during:-}" ]; then
        pg_rows >"$scratch/rows_before" && $snapshot_during || { echo "no snapshot"; kill $load; return 1; }
    fi
    sleep 1
    pg_kill "$cluster" || return 1
    wait $load
    acked=$(pg_acked)
    [ "$acked" -gt 50 ] || { echo "only $acked transactions"; cat "$scratch/pgbench.out"; return 1; }
    echo "$acked acknowledged before kill -9"
    pg_recover "$cluster" "$acked"
}

# --- the runs -------------------------------------------------------------------------------------------------------
take_snapshot() { mkdir "$scratch/varve/.snapshots/during"; }

first_run() { # NAME DIR
    ok "$1: untar, configure, compile and test zlib" work_build "$2"
    ok "$1: git clone and fsck" work_git "$2"
    ok "$1: SQLite in WAL mode, writer killed" work_sqlite "$2"
    if [ -n "$pg_bin" ]; then
        ok "$1: PostgreSQL under pgbench, kill -9, recovery, pg_amcheck" work_postgres "$2"
    fi
}

same_hash() { # DIR DIR: what build and git made
    for part in zlib clone; do
        a=$(tree_hash "$1/$part") b=$(tree_hash "$2/$part")
        echo "$part $a $b"
        [ -n "$a" ] && [ "$a" = "$b" ] || return 1
    done
}

look_again() { # NAME DIR
    ok "$1: the trees have the hash of ext4's" same_hash "$scratch/ext4" "$2"
    ok "$1: git fsck" git -C "$2/clone" fsck --full --strict
    ok "$1: SQLite, the whole database" sqlite_verify "$2/sqlite/whole.db" 900
    ok "$1: SQLite, the killed one" sqlite_verify "$2/sqlite/killed.db" $((3 * $(grep -c ack "$2/sqlite/acked.out")))
    if [ -n "$pg_bin" ]; then
        ok "$1: PostgreSQL recovers from the snapshot, pg_amcheck" pg_recover "$2/pg" "$(cat "$scratch/rows_before")"
    fi
    mkdir "$2/again"
    unset snapshot_during
    first_run "$1, again" "$2/again"
    ok "$1, again: the trees have the hash of ext4's" same_hash "$scratch/ext4" "$2/again"
}

for tool in git sqlite3 gcc make tar; do
    command -v $tool >/dev/null || skip_suite "$tool is not installed (make deps-tests)"
done
[ -e /dev/fuse ] || skip_suite "no /dev/fuse"
[ -n "$pg_bin" ] || {
    say "skip PostgreSQL is not installed (make deps-tests)"
    skipped=1
}
source_tarball || skip_suite "the source of zlib cannot be had: $(cat "$logs/source.log")"
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
(make_repo) >"$logs/repo.log" 2>&1 || { cat "$logs/repo.log"; exit 1; }
repo=$scratch/origin

ok "mount a volume" scratch_volume varve --size 20G && mounted+=("$scratch/varve")
mountpoint -q "$scratch/varve" || {
    say "$passed passed, $failed failed, $skipped skipped"
    exit 1
}
scratch_ext4 ext4 4G
first_run ext4 "$scratch/ext4"
snapshot_during=take_snapshot
[ -n "$pg_bin" ] || take_snapshot
first_run varve "$scratch/varve"
ok "varve: the trees have the hash of ext4's" same_hash "$scratch/ext4" "$scratch/varve"

ok "clone the snapshot" "$VARVE" clone "$scratch/varve.store@during" twin
mkdir -p "$scratch/twin"
ok "mount the clone" "$VARVE" mount "$scratch/varve.store/twin" "$scratch/twin" && mounted+=("$scratch/twin") \
    && look_again clone "$scratch/twin"
ok "bring the snapshot back by cp -a" cp -a "$scratch/varve/.snapshots/during" "$scratch/varve/restored" \
    && look_again restored "$scratch/varve/restored"

unmount_all
ok "varve check" "$VARVE" check "$scratch/varve.store"
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
