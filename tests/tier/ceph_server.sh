# Sourced by tests/tier/ceph.sh: a real Ceph of one monitor and one OSD, on loopback, with everything it has below one directory. Its
# processes are children of this shell and are ended by their ids; no service manager, no file outside of the directory.
# ceph_start DIR: sets ceph_conf; a pool, data. ceph_stop. osd_start, osd_kill; ceph_manager.
ceph_pids=()
osd_pid=''

ceph_settings() {
    local id
    id=$(cat /proc/sys/kernel/random/uuid)
    cat >"$1/ceph.conf" <<C
[global]
fsid = $id
mon_host = [v2:127.0.0.1:$2,v1:127.0.0.1:$3]
mon_initial_members = a
public_addr = 127.0.0.1
public_network = 127.0.0.0/8
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = $1/\$name.keyring
run_dir = $1/run
crash_dir = $1/run
admin_socket =
log_file = $1/log/\$name
log_to_syslog = false
# one copy of everything
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_allow_pool_delete = true
mon_warn_on_pool_no_redundancy = false
[mon]
mon_data = $1/mon
mon_cluster_log_file = $1/log/cluster
# a change of its maps at once, not after a second
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
auth_allow_insecure_global_id_reclaim = false
mon_data_avail_warn = 1
mon_data_avail_crit = 0
mon_memory_target = 134217728
mon_osd_cache_size = 20
rocksdb_cache_size = 8388608
mon_osd_down_out_interval = 3600
mgr_initial_modules =
[mgr]
mgr_data = $1/mgr
[osd]
osd_data = $1/osd
osd_objectstore = bluestore
bluestore_block_size = 4294967296
bluestore_cache_autotune = false
bluestore_cache_size = 33554432
bluestore_fsck_on_mount = false
bdev_enable_discard = false
bdev_async_discard = false
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
osd_heartbeat_grace = 10
osd_class_update_on_start = false
osd_fast_shutdown = true
[client.rgw]
rgw_data = $1/rgw
rgw_thread_pool_size = 16
rgw_rados_pool_pg_num_min = 4
rgw_dns_name = localhost
rgw_dynamic_resharding = false
rgw_override_bucket_index_max_shards = 1
rgw_ops_log_rados = false
rgw_enable_usage_log = false
C
    printf '%s' "$id" >"$1/fsid"
}

# ceph_user DIR NAME CAPS...: a key of its own, known to the monitor from the start
ceph_user() {
    local dir=$1 name=$2
    shift 2
    ceph-authtool -C "$dir/$name.keyring" --gen-key -n "$name" "$@" >/dev/null \
        && { [ "$name" = mon. ] || ceph-authtool "$dir/mon..keyring" --import-keyring "$dir/$name.keyring" >/dev/null; }
}

ceph_users() {
    ceph_user "$1" mon. --cap mon 'allow *' \
        && ceph_user "$1" client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' \
        && ceph_user "$1" osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' \
        && ceph_user "$1" mgr.x --cap mon 'allow profile mgr' --cap osd 'allow *' \
        && ceph_user "$1" client.rgw --cap mon 'allow rw' --cap osd 'allow rwx' \
        && ceph_user "$1" client.all --cap mon 'allow r' --cap osd 'allow rwx pool=data' \
        && ceph_user "$1" client.reader --cap mon 'allow r' --cap osd 'allow r pool=data' \
        && ceph_user "$1" client.writer --cap mon 'allow r' --cap osd 'allow rw pool=data' \
        && ceph_user "$1" client.own --cap mon 'allow r' --cap osd 'allow rwx pool=data namespace=own'
}

ceph_tool() { timeout -k 5 60 ceph --connect-timeout 20 -c "$ceph_conf" "$@"; }

osd_start() {
    nice -n 10 ceph-osd -f -c "$ceph_conf" -i 0 >>"$ceph_dir/log/osd.out" 2>&1 7>&- &
    osd_pid=$!
}

# Counts what pools hold; nothing but quotas needs it
ceph_manager() {
    local end
    mkdir -p "$ceph_dir/mgr"
    nice -n 10 ceph-mgr -f -c "$ceph_conf" -i x >>"$ceph_dir/log/mgr.out" 2>&1 7>&- &
    ceph_pids+=($!)
    for ((end = SECONDS + 400; SECONDS < end; )); do
        ceph_tool mgr stat 2>/dev/null | grep -q '"available": true' && return 0
        sleep 1
    done
    return 1
}

osd_kill() { # as a machine that loses power
    kill -9 "$osd_pid" && wait "$osd_pid" 2>/dev/null
    osd_pid=''
}

# Until an object can be put and got, for 60 s
ceph_ready() {
    local i
    for ((i = 0; i < 60; i++)); do
        kill -0 "$osd_pid" 2>/dev/null || return 1
        timeout 5 rados -c "$ceph_conf" -n client.all -p data stat none 2>&1 | grep -q 'No such file' && return 0
        sleep 0.2
    done
    return 1
}

ceph_start() {
    local port2 port1 osd_id
    ceph_dir=$1 ceph_conf=$1/ceph.conf
    unset CEPH_ARGS CEPH_CONF CEPH_KEYRING
    mkdir -p "$1/run" "$1/log" "$1/osd" "$1/rgw" || return 1
    port2=$(free_port) port1=$(free_port)
    ceph_settings "$1" "$port2" "$port1"
    ceph_users "$1" || { say 'keys cannot be made'; return 1; }
    monmaptool --create --fsid "$(cat "$1/fsid")" --addv a "[v2:127.0.0.1:$port2,v1:127.0.0.1:$port1]" "$1/monmap" >/dev/null 2>&1 \
        && ceph-mon -c "$ceph_conf" -i a --mkfs --monmap "$1/monmap" --keyring "$1/mon..keyring" >>"$1/log/mon.out" 2>&1 \
        || { say "the monitor's store cannot be made: $(tail -n 1 "$1/log/mon.out")"; return 1; }
    nice -n 10 ceph-mon -f -c "$ceph_conf" -i a >>"$1/log/mon.out" 2>&1 7>&- &
    ceph_pids+=($!)
    osd_id=$(cat /proc/sys/kernel/random/uuid)
    ceph_tool osd new "$osd_id" 0 >/dev/null 2>"$1/log/tool" || { say "no monitor: $(tail -n 1 "$1/log/tool" "$1/log/mon.out")"; return 1; }
    ceph-osd -c "$ceph_conf" -i 0 --mkfs --osd-uuid "$osd_id" >>"$1/log/osd.out" 2>&1 \
        || { say "the OSD's store cannot be made: $(tail -n 1 "$1/log/osd.out")"; return 1; }
    osd_start
    ceph_tool osd pool create data 8 8 replicated >/dev/null 2>"$1/log/tool" \
        && ceph_tool osd pool application enable data varve >/dev/null 2>"$1/log/tool" \
        || { say "no pool: $(tail -n 1 "$1/log/tool")"; return 1; }
    ceph_ready || { say "the OSD does not answer: $(tail -n 1 "$1/log/osd.out")"; return 1; }
}

ceph_stop() {
    local p
    for p in $osd_pid "${ceph_pids[@]}"; do kill -CONT "$p" 2>/dev/null; done
    for p in $osd_pid "${ceph_pids[@]}"; do kill -9 "$p" 2>/dev/null && wait "$p" 2>/dev/null; done
    osd_pid='' ceph_pids=()
}
