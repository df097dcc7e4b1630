# -o writeback: the kernel keeps what is written. Whoever looks at the mount must see no difference, and a snapshot, a clone, a rollback and a
# death of the daemon must find all that had been written.

test_writeback_is_gathered() {
    own_store wb -o writeback
    py "
f = os.open('$point/f', os.O_WRONLY | os.O_CREAT)
for i in range(4000): os.pwrite(f, b'%06d' % i, i * 100)
"
    sync -f "$point"
    n=$("$VARVE" requests "$point" | sed -n 's/^WRITE //p')
    [ "$n" -lt 100 ] || { echo "$n WRITE requests for 4,000 writes of 6 bytes"; return 1; }
    drop_caches
    py "
d = open('$point/f', 'rb').read()
assert len(d) == 399906, len(d)
for i in range(4000): assert d[i * 100:i * 100 + 6] == b'%06d' % i, i
"
    mkdir -p "$point.b"
    fails "differ in the option writeback" "$VARVE" mount "$store/main" "$point.b"
}

test_writeback_snapshot_holds_what_was_written() {
    own_store wb -o writeback
    py "
for n in range(20):
    for i in range(40):
        with open('$point/f%d' % i, 'ab') as f: f.write(b'%d ' % n)
    fd = os.open('$point/big', os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b'%08d' % n * 200000, 0)
    m = mmap.mmap(fd, 4096)
    m[100:108] = b'%08d' % (n + 5000)
    os.mkdir('$point/.snapshots/s%d' % n)
    for i in range(40):
        with open('$point/f%d' % i, 'ab') as f: f.write(b'late ')
    os.pwrite(fd, b'late' * 2000, 0)
    for i in range(40):
        got = open('$point/.snapshots/s%d/f%d' % (n, i), 'rb').read()
        assert got.replace(b'late ', b'').split() == [b'%d' % k for k in range(n + 1)], (n, i, got)
        assert got.count(b'late') == n
    got = open('$point/.snapshots/s%d/big' % n, 'rb').read()
    assert got[:100] + got[108:] == (b'%08d' % n * 200000)[:100] + (b'%08d' % n * 200000)[108:], n
    assert got[100:108] == b'%08d' % (n + 5000)
    a, b = os.stat('$point/.snapshots/s%d/big' % n), os.stat('$point/.snapshots/s%d/f3' % n)
    assert a.st_size == 1600000
"
    "$VARVE" snapshot create "$point" by-command
    "$VARVE" clone "$store/main" copy
    mkdir -p "$point.copy"
    echo more >>"$point/f0"
    "$VARVE" mount "$store/copy" "$point.copy" >/dev/null
    cmp "$point.copy/f1" "$point/f1"
    cmp "$point.copy/big" "$point/big"
    ! cmp -s "$point.copy/f0" "$point/f0"
    umount "$point.copy"
}

# A writer that never rests notes in memory what it has written. Each of so many snapshots has at least that.
snapshots_under_load() { # COUNT
    py "
shared = mmap.mmap(-1, 4096)
pid = os.fork()
if pid == 0:
    fds = [os.open('$point/w%d' % k, os.O_WRONLY | os.O_CREAT) for k in range(8)]
    n = 0
    while True:
        n += 1
        for fd in fds: os.pwrite(fd, struct.pack('<Q', n), (n % 3000) * 1000)
        struct.pack_into('<Q', shared, 0, n)
try:
    slow = 0
    while not struct.unpack_from('<Q', shared)[0]: time.sleep(0.01)
    for s in range($1):
        time.sleep(0.05)
        before = struct.unpack_from('<Q', shared)[0]
        t = time.time()
        os.mkdir('$point/.snapshots/l%d' % s)
        slow = max(slow, time.time() - t)
        for k in range(8):
            d = open('$point/.snapshots/l%d/w%d' % (s, k), 'rb').read()
            got = max(struct.unpack_from('<Q', d, o)[0] for o in range(0, len(d) - 7, 1000))
            assert got >= before, 'snapshot %d: %d had been written, %d is there' % (s, before, got)
    print('slowest snapshot %.0f ms' % (slow * 1000))
finally:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
"
}

test_writeback_snapshot_under_load() {
    own_store wb -o writeback
    snapshots_under_load 25
}

test_writeback_times_are_those_of_the_writing() {
    own_store wb -o writeback
    py "
d = os.urandom(4 << 20)
for i in range(12):
    with open('$point/f%d' % i, 'wb') as f:
        f.write(d)
        f.flush()
        os.mkdir('$point/.snapshots/t%d' % i)
    a, b = os.stat('$point/f%d' % i), os.stat('$point/.snapshots/t%d/f%d' % (i, i))
    assert a.st_mtime_ns == b.st_mtime_ns, (i, a.st_mtime_ns, b.st_mtime_ns)
os.utime('$point/f0', ns=(5, 7))
"
    stat -c '%n %.9Y %.9Z %s' "$point"/f* >"$scratch/wb.before"
    sync -f "$point"
    "$VARVE" umount "$point"
    "$VARVE" mount "$store" "$point" -o writeback >/dev/null
    stat -c '%n %.9Y %.9Z %s' "$point"/f* | diff "$scratch/wb.before" -
}

test_writeback_holes_hide_nothing() {
    own_store wb -o writeback
    py "
fd = os.open('$point/f', os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 10 << 20)
os.fsync(fd)
os.pwrite(fd, b'here', 5 << 20)
assert os.lseek(fd, 0, os.SEEK_DATA) <= 5 << 20
"
    tar -S -C "$point" -cf "$scratch/wb.tar" f
    tar -xOf "$scratch/wb.tar" f | cmp - "$point/f"
    cp --sparse=always "$point/f" "$point/g"
    cmp "$point/f" "$point/g"
}

test_writeback_daemon_dies() {
    own_store wb -o writeback
    for round in 1 2 3 4; do
        py "
d = os.urandom(3 << 20)
open('$scratch/wb.want', 'wb').write(d)
fd = os.open('$point/f$round', os.O_RDWR | os.O_CREAT)
for i in range(0, len(d), 5000): os.pwrite(fd, d[i:i + 5000], i)
"
        [ $round -gt 2 ] && { sync -f "$point" & }
        kill -9 "$(daemon_pid "$store")"
        echo after >>"$point/g"
        wait
        cmp "$scratch/wb.want" "$point/f$round"
        mkdir "$point/.snapshots/d$round"
        cmp "$scratch/wb.want" "$point/.snapshots/d$round/f$round"
        kill -9 "$(daemon_pid "$store")"
        drop_caches
        cmp "$scratch/wb.want" "$point/f$round"
    done
    expect "$(cat "$point/g")" "after
after
after
after"
    "$VARVE" umount "$point"
    "$VARVE" check "$store"
}

test_writeback_append_and_write_only() {
    own_store wb -o writeback
    py "
for k in range(4):
    if os.fork() == 0:
        fd = os.open('$point/log', os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for i in range(500): os.write(fd, b'%d %04d\n' % (k, i))
        os._exit(0)
for k in range(4): assert os.wait()[1] == 0
lines = open('$point/log').read().split('\n')[:-1]
assert len(lines) == 2000
for k in range(4):
    assert [l for l in lines if l[0] == str(k)] == ['%d %04d' % (k, i) for i in range(500)]
open('$point/whole', 'wb').write(b'0123456789' * 3000)
"
    sync -f "$point"
    drop_caches
    py "
fd = os.open('$point/whole', os.O_WRONLY)
os.pwrite(fd, b'XY', 4100)
must(errno.EBADF, os.read, fd, 1)
os.close(fd)
want = bytearray(b'0123456789' * 3000); want[4100:4102] = b'XY'
assert open('$point/whole', 'rb').read() == bytes(want)
"
    drop_caches
    expect "$(dd if="$point/whole" bs=1 skip=4098 count=6 2>/dev/null)" 89XY23
}

# What there is no room for is told at fsync and at close; what was there before stays.
test_writeback_no_room() {
    own_store wb -o writeback
    echo kept >"$point/kept"
    "$VARVE" resize "$store/main" 8M >/dev/null
    py "
fd = os.open('$point/f', os.O_WRONLY | os.O_CREAT)
try:
    for i in range(32): os.write(fd, bytes(1 << 20))
    os.fsync(fd)
    raise AssertionError('32 MiB went into a volume of 8')
except OSError as x:
    assert x.errno in (errno.EDQUOT, errno.ENOSPC), x
os.close(fd)
os.unlink('$point/f')
fd = os.open('$point/g', os.O_WRONLY | os.O_CREAT)
os.write(fd, bytes(1 << 20))
os.fsync(fd)
"
    expect "$(cat "$point/kept")" kept
    mkdir "$point/.snapshots/after"
}

test_writeback_rollback() {
    own_store wb -o writeback
    echo old >"$point/f"
    mkdir "$point/.snapshots/base"
    py "
import subprocess
fd = os.open('$point/f', os.O_WRONLY)
os.pwrite(fd, b'new', 0)
g = os.open('$point/g', os.O_WRONLY | os.O_CREAT)
os.write(g, b'written before')
subprocess.run(['$VARVE', 'rollback', '$point', 'base'], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
os.pwrite(fd, b'stale', 0)
must(errno.ESTALE, os.fsync, fd)
" || return 1
    expect "$(cat "$point/f")" old
    [ ! -e "$point/g" ]
    kept=$(cd "$point/.snapshots" && echo before-rollback-*)
    expect "$(cat "$point/.snapshots/$kept/f")" new
    expect "$(cat "$point/.snapshots/$kept/g")" "written before"
}

# What is written to a control file is a command: it is carried out, and refused, at its write().
test_writeback_control_files() {
    own_store wb -o writeback
    echo "create one" >"$point/.snapshots/.control/snapshots"
    [ -d "$point/.snapshots/one" ]
    py "
ctl = '$point/.snapshots/.control/'
def say(file, line):
    fd = os.open(ctl + file, os.O_WRONLY)
    try: os.write(fd, line)
    finally: os.close(fd)
must(errno.EEXIST, say, 'snapshots', b'create one\n')
open('$point/f', 'w').write('late')
say('snapshots', b'create two\n')
assert open('$point/.snapshots/two/f').read() == 'late'
say('rollback', b'rollback one\n')
assert not os.path.exists('$point/f')
"
    "$VARVE" umount "$point"
    "$VARVE" mount "$store" "$point" -o writeback,control=none >/dev/null
    cat "$point/.snapshots/two/f" >/dev/null # the kernel learns here that it need not tell
    before=$("$VARVE" requests "$point" | sed -n 's/^OPEN //p')
    for i in 1 2 3 4 5; do cat "$point/.snapshots/two/f" >/dev/null; done
    expect "$("$VARVE" requests "$point" | sed -n 's/^OPEN //p')" "$before"
}
