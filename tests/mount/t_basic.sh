# Files, directories, names, attributes.

test_basic_files() {
    echo one >f
    echo two >>f
    expect "$(cat f)" "one
two"
    head -c 5000000 /dev/urandom >big
    cp big big2
    cmp big big2
    drop_caches
    cmp big big2
    : >f
    expect "$(stat -c %s f)" 0
    mkdir -p a/b/c
    mv a/b/c a/d
    rmdir a/d a/b a
    [ ! -e a ]
}

# the kernel sends no OPEN; O_TRUNC must reach us all the same
test_basic_o_trunc() {
    head -c 5000 /dev/zero >f
    echo x >f
    drop_caches
    expect "$(stat -c %s f)" 2
    py "os.close(os.open('f', os.O_RDWR | os.O_TRUNC))"
    drop_caches
    expect "$(stat -c %s f)" 0
}

# what the mount is set to and what INIT is answered with both bound it, in whichever order they come
test_basic_read_ahead() {
    local knob
    knob=/sys/class/bdi/$(mountpoint -d "$mnt")/read_ahead_kb
    [ -w "$knob" ] || skip "this /sys cannot be written"
    expect "$(cat "$knob")" 1024
}

test_basic_append_of_many() {
    for p in 1 2 3 4; do (for i in $(seq 200); do echo "line of $p" >>log; done) & done
    wait
    expect "$(wc -l <log)" 800
    expect "$(sort -u log | wc -l)" 4
}

test_basic_mmap_shared() {
    py "
fd = os.open('m', os.O_RDWR | os.O_CREAT)
os.truncate(fd, 1 << 20)
m = mmap.mmap(fd, 1 << 20)
for i in range(0, 1 << 20, 4096): m[i:i + 4] = b'page'
m.flush(); m.close(); os.close(fd)"
    drop_caches
    py "
d = open('m', 'rb').read()
assert len(d) == 1 << 20 and all(d[i:i + 4] == b'page' for i in range(0, 1 << 20, 4096))"
}

test_basic_o_direct() {
    dd if=/dev/urandom of="$scratch/direct" bs=64k count=40 status=none
    dd if="$scratch/direct" of=d bs=64k oflag=direct status=none
    cmp d "$scratch/direct"
    dd if=d of="$scratch/direct2" bs=64k iflag=direct status=none
    cmp "$scratch/direct" "$scratch/direct2"
}

test_basic_tmpfile_linkat() {
    py "
fd = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o640)
os.write(fd, b'made first, named later')
assert os.fstat(fd).st_nlink == 0
assert libc.linkat(-100, b'/proc/self/fd/%d' % fd, -100, b'named', 0x400) == 0
assert os.fstat(fd).st_nlink == 1" || {
        ! "$VARVE" doctor | grep -q '^ok.*libfuse >= 3.18' && skip "this libfuse knows no O_TMPFILE"
        return 1
    }
    expect "$(cat named)" "made first, named later"
    expect "$(stat -c %a named)" 640
}

# between our answer and the kernel's inode nobody holds it yet: it must not be taken for an orphan (F9)
test_basic_tmpfile_many() {
    py "
try: os.close(os.open('.', os.O_TMPFILE | os.O_RDWR))
except OSError: sys.exit(0)                        # this libfuse knows none
import threading
end = time.time() + 4; bad = []
def make(k):
    try:
        while time.time() < end:
            fd = os.open('.', os.O_TMPFILE | os.O_RDWR); os.write(fd, b'x' * 100)
            assert os.pread(fd, 100, 0) == b'x' * 100
            os.close(fd)
    except OSError as e: bad.append(e)
def churn():
    while time.time() < end: open('c', 'w').close(); os.unlink('c'); time.sleep(0.3)
ts = [threading.Thread(target=make, args=(k,)) for k in range(3)] + [threading.Thread(target=churn)]
[t.start() for t in ts]; [t.join() for t in ts]
assert not bad, bad"
}

test_basic_unlinked_open() {
    py "
fd = os.open('gone', os.O_RDWR | os.O_CREAT)
os.write(fd, b'x' * 3000000)
os.unlink('gone')
assert not os.path.exists('gone') and os.fstat(fd).st_nlink == 0
os.write(fd, b'tail')
open('/proc/sys/vm/drop_caches', 'w').write('3')
assert os.pread(fd, 4, 3000000) == b'tail'
time.sleep(1.5)
assert os.pread(fd, 4, 2999998) == b'xxta'
os.mkdir('d'); dfd = os.open('d', os.O_RDONLY); os.rmdir('d')
assert os.listdir(dfd) == []
must(errno.ENOENT, os.open, 'n', os.O_CREAT | os.O_RDWR, dir_fd=dfd)"
}

# the space of a deleted file comes back once the last holder has gone (F9)
test_basic_unlinked_space_returns() {
    local before
    # free space within a limit: the disk below is others' too
    "$VARVE" resize . 1G
    sync -f .
    sleep 1.2
    before=$(stat -f -c %f .)
    py "
fd = os.open('hold', os.O_RDWR | os.O_CREAT)
os.write(fd, os.urandom(8 << 20))
os.unlink('hold')
time.sleep(0.3)"
    for i in $(seq 60); do
        [ $(($(stat -f -c %f .) + 200)) -lt "$before" ] || return 0
        sleep 0.1
    done
    echo "free blocks before $before, after $(stat -f -c %f .)"
    return 1
}

test_basic_sparse_9t() {
    truncate -s 9T huge
    expect "$(stat -c %s huge)" 9895604649984
    printf end | dd of=huge bs=1 seek=9345848836096 conv=notrunc status=none
    expect "$(dd if=huge bs=1 skip=9345848836096 count=3 status=none)" end
    [ "$(stat -c %b huge)" -le 16 ]
    py "
fd = os.open('huge', os.O_RDONLY)
d = os.lseek(fd, 0, os.SEEK_DATA)
assert d == 9345848836096 // 4096 * 4096, d
h = os.lseek(fd, d, os.SEEK_HOLE)
assert h == d + 4096, h
must(errno.ENXIO, os.lseek, fd, 9895604649984, os.SEEK_DATA)
assert os.lseek(fd, 0, os.SEEK_HOLE) == 0"
    rm huge
}

test_basic_fallocate() {
    py "
fd = os.open('f', os.O_RDWR | os.O_CREAT)
fallocate(fd, 0, 0, 1 << 20)
assert os.fstat(fd).st_size == 1 << 20 and os.fstat(fd).st_blocks >= 2048, os.fstat(fd)
os.pwrite(fd, b'a' * (1 << 20), 0)
fallocate(fd, 3, 4096, 8192)                      # punch, keep size
assert os.pread(fd, 8192, 4096) == bytes(8192) and os.pread(fd, 1, 4095) == b'a' and os.pread(fd, 1, 12288) == b'a'
fallocate(fd, 16, 65536, 100)                     # zero
assert os.pread(fd, 101, 65536) == bytes(100) + b'a'
fallocate(fd, 1, 1 << 20, 1 << 20)                # keep size
assert os.fstat(fd).st_size == 1 << 20
must(errno.EOPNOTSUPP, fallocate, fd, 0x20, 0, 4096)
must(errno.EINVAL, fallocate, fd, 0, 0, 0)"
}

test_basic_copy_file_range() {
    py "
a = os.open('a', os.O_RDWR | os.O_CREAT); b = os.open('b', os.O_RDWR | os.O_CREAT)
data = os.urandom(3 << 20)
os.write(a, data)
n = 0
while n < len(data): n += os.copy_file_range(a, b, len(data) - n, n, n)
assert os.pread(b, 4 << 20, 0) == data
assert os.copy_file_range(a, b, 100, 5, 1000) == 100
assert os.pread(b, 102, 999) == data[999:1000] + data[5:105] + data[1100:1101]"
}

test_basic_rename_flags() {
    echo a >a
    echo b >b
    py "
must(errno.EEXIST, renameat2, 'a', 'b', 1)
renameat2('a', 'b', 2)
assert open('a').read() == 'b\n' and open('b').read() == 'a\n'
renameat2('a', 'c', 1)
assert not os.path.exists('a')
os.mkdir('d'); os.mkdir('e'); open('e/x', 'w').close()
must(errno.ENOTEMPTY, os.rename, 'd', 'e')
must(errno.EISDIR, os.rename, 'c', 'd')
must(errno.ENOTDIR, os.rename, 'd', 'c')
must(errno.EINVAL, os.rename, 'e', 'e/sub')
renameat2('c', 'white', 4)
s = os.lstat('c'); assert stat.S_ISCHR(s.st_mode) and s.st_rdev == 0"
    mv b ..moved
    expect "$(cat ..moved)" a
}

test_basic_links() {
    echo x >f
    ln f g
    expect "$(stat -c %h f)" 2
    expect "$(stat -c %i f)" "$(stat -c %i g)"
    rm f
    expect "$(stat -c %h g)" 1
    ln -s g s
    expect "$(cat s)" x
    expect "$(readlink s)" g
    py "
os.symlink('y' * 4095, 'long'); assert len(os.readlink('long')) == 4095
must(errno.EPERM, os.link, '.', 'dirlink')"
    ln -s loop2 loop1
    ln -s loop1 loop2
    fails "Too many levels" cat loop1
}

test_basic_special_nodes() {
    mkfifo p
    mknod c c 1 3
    mknod b b 7 9
    py "s = socket.socket(socket.AF_UNIX); s.bind('sock')"
    expect "$(stat -c %F p c b sock | tr '\n' ,)" "fifo,character special file,block special file,socket,"
    expect "$(stat -c %t:%T b)" 7:9
    (echo through >p) &
    expect "$(cat p)" through
    wait
    echo x >c
}

test_basic_attributes() {
    umask 027
    echo x >f
    mkdir d
    expect "$(stat -c %a f)" 640
    expect "$(stat -c %a d)" 750
    chmod 4711 f
    expect "$(stat -c %a f)" 4711
    chown 1000:1001 f
    expect "$(stat -c %u:%g:%a f)" 1000:1001:711
    touch -d '2001-02-03 04:05:06.123456789 UTC' f
    expect "$(stat -c %.9Y f)" 981173106.123456789
    py "os.utime('f', ns=(-2174586893500000000, -2174586893500000000)); assert os.stat('f').st_mtime_ns == -2174586893500000000"
    touch -d '2446-01-01 UTC' f
    drop_caches
    expect "$(stat -c %Y f)" "$(date -d '2446-01-01 UTC' +%s)"
    chmod g+s d
    chgrp 1234 d
    chmod 2770 d
    mkdir d/sub
    : >d/file
    expect "$(stat -c %g:%a d/sub)" 1234:2750
    expect "$(stat -c %g d/file)" 1234
}

test_basic_btime() {
    local t0
    t0=$(date +%s)
    echo x >f
    touch -d 2001-01-01 f
    drop_caches
    [ "$(stat -c %W f)" != 0 ] || skip "this libfuse has no statx"
    [ "$(stat -c %W f)" -ge "$t0" ] && [ "$(stat -c %W f)" -le $((t0 + 5)) ]
}

test_basic_suid_is_cleared() {
    chmod 777 .
    echo x >f
    chmod 6777 f
    as_user sh -c 'echo more >>f'
    expect "$(stat -c %a f)" 777
    chmod 6777 f
    as_user truncate -s 1 f
    expect "$(stat -c %a f)" 777
}

test_basic_xattr() {
    py "
open('f', 'w').close()
os.setxattr('f', 'user.a', b'1'); os.setxattr('f', 'trusted.t', b'2'); os.setxattr('f', 'user.empty', b'')
assert os.getxattr('f', 'user.a') == b'1' and os.getxattr('f', 'user.empty') == b''
assert sorted(os.listxattr('f')) == ['trusted.t', 'user.a', 'user.empty']
must(errno.EEXIST, os.setxattr, 'f', 'user.a', b'3', os.XATTR_CREATE)
must(errno.ENODATA, os.setxattr, 'f', 'user.b', b'3', os.XATTR_REPLACE)
must(errno.ENODATA, os.getxattr, 'f', 'user.b')
os.removexattr('f', 'user.a'); must(errno.ENODATA, os.removexattr, 'f', 'user.a')
big = os.urandom(65536); os.setxattr('f', 'user.big', big); assert os.getxattr('f', 'user.big') == big
buf = ctypes.create_string_buffer(10)
assert libc.getxattr(b'f', b'user.big', buf, 10) == -1 and ctypes.get_errno() == errno.ERANGE
must(errno.EOPNOTSUPP, os.setxattr, 'f', 'user.varve.snap.btime', b'1')
for i in range(1100): os.setxattr('f', 'user.n%04d' % i, b'%d' % i)
assert len(os.listxattr('f')) == 1103 and os.getxattr('f', 'user.n0777') == b'777'"
}

test_basic_acl() {
    command -v setfacl >/dev/null || skip "no setfacl"
    echo secret >f
    chmod 600 f
    chmod 755 .
    fails "ermission denied" as_user cat f
    setfacl -m u:65534:r f
    expect "$(as_user cat f)" secret
    expect "$(stat -c %a f)" 640
    mkdir d
    setfacl -d -m u:1000:rwx,g::r-x,o::- d
    (umask 0 && : >d/n && mkdir d/s)
    getfacl -cpn d/n | grep -qx 'user:1000:rwx.*#effective:rw-\|user:1000:rwx'
    getfacl -cpn d/s | grep -q '^default:user:1000:rwx'
    setfacl -b f
    expect "$(getfacl -cpn f | grep -c 65534)" 0
}

test_basic_permissions() {
    chmod 755 .
    echo x >f
    chmod 600 f
    fails "ermission denied" as_user cat f
    fails "ermission denied" as_user sh -c ': >n'
    mkdir sticky
    chmod 1777 sticky
    : >sticky/roots
    fails "not permitted" as_user rm sticky/roots
    as_user sh -c ': >sticky/mine; rm sticky/mine'
    fails "not permitted" as_user chown 0 f
}

test_basic_names() {
    local n255 n256
    n255=$(printf 'n%.0s' $(seq 255))
    n256=${n255}n
    echo x >"$n255"
    expect "$(cat "$n255")" x
    fails "too long" touch "$n256"
    fails "too long" stat "$n256"
    touch "$(printf 'new\nline')" 'späce ' -- -dash
    expect "$(ls | wc -l)" 5
}

test_basic_errors() {
    py "
open('f', 'w').close(); os.mkdir('d'); open('d/x', 'w').close()
must(errno.ENOENT, os.stat, 'none')
must(errno.ENOENT, os.unlink, 'none')
must(errno.ENOENT, os.rename, 'none', 'g')
must(errno.ENOTDIR, os.stat, 'f/x')
must(errno.ENOTDIR, os.rmdir, 'f')
must(errno.EISDIR, os.unlink, 'd')
must(errno.EISDIR, os.open, 'd', os.O_WRONLY)
must(errno.EEXIST, os.mkdir, 'd')
must(errno.EEXIST, os.open, 'f', os.O_CREAT | os.O_EXCL)
must(errno.EEXIST, os.symlink, 'a', 'f')
must(errno.EEXIST, os.link, 'd/x', 'f')
must(errno.ENOTEMPTY, os.rmdir, 'd')
must(errno.EINVAL, os.rmdir, 'd/.')
must(errno.ENAMETOOLONG, os.symlink, 'y' * 5000, 'l')
must(errno.EINVAL, os.readlink, 'f')
must(errno.EXDEV, os.rename, 'f', '/dev/shm/varve-none')
fd = os.open('f', os.O_RDWR)
must(errno.EFBIG, os.ftruncate, fd, 1 << 62)
must(errno.EINVAL, os.ftruncate, fd, -1)
must(errno.EBADF, os.write, os.open('f', os.O_RDONLY), b'x')
must(errno.ENOTTY, fcntl.ioctl, fd, 0x5401)"
}

test_basic_sync() {
    echo x >f
    sync f
    sync -d f
    sync -f f
    py "
fd = os.open('.', os.O_RDONLY); os.fsync(fd)
fd = os.open('f', os.O_RDWR); os.write(fd, b'z' * 100000); os.fdatasync(fd); os.fsync(fd)"
}

test_basic_locks() {
    py "
a = open('f', 'w'); fcntl.flock(a, fcntl.LOCK_EX)
b = open('f'); must(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.flock(a, fcntl.LOCK_UN); fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.lockf(a, fcntl.LOCK_EX | fcntl.LOCK_NB, 10)
if os.fork() == 0:
    c = open('f', 'r+')
    try: fcntl.lockf(c, fcntl.LOCK_EX | fcntl.LOCK_NB, 10)
    except OSError: os._exit(0)
    os._exit(1)
assert os.wait()[1] == 0"
}

test_basic_blocking_lock_is_interrupted() {
    py "
import signal
a = open('f', 'w'); fcntl.flock(a, fcntl.LOCK_EX)
def on(*_): raise InterruptedError
signal.signal(signal.SIGALRM, on); signal.setitimer(signal.ITIMER_REAL, 0.2)
try: fcntl.flock(open('f'), fcntl.LOCK_EX); raise SystemExit('was not interrupted')
except InterruptedError: pass
fcntl.lockf(a, fcntl.LOCK_EX)
if os.fork() == 0:
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try: fcntl.lockf(open('f', 'r+'), fcntl.LOCK_EX)
    except InterruptedError: os._exit(0)
    os._exit(1)
assert os.wait()[1] == 0"
}

test_basic_quota() {
    own_store quota
    umount "$point"
    wait_for 10 daemon_gone "$store"
    "$VARVE" create "$store/small" --size 4M --inodes 50
    "$VARVE" mount "$store/small" "$point" >/dev/null
    cd "$point"
    expect "$(stat -f -c %b . | head -c 4)" 1024
    fails "No space left" dd if=/dev/zero of=f bs=64k count=100 status=none
    [ "$(stat -c %s f)" -ge 3000000 ]
    fails "No space left" dd if=/dev/zero of=f bs=64k count=100 oflag=append conv=notrunc status=none
    cat f >/dev/null
    rm f
    dd if=/dev/zero of=g bs=64k count=50 status=none
    py "
n = 0
try:
    while n < 100: os.mknod('n%d' % n); n += 1
except OSError as e: assert e.errno == errno.ENOSPC, e
assert 40 <= n < 50, n"
}

test_basic_readdir_many() {
    local n=100000
    [ "${SCALE:-full}" = short ] && n=20000
    mkdir many
    py "
n = int(sys.argv[1])
for i in range(n): os.mknod('many/entry-%06d' % i)
got = os.listdir('many'); assert len(got) == n and len(set(got)) == n
open('/proc/sys/vm/drop_caches', 'w').write('3')
it = os.scandir('many'); seen = []
for k, e in enumerate(it):
    seen.append(e.name)
    if k == n // 10:                               # change it under the reader
        for i in range(0, n, 7): os.unlink('many/entry-%06d' % i)
        for i in range(1000): os.mknod('many/new-%d' % i)
assert len(seen) == len(set(seen)), 'an entry came twice'
stay = {'entry-%06d' % i for i in range(n) if i % 7}
assert stay <= set(seen), 'an entry that stayed is missing'" $n
    expect "$(ls -U many | wc -l)" $((n - (n + 6) / 7 + 1000))
    rm -r many
}

test_basic_statfs() {
    [ "$(stat -f -c %b .)" -gt 0 ]
    [ "$(stat -f -c %a .)" -gt 0 ]
    expect "$(stat -f -c %l .)" 255
}

test_basic_export_handles() {
    py "
class H(ctypes.Structure): _fields_ = [('n', ctypes.c_uint), ('t', ctypes.c_int), ('b', ctypes.c_char * 128)]
open('f', 'w').write('by handle'); os.mkdir('d')
h = H(128); mid = ctypes.c_int()
assert libc.name_to_handle_at(-100, b'f', ctypes.byref(h), ctypes.byref(mid), 0) == 0, os.strerror(ctypes.get_errno())
root = os.open('.', os.O_RDONLY)
open('/proc/sys/vm/drop_caches', 'w').write('3')
fd = libc.open_by_handle_at(root, ctypes.byref(h), os.O_RDONLY)
assert fd >= 0, os.strerror(ctypes.get_errno())
assert os.read(fd, 20) == b'by handle'"
}
