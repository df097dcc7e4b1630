# Sourced by suites that run PostgreSQL on what they test, after $scratch is there: $pg_bin ("": it is not installed); it runs as the user
# postgres where this is root, with its socket in $scratch/socket. PG_SCALE is pgbench's.
pg_bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
PG_OWNER=$([ "$(id -u)" = 0 ] && echo postgres)
[ -z "$pg_bin" ] || install -d -m 711 ${PG_OWNER:+-o $PG_OWNER} "$scratch/socket"
as_pg() {
    if [ -n "$PG_OWNER" ]; then
        runuser -u "$PG_OWNER" -- env PATH="$pg_bin:/usr/bin:/bin" PGHOST="$scratch/socket" PGUSER=pg LC_ALL=C "$@"
    else
        env PATH="$pg_bin:$PATH" PGHOST="$scratch/socket" PGUSER=pg LC_ALL=C "$@"
    fi
}

pg_start() { # CLUSTER
    as_pg pg_ctl -D "$1" -w -t 120 -l "$1.log" -o "-c listen_addresses= -c unix_socket_directories=$scratch/socket -c fsync=on" start
}
pg_stop() { as_pg pg_ctl -D "$1" -w -m fast stop; }

pg_create() { # CLUSTER: runs afterwards, with pgbench's tables in `bench`
    install -d -m 700 ${PG_OWNER:+-o $PG_OWNER} "$1" && : >"$1.log" && chown ${PG_OWNER:-$(id -un)} "$1.log" || return 1
    as_pg initdb -D "$1" -U pg --data-checksums -E UTF8 --no-instructions && pg_start "$1" \
        && as_pg createdb bench && as_pg pgbench -q -i -s "$PG_SCALE" bench
}

pg_ask() { as_pg psql -v ON_ERROR_STOP=1 -Atqc "$1" bench; }
pg_rows() { pg_ask 'SELECT count(*) FROM pgbench_history'; }

pg_sound() { # ROWS-AT-LEAST: in a running cluster
    local rows
    rows=$(pg_rows) || return 1
    echo "$rows rows, at least $1 expected"
    [ "$rows" -ge "$1" ] || return 1
    # the bank's books agree: every transaction is whole
    [ "$(pg_ask 'SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta),0) FROM pgbench_history)
        AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta),0) FROM pgbench_history)')" = t ] \
        || { echo "balances differ from the history"; return 1; }
    as_pg pg_amcheck --install-missing --heapallindexed --all
}
