# Sourced by run.sh and judge.sh: the workloads. prepare_W VOLUME and work_W VOLUME SECONDS run on the logged device; each line that
# work_W prints is what it was promised (own tells the device itself, and waits for that). verify_W VOLUME PROMISED looks at an image,
# which is thrown away afterwards, so nothing in it has to be synced.
prepare_own() { mkdir "$1/own"; }
work_own() { VARVE=${snapshots:+$VARVE} python3 tests/powercut/work.py run "$1/own/w" "$2" "$SEED" "$fast/marks"; }
verify_own() { python3 tests/powercut/work.py verify "$1/own/w" "$2"; }

# A second volume of the store, backed up to a directory beside the store, on the same device
repo_key() { # made of nothing that a cut could lose
    printf '%064d' 7 >"$fast/key"
}
prepare_repo() {
    repo_key
    mkdir -p "$fast/second"
    "$daemon" create "$fast/lower/store/second" >/dev/null && mounted+=("$fast/second") && "$daemon" mount "$fast/lower/store/second" "$fast/second" >/dev/null \
        && "$VARVE" repo init "dir:$fast/lower/repo" --key-file "$fast/key" >/dev/null
}
work_repo() { python3 tests/powercut/repo.py run "$fast/second" "$fast/lower/repo" "$fast/key" "$2" "$fast/marks"; }
verify_repo() {
    repo_key
    rm -rf "$XDG_CACHE_HOME"
    python3 tests/powercut/repo.py verify "$fast/lower/repo" "$fast/key" "$2" "$fast/restored"
}

prepare_sqlite() {
    mkdir "$1/sqlite" && sqlite3 "$1/sqlite/db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
        CREATE INDEX t_v ON t(v);' >/dev/null
}
work_sqlite() {
    local end=$((SECONDS + ${2%.*})) i=0
    while [ $SECONDS -lt $end ]; do
        echo "BEGIN; INSERT INTO t(v) VALUES('row $i-1'),('row $i-2'); COMMIT; SELECT count(*) FROM t;"
        i=$((i + 1))
        sleep 0.01
    done | { echo 'PRAGMA synchronous=FULL;'; cat; } | sqlite3 -bail "$1/sqlite/db"
}
verify_sqlite() {
    local said want
    want=$(tail -n 1 "$2")
    said=$(sqlite3 "$1/sqlite/db" 'PRAGMA integrity_check; SELECT count(*) FROM t')
    [ "${said%%$'\n'*}" = ok ] || { echo "integrity_check failed: $said"; return 1; }
    [ "${said##*$'\n'}" -ge "${want:-0}" ] || { echo "${said##*$'\n'} rows, $want were promised"; return 1; }
}

export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \
    GIT_CONFIG_KEY_1=core.fsync GIT_CONFIG_VALUE_1=all GIT_CONFIG_KEY_2=core.fsyncMethod GIT_CONFIG_VALUE_2=fsync
prepare_git() {
    git init -q -b main "$1/git" && git -C "$1/git" config user.name varve && git -C "$1/git" config user.email varve@localhost \
        && echo 0 >"$1/git/file" && git -C "$1/git" add file && git -C "$1/git" commit -qm 0
}
work_git() {
    local end=$((SECONDS + ${2%.*})) i=0
    while [ $SECONDS -lt $end ]; do
        i=$((i + 1))
        echo "line $i" >>"$1/git/file"
        git -C "$1/git" commit -qam "$i" || return 1
        # git syncs files, not names: a name is durable when its directory is
        sync "$1/git/.git/refs/heads" "$1/git/.git" && git -C "$1/git" rev-parse HEAD
    done
}
verify_git() {
    local want
    want=$(tail -n 1 "$2")
    git -C "$1/git" fsck --full --strict || return 1
    [ -z "$want" ] || git -C "$1/git" merge-base --is-ancestor "$want" HEAD || { echo "commit $want was promised"; return 1; }
}

# --- PostgreSQL -----------------------------------------------------------------------------------------------------
pg_bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
pg_data=
as_pg() { runuser -u postgres -- env PATH="$pg_bin:/usr/bin:/bin" PGHOST="$fast/socket" PGUSER=pg LC_ALL=C "$@"; }
pg_start() { # CLUSTER
    install -d -m 700 -o postgres "$fast/socket"
    : >"$fast/pg.log" && chown postgres "$fast/pg.log"
    as_pg pg_ctl -D "$1" -w -t 60 -l "$fast/pg.log" \
        -o "-c listen_addresses= -c unix_socket_directories=$fast/socket -c shared_buffers=8MB -c max_wal_size=64MB" start >/dev/null || {
        tail -n 15 "$fast/pg.log"
        return 1
    }
    pg_data=$1
}
pg_end() {
    [ -n "$pg_data" ] && as_pg pg_ctl -D "$pg_data" -w -m fast stop >/dev/null
    pg_data=
}

prepare_postgres() {
    install -d -m 700 -o postgres "$1/postgres" && as_pg initdb -D "$1/postgres" -U pg -A trust --data-checksums -E UTF8 \
        --no-instructions >/dev/null && pg_start "$1/postgres" && as_pg createdb bench \
        && as_pg psql -qc 'CREATE TABLE t(id serial PRIMARY KEY, v text); CREATE INDEX ON t(v); CREATE EXTENSION amcheck' bench
}
work_postgres() {
    local end=$((SECONDS + ${2%.*})) i=0
    while [ $SECONDS -lt $end ]; do
        i=$((i + 1))
        echo "INSERT INTO t(v) SELECT 'row $i-' || g FROM generate_series(1, 20) g; SELECT $i * 20;"
        sleep 0.01
    done | as_pg psql -v ON_ERROR_STOP=1 -Atq bench
}
# One process recovers the cluster, looks at each table and index as pg_amcheck --heapallindexed does, and shuts it down.
pg_looks() { # CLUSTER
    as_pg postgres --single -D "$1" -c fsync=off -c exit_on_error=on -c shared_buffers=8MB bench <<'SQL'
SELECT 'rows=' || count(*) AS said FROM t
SELECT 'indexes=' || count(bt_index_check(i.indexrelid, true)::text) AS said FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND i.indisready AND i.indisvalid AND c.relpersistence <> 't'
SELECT 'damaged=' || count(*) AS said FROM pg_class c JOIN pg_am a ON a.oid = c.relam, LATERAL verify_heapam(c.oid) v WHERE a.amname = 'heap' AND c.relkind IN ('r', 'm', 't') AND c.relpersistence <> 't'
SQL
}
verify_postgres() {
    local said rows want
    want=$(tail -n 1 "$2")
    rm -f "$1/postgres/postmaster.pid" # of the other boot: its process id may be somebody's here
    said=$(pg_looks "$1/postgres" 2>&1) || { echo "$said" | grep -aE 'FATAL|ERROR|PANIC|LOG' | tail -n 4; return 1; }
    rows=$(echo "$said" | sed -n 's/.*said = "rows=\([0-9]*\)".*/\1/p')
    [ "${rows:--1}" -ge "${want:-0}" ] || { echo "${rows:-no} rows, ${want:-0} were promised"; return 1; }
    echo "$said" | grep -q 'said = "indexes=[1-9]' && echo "$said" | grep -q 'said = "damaged=0"' \
        || { echo "$said" | grep -a said; return 1; }
    as_pg pg_checksums --check -D "$1/postgres" >/dev/null
}
