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
        expect "$("$VARVE" umount "$point" 2>&1)" ''
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
