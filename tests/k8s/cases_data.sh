# Sourced by cluster.sh: cases of data that outlives its pod: a volume that moves, a database.

# --- a volume that follows its pod ---------------------------------------------------------------------------------------------

# a repository that opens for the nodes themselves
travel_repository() {
    local n url="s3://vault/travel?endpoint=http://$HUB:$S3_PORT"
    repository || return 1
    head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >$W/s3/key
    varve_on 1 repo init "$url" --key-file $W/s3/key --credentials $W/s3/credentials >"$logs/travel.log" 2>&1 || { fail "$(cat "$logs/travel.log")"; return 1; }
    for n in 1 2; do
        on $n sh -c "mkdir -p /etc/varve && cp $W/s3/key /etc/varve/travel.key && cp $W/s3/credentials /etc/varve/travel.credentials"
        varve_on $n repo add travel "$url" --key-file /etc/varve/travel.key --credentials /etc/varve/travel.credentials >"$logs/travel.log" 2>&1 \
            || { fail "node$n: $(cat "$logs/travel.log")"; return 1; }
    done
}
travelled() { varve_on 1 backup list travel --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["recovery_points"]))'; }
copy_on() { on "$1" /opt/varve/bin/varve list $STORE | awk '/^mobile-/ { print $1 }'; }
no_copy() { [ -z "$(copy_on "$1")" ]; }
snapshots_on() { on "$1" /opt/varve/bin/varve snapshot list "$STORE/$(copy_on "$1")" | grep -c snapshot-; }
mobile_pod() {
    sed -n '/^kind: Pod$/,$p' "$EX/mobile.yaml" | sed '1i apiVersion: v1' >$W/mobile-pod.yaml
    pinned $W/mobile-pod.yaml "node$1" | k apply -f - >/dev/null
    running mobile
}

test_mobile() {
    local from to
    [ -z "${K8S_NO_S3:-}" ] || { skip=$K8S_NO_S3; return; }
    travel_repository || return
    sed 's/repository: offsite/repository: travel/' "$EX/mobile.yaml" | k apply -f - >/dev/null
    running mobile || return
    from=$(number mobile) to=$((3 - $(number mobile)))
    in_pod mobile sh -c 'head -c 3000000 /dev/urandom >/data/bytes; md5sum </data/bytes >/data/sum; echo here >/data/where'
    drop pod/mobile
    mobile_pod $to || return
    within in_pod mobile sh -c '[ "$(wc -l </data/starts)" = 2 ]' || fail "$(in_pod mobile cat /data/starts)"
    in_pod mobile sh -c '[ "$(md5sum </data/bytes)" = "$(cat /data/sum)" ] && grep -q here /data/where' || fail "not its bytes: $(in_pod mobile ls -la /data)"
    within no_copy $from || fail "node$from keeps its copy"
    # what is not asked of one node alone: a snapshot, a larger size
    sed 's/name: data-1/name: mobile-1/; s/ClaimName: data/ClaimName: mobile/' "$EX/snapshot.yaml" | k apply -f - >/dev/null
    within is volumesnapshot/mobile-1 '{.status.readyToUse}' true || fail "no snapshot: $(k get volumesnapshot/mobile-1 -o 'jsonpath={.status.error.message}')"
    [ "$(snapshots_on $to)" = 1 ] || fail 'not of the copy that counts'
    k patch pvc/mobile --type merge -p '{"spec": {"resources": {"requests": {"storage": "2Gi"}}}}' >/dev/null
    within is pvc/mobile '{.status.capacity.storage}' 2Gi || fail "$(k describe pvc mobile | tail -n 5)"
    drop volumesnapshot/mobile-1
    within sh -c '! kubectl get volumesnapshotcontents -o "jsonpath={.items[*].spec.volumeSnapshotRef.name}" | grep -qw mobile-1' || fail 'its content stays'
    [ "$(snapshots_on $to)" = 0 ] || fail 'the snapshot stays'
    in_pod mobile sh -c 'echo there >/data/where'
    # back, as large
    drop pod/mobile
    mobile_pod $from || return
    [ "$(in_pod mobile cat /data/where)" = there ] || fail 'not as it was left'
    [ "$(in_pod mobile df -kP /data | awk 'NR == 2 { print $2 }')" -ge 2097000 ] || fail "$(in_pod mobile df -k /data)"
    drop pod/mobile
    mobile_deleted_elsewhere $from
    k delete storageclass/varve-mobile >/dev/null
}

# The provisioner of the node that has the copy stands still: another one's deletes the volume.
mobile_deleted_elsewhere() {
    local n=$1 pid pv
    pid=$(on "$n" pgrep -x csi-provisioner)
    pv=$(k get pvc/mobile -o 'jsonpath={.spec.volumeName}')
    on "$n" kill -STOP "$pid"
    drop pvc/mobile
    within gone "pv/$pv" || fail "the volume stays: $(why "$pv")"
    on "$n" kill -CONT "$pid"
    [ "$(travelled)" = 0 ] || fail "$(travelled) recovery points are left"
    within no_copy "$n" || fail "node$n: $(volumes_left "$n")"
}

# --- a database ------------------------------------------------------------------------------------------------------------------

PG=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
pg_image=localhost/postgres:$(basename "${PG%/bin}")
postgres_image() {
    local n tar=$VARVE_CACHE/k8s/images/${pg_image//\//_}.tar
    if [ ! -s "$tar" ] || [ "$PG/postgres" -nt "$tar" ] || [ "$here/images.py" -nt "$tar" ]; then
        mkdir -p "${tar%/*}"
        python3 "$here/images.py" "$tar.$$" "$pg_image" --postgres "$bin/busybox" "$PG" && mv "$tar.$$" "$tar" || return 1
    fi
    for n in 1 2; do ctr_on $n images import "$tar" || return 1; done
}

# database_as NAME [SNAPSHOT]: the example by this name and with this machine's PostgreSQL; its volume out of a snapshot
database_as() {
    python3 - "$EX/database.yaml" "$pg_image" "$@" <<'PY' | k apply -f - >/dev/null
import sys, yaml
image, name, *snapshot = sys.argv[2:]
docs = list(yaml.safe_load_all(open(sys.argv[1]).read().replace("app: database", "app: " + name)))
docs[0]["metadata"]["name"] = docs[1]["metadata"]["name"] = docs[1]["spec"]["serviceName"] = name
docs[1]["spec"]["template"]["spec"]["containers"][0]["image"] = image
claim = docs[1]["spec"]["volumeClaimTemplates"][0]["spec"]
claim["resources"]["requests"]["storage"] = "1Gi"
if snapshot:
    claim |= {"storageClassName": "varve-copy", "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot[0]}}
yaml.safe_dump_all(docs, sys.stdout)
PY
}
sql() { in_pod "$1" psql -U postgres -XAtqc "$2"; }
answers() { [ "$(sql "$1" 'SELECT 1')" = 1 ]; }
# each transaction writes into two tables: how many there are; "torn" where the two do not agree
transactions() {
    [ "$(sql "$1" 'SELECT (SELECT coalesce(sum(v), 0) FROM ledger) = (SELECT sum(v) FROM total) AND (SELECT count(*) FROM ledger) = (SELECT sum(n) FROM total)')" = t ] || echo torn
    sql "$1" 'SELECT count(*) FROM ledger'
}
amcheck() { in_pod "$1" pg_amcheck -U postgres --all --install-missing --heapallindexed >"$logs/amcheck.log" 2>&1 || fail "$1: $(tail -n 3 "$logs/amcheck.log")"; }
complaints() { k logs "$1" | grep -E 'ERROR|FATAL|PANIC' | grep -v 'the database system is'; } # not yet accepting connections, say
batches() { in_pod database-0 sh -c 'grep -c "^number of transactions actually processed: 200/200" /tmp/bench.log || :'; }
more_batches() {
    local before i
    before=$(batches)
    for ((i = 0; i < NEEDS; i++)); do
        [ "$(batches)" -le $((before + 1)) ] || return 0
        sleep 1
    done
    fail "no transactions: $(in_pod database-0 tail -n 3 /tmp/bench.log)"
    return 1
}
begin_work() {
    sql database-0 'CREATE TABLE ledger (id bigserial PRIMARY KEY, v int NOT NULL); CREATE TABLE total (id int PRIMARY KEY, n bigint, v bigint); INSERT INTO total SELECT i, 0, 0 FROM generate_series(0, 3) i' \
        || fail 'no tables'
    in_pod database-0 sh -c '
        printf "%s\n" "\\set v random(1, 1000000)" "BEGIN;" "INSERT INTO ledger (v) VALUES (:v);" "UPDATE total SET n = n + 1, v = v + :v WHERE id = :client_id;" "END;" >/tmp/transaction
        printf "%s\n" "while [ ! -e /tmp/enough ]; do pgbench -n -U postgres -c 4 -t 50 -f /tmp/transaction postgres || { echo failed: \$?; break; }; done" "echo over" >/tmp/work
        sh /tmp/work >/tmp/bench.log 2>&1 </dev/null &'
    more_batches
}
drop_database() { # its class retains
    local pv
    pv=$(k get "pvc/data-$1-0" -o 'jsonpath={.spec.volumeName}')
    drop "statefulset/$1" "service/$1"
    within gone "pod/$1-0"
    k patch "pv/$pv" -p '{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}' >/dev/null
    drop "pvc/data-$1-0"
}

# PostgreSQL at work while the daemon is killed and upgraded, and a second one out of a snapshot of it: what a power cut would leave
test_postgresql() {
    local n pid all least most count
    [ -n "$PG" ] || { skip='no PostgreSQL on this machine'; return; }
    postgres_image >"$logs/postgres.log" 2>&1 || { fail "$(tail -n 3 "$logs/postgres.log")"; return; }
    k create secret generic database --from-literal=password=secret >/dev/null
    database_as database
    running database-0 && within answers database-0 || { fail "$(k logs database-0 | tail -n 5)"; return; }
    begin_work || return
    n=$(number database-0)
    pid=$(on "$n" /opt/varve/bin/varve status $STORE --json | sed -n 's/.*"daemon_pid": \([0-9]*\).*/\1/p')
    on "$n" kill -9 "$pid" || fail "no daemon: $pid"
    more_batches
    another_image pg
    more_batches
    least=$(batches)
    sed 's/name: data-1/name: database-1/; s/ClaimName: data/ClaimName: data-database-0/' "$EX/snapshot.yaml" | k apply -f - >/dev/null
    within is volumesnapshot/database-1 '{.status.readyToUse}' true || fail "$(k get volumesnapshot/database-1 -o 'jsonpath={.status.error.message}')"
    most=$(batches)
    database_as replica database-1
    running replica-0 && within answers replica-0 || fail "$(k logs replica-0 | tail -n 5)"
    count=$(transactions replica-0)
    [[ $count =~ ^[0-9]+$ ]] && [ "$count" -ge $((least * 200)) ] && [ "$count" -le $((most * 200 + 200)) ] || fail "the copy has $count transactions, not $((least * 200)) to $((most * 200 + 200))"
    amcheck replica-0
    sql replica-0 'INSERT INTO ledger (v) VALUES (1)' || fail 'the copy is not written'
    more_batches
    in_pod database-0 touch /tmp/enough
    within in_pod database-0 grep -qx over /tmp/bench.log || fail 'it does not end'
    in_pod database-0 grep -E 'failed: [1-9]|ERROR|FATAL|aborted' /tmp/bench.log && fail 'a transaction has failed'
    all=$(($(batches) * 200))
    [ "$(transactions database-0)" = $all ] || fail "$(transactions database-0) transactions, not $all"
    amcheck database-0
    for pid in database-0 replica-0; do [ -z "$(complaints $pid)" ] || fail "$(complaints $pid | head -n 3)"; done
    k delete pod/database-0 >/dev/null
    running database-0 && within answers database-0 || fail 'it does not come back'
    [ "$(transactions database-0)" = $all ] || fail 'not as it was'
    say "    $all transactions, $count of them in the copy"
    drop volumesnapshot/database-1
    drop_database replica
    drop_database database
    k delete secret/database >/dev/null
}
