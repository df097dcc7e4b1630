# Mounting, unmounting, dying and coming back.

test_life_prints_where_to_look() {
    own_store print
    umount "$point"
    wait_for 10 daemon_gone "$store"
    out=$("$VARVE" mount "$store" "$point")
    grep -q "$point/.snapshots" <<<"$out"
    grep -q "$point/.snapshots/.control" <<<"$out"
}

test_life_umount_waits_until_closed() {
    own_store wait
    for i in 1 2 3 4 5; do
        head -c 30000000 /dev/urandom >"$point/f"
        "$VARVE" umount "$point"
        flock -n "$store/lock" true
        [ ! -e "$store/sock" ]
        "$VARVE" mount "$store" "$point" >/dev/null
    done
    expect "$(stat -c %s "$point/f")" 30000000
    fails "no varve volume is mounted" "$VARVE" umount "$scratch"
    fails "no varve volume is mounted" "$VARVE" umount "$scratch/nowhere-at-all" || true
}

test_life_plain_umount_ends_the_daemon() {
    own_store plain
    echo x >"$point/f"
    umount "$point"
    wait_for 10 daemon_gone "$store"
    "$VARVE" mount "$store" "$point" >/dev/null
    expect "$(cat "$point/f")" x
}

test_life_umount_while_busy() {
    own_store busy
    (cd "$point" && exec sleep 30) &
    pid=$!
    sleep 0.3
    fails "in use" "$VARVE" umount "$point"
    fails "busy" umount "$point"
    kill $pid
    wait $pid || true
    "$VARVE" umount "$point"
}

test_life_two_places_one_volume() {
    own_store two
    mkdir -p "$point.b"
    echo x >"$point/f"
    "$VARVE" mount "$store/main" "$point.b" >/dev/null
    expect "$(cat "$point.b/f")" x
    expect "$(stat -c %d "$point")" "$(stat -c %d "$point.b")"
    echo y >"$point.b/g"
    expect "$(cat "$point/g")" y
    mkdir -p "$point.c"
    fails "differ in the option snapdir" "$VARVE" mount -o snapdir=visible "$store/main" "$point.c"
    fails "differ in the option ro" "$VARVE" mount -o ro "$store/main" "$point.c"
    fails "already" "$VARVE" mount "$store/main" "$point.b"
    "$VARVE" umount "$point"
    expect "$(cat "$point.b/f")" x
    [ -n "$(daemon_pid "$store")" ]
    "$VARVE" umount "$point.b"
    wait_for 10 daemon_gone "$store"
}

test_life_two_volumes_one_daemon() {
    own_store vols
    mkdir -p "$point.b"
    "$VARVE" mount "$store/other" "$point.b" --create >/dev/null
    echo x >"$point/f"
    [ ! -e "$point.b/f" ]
    expect "$(daemon_pid "$store" | wc -l)" 1
    umount "$point"
    echo y >"$point.b/f"
    expect "$(cat "$point.b/f")" y
    "$VARVE" umount "$point.b"
    wait_for 10 daemon_gone "$store"
}

test_life_bad_input() {
    mkdir -p "$scratch/bad" "$scratch/point"
    echo x >"$scratch/bad/file"
    fails "no mount option 'frob'" "$VARVE" mount -o ro,frob "$vol" "$scratch/point"
    fails "no mount option 'frob='" "$VARVE" mount -o frob=1 "$vol" "$scratch/point"
    fails "snapdir=maybe" "$VARVE" mount -o snapdir=maybe "$vol" "$scratch/point"
    fails "control_gid=x" "$VARVE" mount -o control_gid=x "$vol" "$scratch/point"
    fails "must exist" "$VARVE" mount "$vol" "$scratch/none"
    fails "not a directory" "$VARVE" mount "$vol" "$scratch/bad/file"
    fails "mounted there already" "$VARVE" mount "$vol" "$mnt"
    fails "no volume 'nothing'" "$VARVE" mount "$scratch/vol.store/nothing" "$scratch/point"
    if "$VARVE" mount "$scratch/bad" "$scratch/point"; then return 1; fi
    if "$VARVE" mount "$scratch/bad" "$scratch/point" --create; then return 1; fi
    if "$VARVE" mount "$scratch/none/none/none" "$scratch/point" --create; then return 1; fi
    if "$VARVE" mount "$vol"; then return 1; else expect $? 2; fi
    if "$VARVE" mount --frob "$vol" "$scratch/point"; then return 1; else expect $? 2; fi
    rm -rf "$scratch/bad"
}

test_life_fstab_options() {
    own_store fstab
    umount "$point"
    wait_for 10 daemon_gone "$store"
    "$(dirname "$VARVE")/mount.fuse.varve" "$store/main" "$point" -o rw,noauto,nofail,_netdev,x-systemd.automount,nosuid,nodev,noexec,noatime
    grep " $point fuse.varve rw,nosuid,nodev,noexec,noatime" /proc/self/mounts
    umount "$point"
    wait_for 10 daemon_gone "$store"
    "$(dirname "$VARVE")/mount.varve" "$store/main" "$point" -n -o ro
    fails "Read-only" touch "$point/x"
}

test_life_stale_socket() {
    own_store stale
    umount "$point"
    wait_for 10 daemon_gone "$store"
    py "s = socket.socket(socket.AF_UNIX); os.chdir(sys.argv[1]); s.bind('sock')" "$store"
    [ -S "$store/sock" ]
    "$VARVE" mount "$store" "$point" >/dev/null
    echo x >"$point/f"
    "$VARVE" umount "$point"
}

test_life_many_mounts_at_once() {
    own_store race
    umount "$point"
    wait_for 10 daemon_gone "$store"
    pids=
    for i in 1 2 3 4 5; do
        mkdir -p "$point.$i"
        "$VARVE" mount "$store" "$point.$i" >/dev/null &
        pids="$pids $!"
    done
    for p in $pids; do wait "$p"; done
    for i in 1 2 3 4 5; do expect "$(stat -c %d "$point.$i")" "$(stat -c %d "$point.1")"; done
    expect "$(daemon_pid "$store" | wc -l)" 1
}

# umount and mount again, over and over: the one that ends and the one that begins never meet
test_life_again_and_again() {
    own_store again
    for i in $(seq 10); do
        echo "$i" >"$point/f"
        umount "$point"
        "$VARVE" mount "$store" "$point" >/dev/null
        expect "$(cat "$point/f")" "$i"
    done
}

# ... also when the second wants other options than the first had
test_life_again_with_other_options() {
    own_store other
    for i in $(seq 10); do
        umount "$point"
        "$VARVE" mount "$store" "$point" -o control=read >/dev/null
        umount "$point"
        "$VARVE" mount "$store" "$point" -o snapdir=visible >/dev/null
    done
}

test_life_foreground() {
    own_store fg
    umount "$point"
    wait_for 10 daemon_gone "$store"
    "$VARVE" mount "$store" "$point" --foreground >"$scratch/fg.out" 2>&1 &
    pid=$!
    wait_for 5 mountpoint -q "$point"
    echo x >"$point/f"
    kill -TERM "$(keeper_pid "$store")"
    wait $pid
    if mountpoint -q "$point"; then return 1; fi
    grep -q 'daemon mounted' "$scratch/fg.out"
}

test_life_other_mount_namespace() {
    own_store ns
    mkdir -p "$point.in"
    unshare -m --propagation private sh -ec "
        '$VARVE' mount '$store/main' '$point.in' >/dev/null
        echo inside >'$point.in/f'
        mountpoint -q '$point.in'"
    if mountpoint -q "$point.in"; then return 1; fi
    expect "$(cat "$point/f")" inside
    umount "$point"
    wait_for 10 daemon_gone "$store"
    # the daemon comes from here, the first mount is in there
    "$VARVE" mount "$store" "$point" >/dev/null
    unshare -m --propagation private sh -ec "
        '$VARVE' mount '$store/second' '$point.in' --create >/dev/null
        echo y >'$point.in/f'
        cat '$point.in/f'
        umount '$point.in'" | grep -qx y
}

# One who mounts for himself, in another mount namespace, and stands still when he has the descriptor: others are mounted all the same.
test_life_mounter_stands_still() {
    own_store stands
    mkdir -p "$point.b" "$point.c"
    for i in b c; do
        "$VARVE" mount "$store/$i" "$point.$i" --create >/dev/null
        "$VARVE" umount "$point.$i"
    done
    (cd "$store" && exec unshare -m --propagation private python3 -c "
import socket, struct, sys, time
s = socket.socket(socket.AF_UNIX); s.connect('sock')
words = b'mount\0b\0\0\0' + sys.argv[1].encode() + b'\0-\0'
s.send(struct.pack('<IB', len(words), 1) + words)
assert s.recv(5)[4] == 5
open(sys.argv[2], 'w').close()
time.sleep(40)" "$point.b" "$scratch/stands.there") &
    mounter=$!
    wait_for 10 [ -e "$scratch/stands.there" ]
    rc=0
    timeout 25 "$VARVE" mount "$store/c" "$point.c" >/dev/null || rc=$?
    kill $mounter
    [ $rc = 0 ]
    umount "$point.c"
}

# in a mount namespace where everybody may open /dev/fuse, as it is on most machines
test_life_ordinary_user() {
    command -v fusermount3 >/dev/null || skip "no fusermount3"
    mkdir -p "$scratch/home/point" "$scratch/home/other"
    chown -R 65534:65534 "$scratch/home"
    mknod -m 666 "$scratch/fuse" c 10 229
    install -m 755 "$VARVE" "$scratch/varve" # the build may lie where only root can go
    cat >"$scratch/ordinary.sh" <<'END'
set -eu
home=$1 varve=$2
"$varve" mount "$home/store" "$home/point" --create >/dev/null
echo mine >"$home/point/f"
mkdir "$home/point/.snapshots/s"
rm "$home/point/f"
cat "$home/point/.snapshots/s/f"
stat -c %u:%g "$home/point" "$home/point/.snapshots/s/f"
if "$varve" mount "$home/store" "$home/other" 2>"$home/said"; then exit 1; fi
grep -q 'only root' "$home/said"
if "$varve" mount "$home/store/second" /etc --create 2>"$home/said"; then exit 1; fi
cat "$home/said"
"$varve" umount "$home/point"
# that others may look in is the administrator's to allow
if grep -qs '^user_allow_other' /etc/fuse.conf; then
    "$varve" mount "$home/store" "$home/point" -o allow_other,default_permissions >/dev/null
    grep -q " $home/point fuse.*allow_other" /proc/self/mounts
    "$varve" umount "$home/point"
elif "$varve" mount "$home/store" "$home/point" -o allow_other 2>"$home/said"; then exit 1; fi
for i in $(seq 50); do [ ! -e "$home/store/sock" ] || sleep 0.1; done
[ ! -e "$home/store/sock" ]
END
    out=$(unshare -m --propagation private sh -ec "
        mount --bind '$scratch/fuse' /dev/fuse
        exec setpriv --reuid=65534 --regid=65534 --clear-groups bash '$scratch/ordinary.sh' '$scratch/home' '$scratch/varve'")
    echo "$out"
    expect "$(head -n 1 <<<"$out")" mine
    expect "$(sed -n 2,3p <<<"$out" | sort -u)" 65534:65534
    grep -q "fusermount3.*/etc\|ermission denied" <<<"$out"
}

# A copy of the mount in another mount namespace keeps the volume in use: umount says so, and so does who must not find it mounted.
test_life_mounted_elsewhere() {
    own_store away
    echo x >"$point/f"
    mkfifo "$scratch/away.go"
    unshare -m --propagation private sh -c "cd '$point'; echo there; read x <'$scratch/away.go'" >"$scratch/away.said" &
    holder=$!
    wait_for 5 grep -q there "$scratch/away.said"
    said=$("$VARVE" umount "$point" 2>&1)
    grep -q 'another mount namespace' <<<"$said"
    said=$("$VARVE" delete "$store/main" --now 2>&1) && return 1
    grep -q 'is mounted in another mount namespace' <<<"$said"
    echo go >"$scratch/away.go"
    wait $holder
    wait_for 10 daemon_gone "$store"
    "$VARVE" delete "$store/main" --now
}

test_life_idmapped() {
    own_store idmap -o allow_idmap
    echo x >"$point/f"
    chown 1000:1000 "$point/f"
    mkdir -p "$point.b"
    py "
class Attr(ctypes.Structure): _fields_ = [(n, ctypes.c_uint64) for n in ('set', 'clr', 'prop', 'ns')]
src, dst = sys.argv[1:]
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    libc.unshare(0x10000000); os.write(w, b'x'); time.sleep(60); os._exit(0)
os.read(r, 1)
open('/proc/%d/uid_map' % pid, 'w').write('1000 5000 1'); open('/proc/%d/gid_map' % pid, 'w').write('1000 5000 1')
ns = os.open('/proc/%d/ns/user' % pid, os.O_RDONLY)
tree = libc.syscall(428, -100, src.encode(), 0x80001)
assert tree >= 0, os.strerror(ctypes.get_errno())
a = Attr(set=0x100000, ns=ns)
assert libc.syscall(442, tree, b'', 0x1000, ctypes.byref(a), 32) == 0, os.strerror(ctypes.get_errno())
assert libc.syscall(429, tree, b'', -100, dst.encode(), 4) == 0, os.strerror(ctypes.get_errno())
os.kill(pid, 9)" "$point" "$point.b"
    expect "$(stat -c %u:%g "$point.b/f")" 5000:5000
    chown 5000:5000 "$point.b"
    setpriv --reuid=5000 --regid=5000 --clear-groups sh -c "echo new >'$point.b/g'"
    expect "$(stat -c %u:%g "$point/g")" 1000:1000
}

# The daemon starts another keeper, which holds all mounts as the first did; then the daemon dies, and the keeper restores that.
test_life_keeper_killed() {
    own_store orphaned
    echo x >"$point/f"
    for i in 1 2; do
        was=$(keeper_pid "$store")
        kill -9 "$was"
        echo y$i >>"$point/f"
        another() { p=$(keeper_pid "$store") && [ "$p" != "$was" ]; }
        wait_for 5 another
    done
    mkdir -p "$point.b"
    "$VARVE" mount "$store/other" "$point.b" --create >/dev/null
    echo z >"$point.b/f"
    was=$(daemon_pid "$store")
    kill -9 "$was"
    echo y3 >>"$point/f"
    [ "$(daemon_pid "$store")" != "$was" ]
    expect "$(cat "$point.b/f")" z
    grep -q 'keeper death' "$store/log/daemon.log"
    "$VARVE" umount "$point"
    "$VARVE" umount "$point.b"
    wait_for 10 daemon_gone "$store"
    "$VARVE" mount "$store" "$point" >/dev/null
    expect "$(tail -n 1 "$point/f")" y3
}

# A daemon that stands still, and one of which a request does; a long one that moves is left alone.
test_life_hung_daemon() {
    [ -x "$(dirname "$VARVE")/tests/varve-kill" ] || skip "varve-kill is not built"
    export VARVE_HUNG_MS=1500 VARVE_KILL=$scratch/hung-order
    VARVE=$(dirname "$VARVE")/tests/varve-kill own_store hung
    unset VARVE_HUNG_MS VARVE_KILL
    echo x >"$point/f"
    was=$(daemon_pid "$store")
    kill -STOP "$was"
    wait_for 5 grep -q '^State:.T' "/proc/$was/status" # its threads stop one after the other, busy machines take their time
    echo y >>"$point/f"
    [ "$(daemon_pid "$store")" != "$was" ]
    was=$(daemon_pid "$store")
    echo "17 0 1 hang" >"$scratch/hung-order" # before a mkdir is journaled, with the store's lock held
    mkdir "$point/d"
    [ "$(daemon_pid "$store")" != "$was" ]
    expect "$(grep -c 'keeper hung' "$store/log/daemon.log")" 2
    was=$(daemon_pid "$store")
    echo "17 0 1 slow" >"$scratch/hung-order"
    mkdir "$point/e"
    expect "$(daemon_pid "$store")" "$was"
    expect "$(cat "$point/f")" "x
y"
    "$VARVE" umount "$point"
    "$VARVE" check "$store"
}

# A command that a daemon dies of, and the next one, too, is given up, before the store would be served read-only.
test_life_command_that_kills() {
    [ -x "$(dirname "$VARVE")/tests/varve-kill" ] || skip "varve-kill is not built"
    export VARVE_KILL=$scratch/deadly-order
    VARVE=$(dirname "$VARVE")/tests/varve-kill own_store deadly
    unset VARVE_KILL
    echo x >"$point/f"
    echo "2 0 1 each" >"$scratch/deadly-order"
    fails "died of this command" "$VARVE" snapshot create "$point" one
    rm "$scratch/deadly-order"
    echo y >>"$point/f"
    expect "$("$VARVE" status "$point" | grep -c read-write)" 1
    expect "$(grep -c 'keeper death' "$store/log/daemon.log")" 2
    "$VARVE" snapshot create "$point" one
    "$VARVE" umount "$point"
    "$VARVE" check "$store"
}

# --- what the kernel keeps -------------------------------------------------------------------------------------------

test_life_warm_paths_ask_nothing() {
    own_store warm
    mkdir -p "$point/a/b"
    echo x >"$point/a/b/f"
    ln -s f "$point/a/b/l"
    warm() {
        cat "$point/a/b/f" "$point/a/b/l" >/dev/null
        stat "$point/a/b/f" >/dev/null
        ls "$point/a/b" >/dev/null
        [ ! -e "$point/a/b/absent" ]
    }
    warm
    warm
    r0=$(requests "$store/main")
    for i in 1 2 3; do warm; done
    r1=$(requests "$store/main")
    # ls -> fgetxattr/statx with btime may ask; nothing else may
    diff <(grep -v 'GETXATTR\|STATX' <<<"$r0") <(grep -v 'GETXATTR\|STATX' <<<"$r1")
    [ "$(grep -c '^OPEN \|^OPENDIR \|^FLUSH ' <<<"$r1")" -le 3 ]
    py "
for line in sys.argv[1].split('\n'):
    name, n = line.split()
    if name in ('OPEN', 'OPENDIR', 'FLUSH'): assert int(n) == 1, line" "$r1"
}

test_life_idle_daemon_is_small() {
    own_store small
    head -c 50000000 /dev/zero >"$point/f"
    cat "$point/f" >/dev/null
    sync "$point/f"
    for i in $(seq 60); do
        rss=$(awk '/VmRSS/ {print $2}' "/proc/$(daemon_pid "$store")/status")
        [ "$rss" -gt 20480 ] || break
        sleep 0.2
    done
    echo "resident: $rss KiB"
    [ "$rss" -le 20480 ] || [ -n "${SAN:-}" ]
    [ "$(awk '/VmRSS/ {print $2}' "/proc/$(keeper_pid "$store")/status")" -le 8192 ] || [ -n "${SAN:-}" ]
}

test_life_parallel_requests() {
    own_store par
    py "
import threading
os.chdir(sys.argv[1])
def work(k):
    for i in range(150):
        p = 'f%d-%d' % (k, i)
        with open(p, 'wb') as f: f.write(os.urandom(3000)); f.flush(); os.fsync(f.fileno())
        os.rename(p, p + '.done')
ts = [threading.Thread(target=work, args=(k,)) for k in range(24)]
[t.start() for t in ts]; [t.join() for t in ts]
assert len(os.listdir('.')) == 24 * 150" "$point"
}

# --- death of the daemon ----------------------------------------------------------------------------------------------

test_life_daemon_killed() {
    own_store kill
    mkdir "$point/d"
    echo before >"$point/d/f"
    exec 8>>"$point/d/f"
    pid=$(daemon_pid "$store")
    kill -9 "$pid"
    echo after >&8
    expect "$(cat "$point/d/f")" "before
after"
    wait_for 5 daemon_pid "$store"
    [ "$(daemon_pid "$store")" != "$pid" ]
    echo new >"$point/new"
    exec 8>&-
    mkdir "$point/.snapshots/s"
    grep -q 'death' "$store/log/daemon.log"
    "$VARVE" umount "$point"
    "$VARVE" mount "$store" "$point" >/dev/null
    expect "$(cat "$point/new")" new
}

# What a daemon had done and not answered when it died is asked again of the next one, which gives the first answer.
test_life_daemon_killed_under_load() {
    own_store load
    py "
import threading, subprocess, traceback, signal
os.chdir(sys.argv[1]); stop = False; done = [0] * 4; bad = []
def work(k):
    try:
        while not stop:
            i = done[k]
            with open('w%d-%06d' % (k, i), 'xb') as f: f.write(b'%d %d' % (k, i) * 100)
            if i >= 10: os.rename('w%d-%06d' % (k, i - 10), 'r%d-%06d' % (k, i - 10))
            done[k] = i + 1
    except Exception: bad.append((k, done[k], traceback.format_exc()))
ts = [threading.Thread(target=work, args=(k,)) for k in range(4)]
[t.start() for t in ts]
for n in range(5):
    time.sleep(0.5)
    pid = int(subprocess.check_output(['pgrep', '-f', 'varve daemon ' + sys.argv[2] + '\$']).split()[0])
    os.kill(pid, signal.SIGKILL)
time.sleep(1.0)
stop = True
[t.join(30) for t in ts]
assert not any(t.is_alive() for t in ts), 'a writer hangs'
for b in bad: print(*b)
assert not bad
assert min(done) > 10, done
for k in range(4):
    for i in range(done[k]):
        p = ('r%d-%06d' if i < done[k] - 10 else 'w%d-%06d') % (k, i)
        d = open(p, 'rb').read(); assert d == b'%d %d' % (k, i) * 100, (p, len(d))" "$point" "$store"
}

# A daemon waits for jobs before it leaves; the last umount meanwhile closes the store under nobody's hands.
test_life_upgrade_at_the_last_umount() {
    local pid
    own_store leave
    head -c 30000000 /dev/urandom >"$point/f"
    sync "$point/f"
    py "
for i in range(4000): open('%s/%d' % (sys.argv[1], i), 'w').write('x' * 3000)" "$point"
    "$VARVE" scrub "$store" --rate 1M --background >/dev/null
    "$VARVE" upgrade "$store" >"$scratch/own-leave.said" 2>&1 &
    pid=$!
    sleep 0.3
    "$VARVE" umount "$point"
    wait $pid
    grep -q 'nothing is mounted' "$scratch/own-leave.said" || { cat "$scratch/own-leave.said"; return 1; }
    ! grep 'error' "$store/log/daemon.log"
    "$VARVE" mount "$store" "$point" >/dev/null
    expect "$(find "$point" -type f | wc -l)" 4001
}

test_life_unlinked_open_over_a_death() {
    own_store orphan
    py "
import signal, subprocess
os.chdir(sys.argv[1])
fd = os.open('f', os.O_RDWR | os.O_CREAT); os.write(fd, b'q' * 500000); os.unlink('f')
pid = int(subprocess.check_output(['pgrep', '-f', 'varve daemon ' + sys.argv[2] + '\$']).split()[0])
os.kill(pid, signal.SIGKILL)
open('/proc/sys/vm/drop_caches', 'w').write('3')
time.sleep(2)
assert os.pread(fd, 3, 499998) == b'qq'
os.close(fd)" "$point" "$store"
    "$VARVE" umount "$point"
    "$VARVE" mount "$store" "$point" >/dev/null
    expect "$(ls -A "$point")" ""
}

test_life_takeover_keeps_views() {
    own_store views
    mkdir "$point/d"
    echo then >"$point/d/f"
    mkdir "$point/.snapshots/s"
    cd "$point/d/.snapshots/s"
    ino=$(stat -c %i f)
    kill -9 "$(daemon_pid "$store")"
    drop_caches
    expect "$(cat f)" then
    expect "$(stat -c %i f)" "$ino"
    expect "$(cat "$point/d/.snapshots/s/f")" then
    expect "$(cat "$point/.snapshots/.control/error" | wc -l | grep -c .)" 1
    cd /
}

# Who stands in a directory, and what is mounted on one or is a bind mount of one, does not notice: names are looked up while the next
# daemon does not answer, so that what it told the kernel of them shows.
test_life_takeover_keeps_directories() {
    own_store stays
    mkdir -p "$point/top/low" "$point/on" "$point/bound" "$scratch/other.dir" "$scratch/bound.dir"
    echo there >"$scratch/other.dir/f"
    echo there >"$point/bound/f"
    mount --bind "$scratch/other.dir" "$point/on"
    mount --bind "$point/bound" "$scratch/bound.dir"
    trap 'rc=$?; set +e; umount -l "$point/on" "$scratch/bound.dir" 2>/dev/null; (exit $rc); own_end' EXIT
    py "
import signal, subprocess
def stander(d):
    ask, go = os.pipe(); get, tell = os.pipe()
    if os.fork() == 0:
        os.close(go); os.chdir(d)
        while os.read(ask, 1):
            try: said = os.getcwd() + ' ' + os.readlink('/proc/self/cwd')
            except OSError as x: said = str(x)
            os.write(tell, said.encode().ljust(4096))
        os._exit(0)
    os.close(ask)
    return go, get, d
point, store, bound = sys.argv[1:]
standers = [stander(d) for d in (point, point + '/top', point + '/top/low', bound)]
def ask():
    for go, get, d in standers:
        os.write(go, b'?')
        said = os.read(get, 4096).decode().strip()
        assert said == d + ' ' + d, (d, said)
def daemon(): return [int(p) for p in subprocess.run(['pgrep', '-f', 'varve daemon ' + store + '\$'], stdout=subprocess.PIPE).stdout.split()]
ask()
for lookup in ('/top', '/bound', '/top/low', '/on', '/bound/f'):
    was = daemon()[0]
    os.kill(was, signal.SIGKILL)
    os.statvfs(point)
    while daemon() in ([], [was]): time.sleep(0.01)
    if lookup.count('/') > 1: os.stat(point + os.path.dirname(lookup))
    now = daemon()[0]
    os.kill(now, signal.SIGSTOP)
    while 'T' not in open('/proc/%d/stat' % now).read().rsplit(')', 1)[1].split()[0]: time.sleep(0.01)
    asker = os.fork()
    if asker == 0: os.stat(point + lookup); os._exit(0)
    try:
        time.sleep(0.3)
        ask()
    finally: os.kill(now, signal.SIGCONT)
    assert os.waitpid(asker, 0)[1] == 0
    ask()
    os.stat(point + '/on')
    assert open(point + '/on/f').read() == 'there\n', 'what was mounted in there is gone'
    assert open(bound + '/f').read() == 'there\n'" "$point" "$store" "$scratch/bound.dir"
    findmnt -n -o SOURCE "$scratch/bound.dir" | grep -q '\[/bound\]$'
    umount "$point/on"
    umount "$scratch/bound.dir"
}

# Rolled back by a daemon that died before it had told the kernel, and nobody asks for the answer: the next one tells it. The keeper's
# death, and another program, do not make that known a second time, nor forget it.
test_life_untold_rollback() {
    [ -x "$(dirname "$VARVE")/tests/varve-kill" ] || skip "varve-kill is not built"
    export VARVE_KILL=$scratch/untold-order
    VARVE=$(dirname "$VARVE")/tests/varve-kill own_store untold
    unset VARVE_KILL
    mkdir "$point/d" "$point/d/sub"
    echo then >"$point/d/f"
    mkdir "$point/.snapshots/s"
    echo later >"$point/d/f"
    echo later >"$point/new"
    for round in 1 2; do
        [ $round = 1 ] || { # the new keeper has it from the daemon
            kill -9 "$(keeper_pid "$store")"
            wait_for 5 keeper_pid "$store"
        }
        cat "$point/d/f" >/dev/null
        cd "$point"
        rm -f "$scratch/untold-order"
        echo "3 1 1" >"$scratch/untold-order"
        py "
s = socket.socket(socket.AF_UNIX); os.chdir(sys.argv[1]); s.connect('sock')
words = b'verb\\0#7%d\\0rollback\\0main\\0--name=s\\0' % int(sys.argv[2])
s.send(struct.pack('<IB', len(words), 1) + words)
assert s.recv(5) == b''" "$store" $round
        told() { [ "$(grep -c 'fs told' "$store/log/daemon.log")" = $round ]; }
        wait_for 5 told
        expect "$(cat "$point/d/f")" then
        [ ! -e "$point/new" ]
        expect "$(/bin/pwd -P)" "$point" # the root stays what it is
        (
            cd "$point/d"
            kill -9 "$(daemon_pid "$store")"
            stat "$point/d/sub" >/dev/null
            /bin/pwd -P >/dev/null
        )
        told
        echo later >"$point/d/f"
        echo later >"$point/new"
    done
}

# The keeper dies while a connection is being made: when it is mounted and the daemon has not noted it, and when that has noted it and
# not begun. The next keeper holds it all the same: the daemon's death shows that.
test_life_keeper_killed_in_a_mount() {
    [ -x "$(dirname "$VARVE")/tests/varve-kill" ] || skip "varve-kill is not built"
    export VARVE_KILL=$scratch/begins-order
    for at in 0 1; do
        VARVE=$(dirname "$VARVE")/tests/varve-kill own_store "begins$at"
        mkdir -p "$point.b"
        echo "0 $at 1 keeper" >"$scratch/begins-order"
        "$VARVE" mount "$store/other" "$point.b" --create >/dev/null
        [ ! -e "$scratch/begins-order" ]
        wait_for 5 keeper_pid "$store"
        was=$(daemon_pid "$store")
        echo x >"$point.b/f"
        kill -9 "$was"
        expect "$(timeout -s KILL 10 cat "$point.b/f")" x
        expect "$(grep -c 'keeper adopted' "$store/log/daemon.log")" 1
        umount "$point.b"
        "$VARVE" umount "$point"
    done
}

# The daemon dies between mount(2) and its answer: the command, which asks the next one, finds the volume where it shall be.
test_life_daemon_killed_in_a_mount() {
    [ -x "$(dirname "$VARVE")/tests/varve-kill" ] || skip "varve-kill is not built"
    export VARVE_KILL=$scratch/mounts-order
    VARVE=$(dirname "$VARVE")/tests/varve-kill own_store mounts
    unset VARVE_KILL
    mkdir -p "$point.b"
    for at in 0 1 2; do
        echo "0 $at 1" >"$scratch/mounts-order"
        "$VARVE" mount "$store/other" "$point.b" --create >/dev/null
        [ ! -e "$scratch/mounts-order" ]
        expect "$(findmnt -n -o SOURCE "$point.b")" "$store/other"
        echo $at >"$point.b/f"
        expect "$(timeout -s KILL 10 cat "$point.b/f")" $at
        ! "$VARVE" mount "$store/other" "$point.b" 2>"$scratch/mounts.err" || return 1
        grep -q "is mounted there already" "$scratch/mounts.err"
        "$VARVE" umount "$point.b"
    done
}

# There is no memory for a worker's buffers: the request waits until there is some, and nobody is kept busy by that.
test_life_no_memory_for_a_worker() {
    command -v prlimit >/dev/null || skip "no prlimit"
    [ -z "${SAN:-}" ] || skip "a sanitizer ends without memory"
    own_store starved
    echo x >"$point/f"
    drop_caches
    pid=$(daemon_pid "$store")
    turns() { awk '/^voluntary_ctxt_switches/ { print $2 }' "$(dirname "$(grep -l varve-rest "/proc/$pid/task/"*/comm)")/status"; }
    no_worker() { ! grep -q varve-worker "/proc/$pid/task/"*/comm; }
    wait_for 10 no_worker
    prlimit --pid "$pid" --as=1000000:unlimited
    cat "$point/f" >"$scratch/starved.out" &
    reader=$!
    sleep 0.2
    t0=$(turns)
    sleep 1
    t1=$(turns)
    [ ! -s "$scratch/starved.out" ]
    prlimit --pid "$pid" --as=unlimited
    wait $reader
    expect "$(cat "$scratch/starved.out")" x
    echo "$((t1 - t0)) turns"
    [ $((t1 - t0)) -le 100 ]
}

# more mounts than the soft limit of descriptors allows: keeper and daemon take as many as they may
test_life_descriptors_of_the_keeper() {
    (
        ulimit -Sn 100
        own_store files
    )
    store=$scratch/own-files point=$scratch/own-files.mnt
    for p in $(keeper_pid "$store") $(daemon_pid "$store"); do
        read -r soft hard < <(awk '/^Max open files/ { print $4, $5 }' "/proc/$p/limits")
        expect "$soft" "$hard"
        [ "$soft" -gt 100 ]
    done
}

# A file of another socket has taken the place of the one that is handed over: the next daemon makes its own.
test_life_socket_of_another() {
    own_store taken
    py "
os.chdir(sys.argv[1]); os.unlink('sock')
s = socket.socket(socket.AF_UNIX); s.bind('sock')" "$store"
    was=$(daemon_pid "$store")
    kill -9 "$was"
    echo x >"$point/f"
    [ "$(daemon_pid "$store")" != "$was" ]
    "$VARVE" requests "$store/main" >/dev/null
    rm "$store/sock"
    kill -9 "$(daemon_pid "$store")"
    echo y >"$point/f"
    "$VARVE" requests "$store/main" >/dev/null
    kill -9 "$(daemon_pid "$store")"
    echo z >"$point/f"
    "$VARVE" umount "$point"
    expect "$(grep -c 'keeper death' "$store/log/daemon.log")" 3
    wait_for 10 daemon_gone "$store"
}

# Commands that come while a daemon takes mounts over wait until it has all of them: one that is not noted yet counts as gone, and comes
# back afterwards.
test_life_asked_while_taking_over() {
    [ -x "$(dirname "$VARVE")/tests/varve-kill" ] || skip "varve-kill is not built"
    export VARVE_KILL=$scratch/asked-order
    VARVE=$(dirname "$VARVE")/tests/varve-kill own_store asked
    unset VARVE_KILL
    mkdir -p "$point.b"
    "$VARVE" mount "$store/b" "$point.b" --create >/dev/null
    echo "0 0 2 slow" >"$scratch/asked-order" # the second of the two
    kill -9 "$(daemon_pid "$store")"
    taken() { [ ! -e "$scratch/asked-order" ]; }
    wait_for 5 taken
    "$VARVE" umount "$point.b"
    "$VARVE" delete "$store/b" --now
    "$VARVE" umount "$point"
}
