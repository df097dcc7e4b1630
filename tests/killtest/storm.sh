# Sourced by run.sh. kill -9 of the daemons every 2 to 5 s under real programs. MINUTES=10.

# --- programs: each works in $scratch/storm until $scratch/stop is there, then judges its own work
storm_git() {
    local i=0
    cd "$scratch/storm" || return 1
    git init -q -b main repo && cd repo || return 1
    git config user.name varve && git config user.email varve@localhost && git config gc.auto 0
    while [ ! -e "$scratch/stop" ]; do
        i=$((i + 1))
        mkdir -p "d$((i % 9))" && seq $i $((i * 3 + 2000)) >"d$((i % 9))/f$((i % 40))" || return 1
        git add -A && git commit -q -m "commit $i" || return 1
        if [ $((i % 25)) = 0 ]; then
            git gc -q && rm -rf ../clone && git clone -q --no-local . ../clone && git -C ../clone fsck --full --strict || return 1
        fi
    done
    git fsck --full --strict && [ "$(git rev-list --count HEAD)" = $i ] && echo "$i commits"
}

storm_sqlite() {
    cd "$scratch/storm" && python3 - "$scratch/stop" <<'END'
import os, sqlite3, sys
db = sqlite3.connect('t.db', isolation_level=None)
db.execute('PRAGMA journal_mode=WAL'), db.execute('PRAGMA synchronous=FULL')
db.execute('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)'), db.execute('CREATE INDEX t_v ON t(v)')
n = 0
while not os.path.exists(sys.argv[1]):
    db.execute('BEGIN')
    for i in range(3):
        db.execute('INSERT INTO t(v) VALUES(?)', ('row %d-%d' % (n, i) * 5,))
    db.execute('COMMIT')
    n += 1
assert db.execute('SELECT count(*) FROM t').fetchone()[0] == 3 * n
assert db.execute('PRAGMA integrity_check').fetchone()[0] == 'ok'
print(n, 'transactions')
END
}

storm_fsx() { # one that mounts a store of its own
    local ops=0 seed=1
    while [ ! -e "$scratch/stop" ]; do
        TMPDIR=$scratch/fsx "$BUILD/tests/fsx" --ops 12000 --seed $seed >"$log/fsx" 2>&1 || { grep -avE "^ +[0-9]+ " "$log/fsx" | head -n 12; return 1; }
        ops=$((ops + 12000)) seed=$((seed + 1))
    done
    echo "$ops operations"
}

as_pg() { runuser -u postgres -- env PATH="$pg_bin:/usr/bin:/bin" PGHOST="$scratch/socket" PGUSER=pg LC_ALL=C "$@"; }

storm_postgres() {
    local cluster=$scratch/storm/pg history
    install -d -m 700 -o postgres "$cluster" "$scratch/socket" "$scratch/ack" && : >"$log/pg" && chmod 666 "$log/pg" || return 1
    cd "$scratch/ack" || return 1
    as_pg initdb -D "$cluster" -U pg --data-checksums -E UTF8 --no-instructions >"$log/initdb" 2>&1 || { tail -n 3 "$log/initdb"; return 1; }
    as_pg pg_ctl -D "$cluster" -w -t 120 -l "$scratch/ack/log" \
        -o "-c listen_addresses= -c unix_socket_directories=$scratch/socket -c checkpoint_timeout=30s" start >/dev/null || return 1
    as_pg createdb bench && as_pg pgbench -q -i -s 2 bench 2>/dev/null || return 1
    while [ ! -e "$scratch/stop" ]; do
        as_pg pgbench -n -c 3 -j 1 -T 5 -l --log-prefix="$scratch/ack/tx" bench >"$log/pgbench" 2>&1 || { tail -n 5 "$log/pgbench"; return 1; }
    done
    history=$(as_pg psql -Atqc 'SELECT count(*) FROM pgbench_history' bench)
    as_pg pg_amcheck --install-missing --heapallindexed --all && as_pg pg_ctl -D "$cluster" -w -m fast stop >/dev/null \
        && as_pg pg_checksums --check -D "$cluster" >/dev/null || return 1
    if grep -E 'ERROR|FATAL|PANIC' "$scratch/ack/log"; then return 1; fi
    echo "$history transactions"
    [ "$history" -ge "$(cat "$scratch"/ack/tx* | wc -l)" ]
}

storm() {
    local minutes=${MINUTES:-10} names='git sqlite fsx' name pid pids= patience
    patience=$(awk -v m="$minutes" 'BEGIN { print int(m * 60 + 400) }')
    pg_bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
    for name in git sqlite3; do command -v $name >/dev/null || names=${names/${name%3}/}; done
    if [ -n "$pg_bin" ]; then names="$names postgres"; else echo "skip PostgreSQL is not installed"; skipped=$((skipped + 1)); fi
    scratch_volume storm >/dev/null || return 1
    chmod 755 "$scratch/storm"
    install -d -m 711 -o postgres "$scratch/socket" 2>/dev/null
    mkdir -p "$scratch/fsx" && rm -f "$scratch/stop"
    export GIT_CONFIG_NOSYSTEM=1 BUILD=$(readlink -f "$BUILD")
    watch_over "$patience" 2>/dev/null &
    local watch=$!
    for name in $names; do
        (storm_$name) >"$log/$name.out" 2>&1 &
        pids="$pids $name:$!"
    done
    sleep 8 # all have begun
    python3 tests/killtest/storm.py "$scratch/storm" "$scratch" "$minutes" "$scratch/stop" | tee "$log/storm.log"
    touch "$scratch/stop"
    take_in "$log/storm.log"
    for pid in $pids; do
        name=${pid%:*}
        if wait "${pid#*:}"; then
            passed=$((passed + 1))
            echo "ok      $name: no error, $(tail -n 1 "$log/$name.out")"
        else
            failed=$((failed + 1))
            echo "FAILED  $name:"
            tail -n 8 "$log/$name.out" | sed 's/^/    /'
        fi
    done
    pkill -P $watch
    wait $watch 2>/dev/null
    cd / && "$VARVE" umount "$scratch/storm" || failed=$((failed + 1))
    if "$VARVE" check "$scratch/storm.store" >"$log/check.log"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        cat "$log/check.log"
    fi
}
