#!/bin/bash
# apps.sh ROW prepare|round short|full RUN PLACE: the rows of the bench that are programs. It works in the current directory. A round
# prints how long the work took ("seconds 1.25") or at what rate it went ("rate 480.2"); what fails prints one line that says why.
set -u
row=$1 step=$2 scale=$3 run=$4 place=$5
log=$run/apps.log

cannot() {
    echo "$*"
    exit 1
}
count() { if [ "$scale" = full ]; then echo "$1"; else echo "$2"; fi; }

took() { # command...: runs it and says how long it took
    local t0 t1
    t0=$EPOCHREALTIME
    "$@" >/dev/null 2>>"$log" || cannot "$row: $1 failed: $(tail -n 1 "$log")"
    t1=$EPOCHREALTIME
    awk -v a="$t0" -v b="$t1" 'BEGIN { printf "seconds %.6f\n", b - a }'
}

needs() { command -v "$1" >/dev/null || cannot "$1 is not installed"; }

# --- SQLite -----------------------------------------------------------------------------------------------------------
sqlite_round() { # synchronous, transactions
    needs sqlite3
    rm -f t.db*
    {
        echo "PRAGMA journal_mode=WAL; PRAGMA synchronous=$1; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);"
        seq -f "INSERT INTO t(v) VALUES('row %.0f of the bench, with some bytes that follow it');" "$2"
    } >"$run/sqlite.sql"
    took sqlite3 t.db ".read $run/sqlite.sql"
}

# --- PostgreSQL -------------------------------------------------------------------------------------------------------
pg_bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
as_pg() {
    runuser -u postgres -- env PATH="$pg_bin:/usr/bin:/bin" PGHOST="$run/socket" PGUSER=pg LC_ALL=C "$@" >>"$log" 2>&1
}
# its server is a child of this script, so that its time counts as the bench's own
pg_begin() {
    as_pg postgres -D "$PWD/pg" -c listen_addresses= -c "unix_socket_directories=$run/socket" &
    for _ in $(seq 100); do
        as_pg pg_isready -q && return 0
        sleep 0.1
    done
    cannot "PostgreSQL did not start: $(tail -n 1 "$log")"
}
pg_end() {
    as_pg pg_ctl -D "$PWD/pg" -m fast -w stop
    wait
}
pg_prepare() {
    [ -n "$pg_bin" ] || cannot "PostgreSQL is not installed"
    install -d -m 711 "$run/socket" && chown postgres "$run/socket"
    install -d -m 700 -o postgres pg || cannot "no directory for PostgreSQL"
    as_pg initdb -D "$PWD/pg" -U pg -E UTF8 --no-instructions || cannot "initdb: $(tail -n 1 "$log")"
    pg_begin
    as_pg createdb bench && as_pg pgbench -q -i -s "$(count 5 1)" bench || cannot "pgbench -i: $(tail -n 1 "$log")"
    pg_end
}
pg_round() {
    pg_begin
    runuser -u postgres -- env PGHOST="$run/socket" PGUSER=pg "$pg_bin/pgbench" -n -c 4 -j 2 -T "$(count 8 1)" bench \
        >"$run/pgbench.out" 2>>"$log" || { pg_end; cannot "pgbench: $(tail -n 1 "$log")"; }
    pg_end
    sed -n 's/^tps = \([0-9.]*\).*/rate \1/p' "$run/pgbench.out" | head -n 1
}

# --- dbench -----------------------------------------------------------------------------------------------------------
dbench_round() { # clients
    needs dbench
    rm -rf clients
    dbench -D . -c /usr/share/dbench/client.txt -t "$(count 8 2)" "$1" >"$run/dbench.out" 2>>"$log" \
        || cannot "dbench: $(tail -n 1 "$run/dbench.out")"
    sed -n 's/^Throughput \([0-9.]*\) .*/rate \1/p' "$run/dbench.out"
}

# --- trees ------------------------------------------------------------------------------------------------------------
untar() { tar -xf "$run/tree.tar" --no-same-owner || cannot "tar failed"; }
git_here() { git -c user.name=bench -c user.email=bench@localhost -c gc.auto=0 -c core.fsync=none "$@" >>"$log" 2>&1; }

prepare() {
    case $row in
    pgbench) pg_prepare ;;
    git-add | grep | cp | rm | du-cold) untar ;;
    git-status)
        untar
        cd tree && git_here init -q && git_here add -A && git_here commit -q -m all && git_here status || cannot "git failed"
        ;;
    esac
}

round() {
    case $row in
    sqlite-full) sqlite_round FULL "$(count 1000 50)" ;;
    sqlite-normal) sqlite_round NORMAL "$(count 20000 500)" ;;
    pgbench) pg_round ;;
    dbench-1) dbench_round 1 ;;
    dbench-4) dbench_round 4 ;;
    untar)
        rm -rf tree
        took tar -xf "$run/tree.tar" --no-same-owner
        ;;
    git-add)
        cd tree && rm -rf .git && git_here init -q || cannot "git init failed"
        took git -c core.fsync=none add -A
        ;;
    git-status)
        cd tree && git_here status
        took git status --porcelain
        ;;
    grep)
        grep -rc journal_1 tree >/dev/null
        took grep -rc journal_1 tree
        ;;
    cp)
        rm -rf copy
        cat $(find tree -type f) >/dev/null
        took cp -a tree copy
        ;;
    rm)
        rm -rf copy
        cp -a tree copy
        sync -f .
        took rm -rf copy
        ;;
    du-cold) took du -s tree ;;
    *) cannot "apps.sh knows no row $row" ;;
    esac
}

"$step"
