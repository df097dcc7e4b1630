# Under a service manager (tests/manager plays it): what outlives the death of keeper and daemon together, and what is said meanwhile.

# a store of the test's own, served by `varve serve` under a manager with these options, and mounted
service_begin() { # NAME [options of manager...]
    local name=$1
    shift
    [ -x "$(dirname "$VARVE")/tests/manager" ] || skip "manager is not built"
    store=$scratch/own-$name point=$scratch/own-$name.mnt told=$scratch/$name.told
    rm -rf "$store" "$told"
    mkdir -p "$point"
    "$VARVE" create "$store" >/dev/null
    "$(dirname "$VARVE")/tests/manager" "$@" --log "$told" -- "${SERVED:-$VARVE}" serve "$store" >"$scratch/$name.out" 2>&1 &
    manager=$!
    wait_for 10 was_told ' ready'
    "$VARVE" mount "$store" "$point" >/dev/null
}
was_told() { grep -q "$1" "$told"; }
told_count() { grep -c "$1" "$told" || true; }
kept_names() { # what is in the manager's store now
    awk '$2 == "store" { n[$3]++ } $2 == "remove" { delete n[$3] } END { for (i in n) print i }' "$told" | sort
}
connections_are() { [ "$(kept_names | grep -c '^conn-')" = "$1" ]; } # awaited: another's mount namespace may hold one up
kill_both() {
    was=$(daemon_pid "$store")
    starts=$(told_count ' start ')
    kill -9 "$(keeper_pid "$store")" "$was"
}
came_back() { [ "$(told_count ' start ')" -gt "$starts" ] && daemon_pid "$store" >/dev/null; }

test_service_both_killed_under_load() {
    service_begin both
    py "
import subprocess, signal, writers
w = writers.Writers(sys.argv[1], sync=True)
held = open('held', 'wb+'); held.write(b'h' * 5000); held.flush(); os.unlink('held')
def pid(what): return int(subprocess.check_output(['pgrep', '-f', what]).split()[0])
for n in range(4):
    time.sleep(0.5)
    a, b = pid('varve keeper %s ' % sys.argv[2]), pid('varve daemon %s\$' % sys.argv[2])
    os.kill(a, signal.SIGKILL); os.kill(b, signal.SIGKILL)
time.sleep(1.0)
w.end()
held.seek(0); assert held.read() == b'h' * 5000
print('longest call %.0f ms' % (max(w.longest) * 1000))" "$point" "$store"
    expect "$(told_count ' exit -9')" 4
    "$VARVE" umount "$point"
    "$VARVE" check "$store"
    wait_for 20 connections_are 0
}

# the keeper alone, the daemon alone: the one is the manager's to replace, the other the keeper's
test_service_one_killed() {
    service_begin one
    echo a >"$point/f"
    exec 8>>"$point/f"
    starts=$(told_count ' start ')
    kill -9 "$(keeper_pid "$store")"
    echo b >&8
    wait_for 5 came_back
    starts=$(told_count ' start ')
    was=$(daemon_pid "$store")
    kill -9 "$was"
    echo c >&8
    [ "$(daemon_pid "$store")" != "$was" ]
    exec 8>&-
    expect "$(told_count ' start ')" "$starts"
    expect "$(tr -d '\n' <"$point/f")" abc
}

# a manager that leaves the daemon alone: it goes by itself, and starts no keeper of its own
test_service_keeper_killed_alone() {
    service_begin alone2 --no-kill
    echo a >"$point/f"
    exec 8>>"$point/f"
    starts=$(told_count ' start ')
    was=$(daemon_pid "$store")
    kill -9 "$(keeper_pid "$store")"
    echo b >&8
    next() { came_back && [ "$(daemon_pid "$store")" != "$was" ] && [ "$(daemon_pid "$store" | wc -l)" = 1 ]; }
    wait_for 10 next
    echo c >&8
    exec 8>&-
    expect "$(keeper_pid "$store" | wc -l)" 1
    expect "$(told_count ' start ')" 2
    expect "$(told_count ' stranger')" 0
    expect "$(tr -d '\n' <"$point/f")" abc
}

test_service_restart_reload_and_stop() {
    service_begin again
    mkdir -p "$point.b"
    "$VARVE" mount "$store/other" "$point.b" --create >/dev/null
    echo a >"$point/f"
    exec 8>>"$point/f"
    starts=$(told_count ' start ')
    kill -HUP $manager # restart
    wait_for 10 was_told ' stopping'
    echo b >&8
    wait_for 5 came_back
    expect "$(told_count ' exit 0')" 1
    echo c >"$point.b/f"
    keeper=$(keeper_pid "$store") was=$(daemon_pid "$store")
    ready=$(told_count ' ready')
    kill -USR1 $manager # reload
    another() { [ "$(told_count ' ready')" -gt "$ready" ]; }
    wait_for 10 another
    was_told ' reloading since'
    expect "$(keeper_pid "$store")" "$keeper"
    [ "$(daemon_pid "$store")" != "$was" ]
    echo d >&8
    exec 8>&-
    expect "$(tr -d '\n' <"$point/f")" abd
    expect "$(kept_names | grep -c state-)" 1
    expect "$(kept_names | grep -c conn-)" 2
    kill_both # what the program before had put there is known to the one after it
    echo e >>"$point/f"
    wait_for 5 came_back
    expect "$(kept_names | grep -c state-)" 1
    "$VARVE" umount "$point.b"
    wait_for 20 connections_are 1
    kill -INT "$(keeper_pid "$store")" # as the unit's ExecStop does
    twice() { [ "$(told_count ' exit 0')" = 2 ]; }
    wait_for 10 twice
    if mountpoint -q "$point"; then return 1; fi
}

# unmounted while nobody serves it: the next keeper finds that out; the other mount goes on
test_service_umount_between() {
    service_begin between
    mkdir -p "$point.b"
    "$VARVE" mount "$store/other" "$point.b" --create >/dev/null
    echo a >"$point/f"
    kill -STOP $manager
    kill_both
    timeout 10 python3 -c "
import ctypes, sys
assert ctypes.CDLL(None).umount2(sys.argv[1].encode(), 0) == 0" "$point.b"
    kill -CONT $manager
    expect "$(cat "$point/f")" a
    wait_for 5 came_back
    expect "$(kept_names | grep -c conn-)" 1
    grep -q 'is mounted no more' "$scratch/between.out"
    "$VARVE" mount "$store/other" "$point.b" >/dev/null
    expect "$(kept_names | grep -c conn-)" 2
}

test_service_strange_descriptors() {
    service_begin strange
    echo a >"$point/f"
    kill -USR2 $manager
    wait_for 5 was_told 'store stranger'
    kill_both
    echo b >>"$point/f"
    expect "$(tr -d '\n' <"$point/f")" ab
    wait_for 5 came_back
    for name in conn-00000000deadbeef conn-zz state-88888888 state-99999999; do was_told "remove $name [12]"; done
    expect "$(kept_names | grep -c '^state-')" 1
    expect "$(kept_names | grep -c '^conn-')" 1
    kept_names | grep -qx stranger
    # closed here: as many as a keeper has that never saw them
    [ "$(ls "/proc/$(keeper_pid "$store")/fd" | wc -l)" -le 8 ]
    kill_both
    echo c >>"$point/f"
    expect "$(tail -n 1 "$point/f")" c
    "$VARVE" umount "$point"
}

# A daemon that hangs and cannot be ended: it stands in a tracer's hands when it is about to exit.
test_service_watchdog() {
    [ -x "$(dirname "$VARVE")/tests/varve-kill" ] || skip "varve-kill is not built"
    export VARVE_HUNG_MS=1000 VARVE_KILL=$scratch/watched-order
    SERVED=$(dirname "$VARVE")/tests/varve-kill service_begin watched --watchdog 1500
    unset VARVE_HUNG_MS VARVE_KILL
    was=$(daemon_pid "$store")
    pings=$(told_count ' ping')
    echo "17 0 1 slow" >"$scratch/watched-order" # 5 s, but it moves
    mkdir "$point/slow"
    expect "$(daemon_pid "$store")" "$was"
    [ $(($(told_count ' ping') - pings)) -ge 6 ]
    expect "$(told_count ' watchdog')" 0
    echo "17 0 1 hang" >"$scratch/watched-order"
    py "
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
pid = int(sys.argv[1])
assert libc.ptrace(0x4206, pid, None, 0x40) == 0, os.strerror(ctypes.get_errno()) # SEIZE, TRACEEXIT
if os.fork() == 0: os.mkdir(sys.argv[3]); os._exit(0)
for i in range(200):
    time.sleep(0.05)
    if ' watchdog' in open(sys.argv[2]).read(): break
else: raise AssertionError('no watchdog')" "$was" "$told" "$point/hung"
    wait_for 5 [ -d "$point/hung" ]
    echo after >"$point/f"
    expect "$(cat "$point/f")" after
    expect "$(told_count ' watchdog')" 1
    kill -STOP "$(keeper_pid "$store")"
    twice() { [ "$(told_count ' watchdog')" = 2 ]; }
    wait_for 10 twice
    echo again >"$point/f"
    expect "$(cat "$point/f")" again
}

# Killed when the keeper has the kernel's first message, and before that was answered.
test_service_killed_before_the_first_answer() {
    [ -x "$(dirname "$VARVE")/tests/varve-kill" ] || skip "varve-kill is not built"
    export VARVE_KILL=$scratch/first-order
    SERVED=$(dirname "$VARVE")/tests/varve-kill service_begin first
    unset VARVE_KILL
    mkdir -p "$point.b"
    for how in both one; do
        echo "0 2 1 $how" >"$scratch/first-order"
        "$VARVE" mount "$store/$how" "$point.b" --create >/dev/null || true
        wait_for 5 [ ! -e "$scratch/first-order" ]
        echo x >"$point.b/f"
        expect "$(cat "$point.b/f")" x
        "$VARVE" umount "$point.b"
    done
    grep -q 'is answered by another daemon' "$scratch/first.out"
}

# No manager: it undoes its mounts when it is told to end, and closes the store.
test_service_without_a_manager() {
    store=$scratch/own-alone point=$scratch/own-alone.mnt
    mkdir -p "$point"
    "$VARVE" create "$store" >/dev/null
    "$VARVE" serve "$store" >"$scratch/alone.out" 2>&1 &
    pid=$!
    wait_for 10 [ -S "$store/sock" ]
    for i in 1 2; do # it stays when nothing is mounted
        "$VARVE" mount "$store" "$point" >/dev/null
        echo $i >"$point/f"
        "$VARVE" umount "$point"
    done
    out=$("$VARVE" doctor "$store" || true)
    grep -q '^lacks *service manager' <<<"$out"
    "$VARVE" mount "$store" "$point" >/dev/null
    kill -TERM $pid
    wait $pid
    if mountpoint -q "$point"; then return 1; fi
    flock -n "$store/lock" true
    [ ! -e "$store/sock" ]
    fails "holds no store" "$VARVE" serve "$scratch"
}

# a place that another store has by now is left alone; those that nobody has any more are forgotten
test_service_places() {
    service_begin places
    state_bytes() {
        for f in /proc/$manager/fd/*; do
            if [[ $(readlink "$f") == *memfd:varve-keeper* ]]; then stat -L -c %s "$f"; fi
        done | tail -n 1
    }
    was=$(state_bytes)
    "$VARVE" umount "$point"
    for i in 1 2 3; do
        mkdir -p "$point.$i"
        "$VARVE" mount "$store" "$point.$i" >/dev/null
        [ "$(state_bytes)" -le $((was + 16)) ]
        "$VARVE" umount "$point.$i"
    done
    "$VARVE" create "$store.b" >/dev/null
    "$VARVE" mount "$store.b" "$point" >/dev/null
    "$VARVE" mount "$store" "$point.1" >/dev/null
    kill -INT "$(keeper_pid "$store")"
    wait_for 10 was_told 'exit 0'
    if mountpoint -q "$point.1"; then return 1; fi
    mountpoint -q "$point"
    "$VARVE" umount "$point"
}

# more mounts than the manager keeps: those beyond it are lost with both, not all
test_service_full() {
    service_begin full --descriptors 6
    for i in b c; do
        mkdir -p "$point.$i"
        "$VARVE" mount "$store/$i" "$point.$i" --create >/dev/null
        echo $i >"$point.$i/f"
    done
    grep -q 'is not kept' "$scratch/full.out"
    kill_both
    expect "$(timeout -s KILL 10 cat "$point.b/f")" b
    wait_for 5 came_back
    echo a >"$point/f"
    fails "not connected" cat "$point.c/f"
    "$VARVE" umount "$point.b"
    expect "$(kept_names | grep -c '^state-')" 1
}

# it finds the store served by a pair without a manager: no more tries than a manager bears (30 in a minute), until it may
test_service_waits_for_its_turn() {
    store=$scratch/own-turn point=$scratch/own-turn.mnt told=$scratch/turn.told
    [ -x "$(dirname "$VARVE")/tests/manager" ] || skip "manager is not built"
    mkdir -p "$point"
    "$VARVE" create "$store" >/dev/null
    "$VARVE" mount "$store" "$point" >/dev/null
    "$(dirname "$VARVE")/tests/manager" --log "$told" -- "$VARVE" serve "$store" >"$scratch/turn.out" 2>&1 &
    manager=$!
    wait_for 10 was_told ' exit 1'
    sleep 3 # a start each 2 s: half of one is left until the fourth
    [ "$(told_count ' start ')" -le 3 ]
    expect "$(told_count ' ready')" 0
    "$VARVE" umount "$point"
    wait_for 10 was_told ' ready'
}

# The opening of the store takes longer than the manager gives a start: it is told so while that moves.
test_service_long_start() {
    [ -x "$(dirname "$VARVE")/tests/manager" ] || skip "manager is not built"
    store=$scratch/own-long point=$scratch/own-long.mnt told=$scratch/long.told
    mkdir -p "$point"
    "$VARVE" create "$store" >/dev/null
    flock "$store/lock" sleep 5 &
    wait_for 5 eval "! flock -n '$store/lock' true"
    "$(dirname "$VARVE")/tests/manager" --start-timeout 2000 --log "$told" -- "$VARVE" serve "$store" >"$scratch/long.out" 2>&1 &
    manager=$!
    wait_for 15 was_told ' ready'
    was_told ' extend'
    expect "$(told_count ' start-timeout')" 0
    expect "$(told_count ' start ')" 1
    "$VARVE" mount "$store" "$point" >/dev/null
    "$VARVE" umount "$point"
}

test_service_doctor() {
    service_begin doctor --watchdog 9000 --descriptors 50
    out=$("$VARVE" doctor "$store" || true)
    grep '^ok *service manager' <<<"$out" | grep 'watchdog 9.0 s' | grep -q '50 descriptors'
    "$VARVE" doctor "$store" --json >"$scratch/doctor.json" || true
    python3 -c "
import json, sys
c = {x['name']: x for x in json.load(open(sys.argv[1]))['checks']}
assert c['service manager']['state'] == 'ok', c
for n in ('I/O flusher', 'locked memory', 'spared from OOM', 'read-ahead'): assert n in c, n" "$scratch/doctor.json"
}

# the unit as `make install` makes it; what it does at a stop, with a systemctl of our own
test_service_unit() {
    unit=$scratch/units/varve@.service
    mkdir -p "$scratch/units" "$scratch/bin"
    sed "s|@BINDIR@/varve|$VARVE|g" "$OLDPWD/conf/systemd/varve@.service.in" >"$unit"
    stop=$(sed -n "s/^ExecStop=-\/bin\/sh -c '\(.*\)'\$/\1/p" "$unit" | sed 's/%n/varve@a\\x2db.service/')
    [ -n "$stop" ]
    printf '#!/bin/sh\ncat "%s"\n' "$scratch/jobs" >"$scratch/bin/systemctl"
    chmod +x "$scratch/bin/systemctl"
    for job in 'varve@a\x2db.service restart' 'varve@b.service stop' 'varve@a\x2db.service stop'; do
        # not a shell: one that was started with SIGINT ignored cannot trap it
        python3 -c 'import signal, sys, time; signal.signal(signal.SIGINT, lambda *a: sys.exit(0)); time.sleep(60)' &
        pid=$!
        wait_for 5 grep -q '^SigCgt:.*2$' /proc/$pid/status
        printf '7 %s running\n' "$job" >"$scratch/jobs"
        MAINPID=$pid PATH=$scratch/bin:$PATH timeout 10 sh -c "$stop" || true
        alive=yes
        kill -0 $pid 2>/dev/null || alive=no
        case $job in *'a\x2db.service stop') expect $alive no ;; *) expect $alive yes; kill -9 $pid ;; esac
        wait $pid || true
    done
    unset MAINPID
    PATH=$scratch/bin:$PATH timeout 10 sh -c "$stop" || true # after a crash
    command -v systemd-analyze >/dev/null || skip "the stop is right; no systemd-analyze for the rest"
    cp "$unit" "$scratch/units/varve@srv-store.service"
    out=$(systemd-analyze verify --man=no "$scratch/units/varve@srv-store.service" 2>&1) || { echo "$out"; return 1; }
    # systemd before 254 does not know that word, and says so
    out=$(grep -v "'FileDescriptorStorePreserve'" <<<"$out" || true)
    expect "$out" ""
}

# The unit under the real one, where it is installed and lets itself be run: in namespaces and a cgroup of its own, with nothing but
# this unit.
systemd_end() {
    set +e
    [ -z "${outer:-}" ] || kill -9 "$outer"
    for i in $(seq 50); do
        [ -d "${cgroup:-/nowhere}" ] || break
        find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
        sleep 0.05
    done
    set -e
}
test_service_systemd() {
    [ -x /lib/systemd/systemd ] && command -v systemctl nsenter unshare >/dev/null || skip "no systemd is installed"
    [ -z "${SAN:-}" ] || skip "the unit gives no room to a sanitizer"
    root=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
    cgroup=$root/varve-test.$$
    [ -n "$root" ] && mkdir "$cgroup" 2>/dev/null || skip "no cgroup2 that can be written"
    trap 'rc=$?; systemd_end; (exit $rc); own_end' EXIT
    store=$scratch/own-real point=$scratch/own-real.mnt real=$scratch/real
    mkdir -p "$point" "$real/units/varve@.service.d"
    "$VARVE" create "$store" >/dev/null
    sed "s|@BINDIR@/varve|$VARVE|g" "$OLDPWD/conf/systemd/varve@.service.in" >"$real/units/varve@.service"
    for t in default shutdown multi-user; do
        printf '[Unit]\nDefaultDependencies=no\n' >"$real/units/$t.target"
    done
    printf '[Service]\nStandardOutput=append:%s/out\nStandardError=append:%s/out\n' "$real" "$real" \
        >"$real/units/varve@.service.d/log.conf"
    echo 0123456789abcdef0123456789abcdef >"$real/machine-id"
    cat >"$real/begin.sh" <<END
set -e
for m in \$(awk '\$3 ~ /^fuse/ { print \$2 }' /proc/mounts); do umount -l "\$m"; done
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount --bind "$real/machine-id" /etc/machine-id
exec env -i PATH="$PATH" container=varve-test SYSTEMD_UNIT_PATH="$real/units" /lib/systemd/systemd --system \
    --log-target=console --show-status=no
END
    cat >"$real/inside.sh" <<'END'
set -eu
varve=$1 store=$2 point=$3 unit=varve@$(systemd-escape -p "$2").service
is() { [ "$(systemctl show -P "$1" "$unit")" = "$2" ] || { echo "$1 is $(systemctl show -P "$1" "$unit"), not $2"; exit 1; }; }
pids() { pgrep -f "varve $1 $store"; }
write() { # until told to stop; fails at the first error
    i=0
    while [ ! -e "$store.enough" ]; do
        i=$((i + 1))
        echo $i >"$point/w$((i % 20))" && sync "$point/w$((i % 20))" || exit 1
    done
    [ $i -gt 20 ]
}
until_restarted() {
    for i in $(seq 100); do
        [ "$(systemctl show -P NRestarts "$unit")" != "$1" ] || { pids daemon >/dev/null && return 0; }
        sleep 0.05
    done
    echo "it was not started again"
    exit 1
}
systemctl start "$unit"
"$varve" mount "$store" "$point" >/dev/null
is NFileDescriptorStore 3
write &
writer=$!
exec 8>>"$point/f"
for n in 1 2 3; do
    sleep 0.3
    if [ $n = 3 ]; then kill -9 $(pids keeper); else kill -9 $(pids keeper) $(pids daemon); fi
    echo $n >&8
    until_restarted $n
    is NFileDescriptorStore 3
done
systemctl restart "$unit"
echo 4 >&8
systemctl reload "$unit"
echo 5 >&8
exec 8>&-
"$varve" doctor "$store" | grep '^ok *service manager *watchdog 60' >/dev/null
touch "$store.enough"
wait $writer
[ "$(tr -d '\n' <"$point/f")" = 12345 ]
is NFileDescriptorStore 3
systemctl stop "$unit"
is NFileDescriptorStore 0
is Result success
! grep -q " $point fuse" /proc/self/mounts
flock -n "$store/lock" true
systemctl start "$unit"
"$varve" mount "$store" "$point" >/dev/null
[ "$(tr -d '\n' <"$point/f")" = 12345 ]
systemctl start --no-block shutdown.target # the machine goes down
for i in $(seq 100); do grep -q " $point fuse" /proc/self/mounts || exit 0; sleep 0.05; done
exit 1
END
    (
        echo $BASHPID >"$cgroup/cgroup.procs"
        exec unshare --pid --fork --kill-child=KILL --mount --uts --ipc --cgroup --propagation private sh "$real/begin.sh"
    ) >"$real/log" 2>&1 </dev/null &
    outer=$!
    inner() { first=$(pgrep -P $outer) && nsenter -t "$first" -m -p -u -i -C "$@"; }
    wait_for 5 inner systemctl is-system-running || skip "systemd does not run here: $(tail -n 1 "$real/log")"
    cd /
    inner timeout 40 bash "$real/inside.sh" "$VARVE" "$store" "$point" || { cat "$real/out"; tail -n 20 "$real/log"; return 1; }
}
