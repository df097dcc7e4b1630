# -o io_uring: another way for requests, and nothing else is different; but nobody can take such a mount over.

need_uring() {
    [ "$(cat /sys/module/fuse/parameters/enable_uring 2>/dev/null)" = Y ] || skip "no FUSE over io_uring here"
}
transport() { "$VARVE" status "$1" --json | sed -n 's/.*"transport": *"\([^"]*\)".*/\1/p'; }

test_uring_is_the_same_filesystem() {
    need_uring
    own_store ring -o io_uring
    expect "$(transport "$point")" io_uring
    py "
import threading
def work(k):
    d = '$point/d%d' % k
    os.mkdir(d)
    for i in range(150):
        p = d + '/' + 'n' * 200 + str(i)
        fd = os.open(p, os.O_RDWR | os.O_CREAT)
        b = os.urandom(1 + i * 997)
        os.pwrite(fd, b, i)
        if i % 20 == 0: os.fsync(fd)
        assert os.pread(fd, len(b) + 9, i) == b
        os.setxattr(p, 'user.' + 'x' * 100, b[:4000])
        os.close(fd)
        os.rename(p, d + '/%d' % i)
        assert os.getxattr(d + '/%d' % i, 'user.' + 'x' * 100) == b[:4000]
    assert sorted(map(int, os.listdir(d))) == list(range(150))
t = [threading.Thread(target=work, args=(k,)) for k in range(6)]
for x in t: x.start()
for x in t: x.join()
assert len(os.listdir('$point')) == 6
b = os.urandom(5 << 20)
open('$point/big', 'wb', buffering=0).write(b)
os.mkdir('$point/.snapshots/s')
os.symlink('y' * 4000, '$point/l')
assert os.readlink('$point/l') == 'y' * 4000
must(errno.ENOENT, os.stat, '$point/none')
must(errno.EEXIST, os.mkdir, '$point/d1')
"
    drop_caches
    cmp "$point/big" "$point/.snapshots/s/big"
    py "
b = open('$point/big', 'rb').read()
m = mmap.mmap(-1, 1 << 20)
fd = os.open('$point/big', os.O_RDONLY | os.O_DIRECT)
for i in range(5):
    assert os.preadv(fd, [m], i << 20) == 1 << 20
    assert m[:] == b[i << 20:(i + 1) << 20]
"
    mkdir -p "$point.b"
    fails "differ in the option io_uring" "$VARVE" mount "$store/main" "$point.b"
    fails "no other process can take over" "$VARVE" upgrade "$store"
    umount "$point"
    wait_for 10 daemon_gone "$store"
    "$VARVE" check "$store"
}

# While one waits for seconds, others of the same processor are answered.
test_uring_slow_requests_delay_nobody() {
    need_uring
    own_killable ring -o io_uring
    mkdir "$point/d"
    echo "17 2 1 slow" >"$order" # before a mkdir is answered
    py "
os.sched_setaffinity(0, {0})
pid = os.fork()
if pid == 0:
    os.mkdir('$point/slow')
    os._exit(0)
while os.path.exists('$order'): time.sleep(0.01)
worst = 0
for i in range(200):
    a = time.time()
    os.statvfs('$point')
    assert not os.path.exists('$point/d/none%d' % i)
    worst = max(worst, time.time() - a)
    time.sleep(0.005)
assert os.waitpid(pid, os.WNOHANG)[0] == 0, 'nothing was slow'
assert worst < 1, worst
os.waitpid(pid, 0)
"
}

test_uring_snapshot_of_a_writeback_mount() {
    need_uring
    own_store ring -o io_uring,writeback
    snapshots_under_load 15
}

# Nobody waits for ever, nothing acknowledged is lost, and it can be mounted anew.
test_uring_daemon_dies() {
    need_uring
    own_store ring -o io_uring
    py "
pids = []
for k in range(4):
    pid = os.fork()
    if pid == 0:
        try:
            fd = os.open('$point/f%d' % k, os.O_WRONLY | os.O_CREAT)
            i = 0
            while True:
                os.pwrite(fd, struct.pack('<Q', i), 8 * i)
                i += 1
                open('$scratch/ring.%d' % k, 'w').write(str(i))
        except OSError as x:
            os._exit(0 if x.errno in (errno.ECONNABORTED, errno.ECANCELED, errno.ENOTCONN, errno.EIO) else 1)
    pids.append(pid)
time.sleep(0.7)
import subprocess
os.kill(int(subprocess.check_output(['pgrep', '-f', 'varve daemon $store\$'])), 9)
end = time.time() + 15
for pid in pids:
    while True:
        p, st = os.waitpid(pid, os.WNOHANG)
        if p: break
        assert time.time() < end, 'a caller still waits'
        time.sleep(0.05)
    assert st == 0, st
"
    grep -q "cannot be taken over" "$store/log/daemon.log"
    wait_for 10 daemon_gone "$store"
    umount "$point" 2>/dev/null || true
    "$VARVE" mount "$store" "$point" -o io_uring >/dev/null
    for k in 0 1 2 3; do
        [ "$(stat -c %s "$point/f$k")" -ge $((8 * $(cat "$scratch/ring.$k"))) ]
    done
    expect "$(transport "$point")" io_uring
}

# Switched off, it is classic, and says why.
test_uring_falls_back() {
    need_uring
    (
        flock 9
        echo N >/sys/module/fuse/parameters/enable_uring || exit 0
        own_store ring -o io_uring
        echo Y >/sys/module/fuse/parameters/enable_uring
    ) 9>/run/varve-uring.lock
    store=$scratch/own-ring point=$scratch/own-ring.mnt
    case $(transport "$point") in classic:*) ;; *) echo "transport $(transport "$point")"; return 1 ;; esac
    grep -q "io_uring.*classic instead" "$store/log/daemon.log"
    echo hi >"$point/f"
    kill -9 "$(daemon_pid "$store")"
    expect "$(cat "$point/f")" hi
    "$VARVE" doctor "$store" | grep -q io_uring
}
