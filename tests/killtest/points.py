#!/usr/bin/env python3
"""Kills the daemon inside each kind of operation. points.py MOUNT STORE ORDER VARVE; the daemon is tests/doors/kill.c's.

A case is (name, kind of the journal record, prepare, act, look): prepare makes what it needs, act is the operation that must not
notice anything, look says whether its effect is there exactly once."""
import ctypes, errno, os, stat, subprocess, sys, threading, time, traceback

mount, store, order, varve = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
O_TMPFILE = getattr(os, 'O_TMPFILE', 0o20200000)
POINTS = ['before the journal', 'after the journal', 'before the reply']
os.chdir(mount)


def sys_call(r, what):
    if r < 0:
        e = ctypes.get_errno()
        raise OSError(e, '%s: %s' % (what, os.strerror(e)))
    return r


def renameat2(a, b, flags):
    sys_call(libc.renameat2(-100, a.encode(), -100, b.encode(), flags), 'renameat2')


def fallocate(path, mode, off, n):
    fd = os.open(path, os.O_RDWR)
    sys_call(libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(n)), 'fallocate')
    os.close(fd)


def put(path, data=b''):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    at = 0
    while at < len(data):
        at += os.write(fd, data[at:])
    os.close(fd)


def get(path):
    with open(path, 'rb') as f:
        return f.read()


def write_at(path, data, off, flags=0):
    fd = os.open(path, os.O_WRONLY | flags)
    n = os.write(fd, data) if flags & os.O_APPEND else os.pwrite(fd, data, off)
    os.close(fd)
    assert n == len(data), n


def copy(a, b, n):
    src, dst = os.open(a, os.O_RDONLY), os.open(b, os.O_WRONLY)
    done = 0
    while done < n:
        k = os.copy_file_range(src, dst, n - done, done, done)
        assert k > 0, 'copy stopped at %d' % done
        done += k
    os.close(src), os.close(dst)


def control(file, text):
    fd = os.open('.snapshots/.control/' + file, os.O_WRONLY)
    n = os.write(fd, text.encode())
    os.close(fd)
    assert n == len(text), n


def snapshots():
    return sorted(e for e in os.listdir('.snapshots') if not e.startswith('.'))


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def tmpfile(d):
    fd = os.open('.', O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b'nameless')
    time.sleep(0.8)  # those who look for orphans have been round
    assert os.pread(fd, 8, 0) == b'nameless'
    path = '/proc/self/fd/%d' % fd
    sys_call(libc.linkat(-100, path.encode(), -100, (d + '/f').encode(), 0x400), 'linkat')
    os.close(fd)


BIG = os.urandom(700000)
SMALL = b'0123456789' * 20
CREATE, MKDIR, MKNOD, SYMLINK, LINK, UNLINK, RMDIR, RENAME, SETATTR, SETXATTR, REMOVEXATTR, TMPFILE = range(16, 28)
WRITE, TRUNCATE, FALLOCATE, COPY = range(32, 36)
VOLUME, SNAPSHOT, ROLLBACK, CLONE = 1, 2, 3, 4
NOTHING = lambda d: None
X = 'user.x'


def two(d):
    put(d + '/a', b'A'), put(d + '/b', b'B')


def excl(d):
    os.close(os.open(d + '/f', os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))


def snap(name, *more):
    def prepare(d):
        os.mkdir('.snapshots/%s-%s' % (d, name))
        for m in more:
            control('snapshots', m.replace('@', d + '-' + name))
    return prepare


def rolled(d, more=b''):
    put(d + '/f', b'then')
    put(d + '/more', more)
    os.mkdir('.snapshots/%s-s' % d)
    put(d + '/f', b'later, and longer')


CASES = [
    ('create', CREATE, NOTHING, lambda d: put(d + '/f'), lambda d: os.listdir(d) == ['f']),
    ('create, exclusive', CREATE, NOTHING, excl, lambda d: mode(d + '/f') == 0o640),
    ('mkdir', MKDIR, NOTHING, lambda d: os.mkdir(d + '/s'), lambda d: os.stat(d).st_nlink == 3),
    ('mknod', MKNOD, NOTHING, lambda d: os.mkfifo(d + '/p'), lambda d: stat.S_ISFIFO(os.stat(d + '/p').st_mode)),
    ('symlink', SYMLINK, NOTHING, lambda d: os.symlink('to', d + '/l'), lambda d: os.readlink(d + '/l') == 'to'),
    ('link', LINK, two, lambda d: os.link(d + '/a', d + '/c'), lambda d: os.stat(d + '/a').st_nlink == 2),
    ('unlink', UNLINK, two, lambda d: os.unlink(d + '/a'), lambda d: os.listdir(d) == ['b']),
    ('rmdir', RMDIR, lambda d: os.mkdir(d + '/s'), lambda d: os.rmdir(d + '/s'), lambda d: os.stat(d).st_nlink == 2),
    ('rename', RENAME, two, lambda d: os.rename(d + '/a', d + '/c'), lambda d: sorted(os.listdir(d)) == ['b', 'c']),
    ('rename over', RENAME, two, lambda d: os.rename(d + '/a', d + '/b'), lambda d: get(d + '/b') == b'A'),
    ('rename, no replace', RENAME, two, lambda d: renameat2(d + '/a', d + '/c', 1), lambda d: get(d + '/c') == b'A'),
    ('rename, exchange', RENAME, two, lambda d: renameat2(d + '/a', d + '/b', 2),
     lambda d: (get(d + '/a'), get(d + '/b')) == (b'B', b'A')),
    ('rename, whiteout', RENAME, two, lambda d: renameat2(d + '/a', d + '/c', 4),
     lambda d: stat.S_ISCHR(os.stat(d + '/a').st_mode)),
    ('chmod', SETATTR, two, lambda d: os.chmod(d + '/a', 0o611), lambda d: mode(d + '/a') == 0o611),
    ('chown', SETATTR, two, lambda d: os.chown(d + '/a', 5, 6), lambda d: os.stat(d + '/a').st_gid == 6),
    ('utimes', SETATTR, two, lambda d: os.utime(d + '/a', (1, 2)), lambda d: os.stat(d + '/a').st_mtime == 2),
    ('truncate', TRUNCATE, lambda d: put(d + '/f', BIG), lambda d: os.truncate(d + '/f', 5001),
     lambda d: get(d + '/f') == BIG[:5001]),
    ('truncate, longer', TRUNCATE, two, lambda d: os.truncate(d + '/a', 100000),
     lambda d: get(d + '/a') == b'A' + bytes(99999)),
    ('setxattr', SETXATTR, two, lambda d: os.setxattr(d + '/a', X, b'v'), lambda d: os.getxattr(d + '/a', X) == b'v'),
    ('setxattr, create', SETXATTR, two, lambda d: os.setxattr(d + '/a', X, b'v', os.XATTR_CREATE),
     lambda d: os.getxattr(d + '/a', X) == b'v'),
    ('removexattr', REMOVEXATTR, lambda d: (put(d + '/a'), os.setxattr(d + '/a', X, b'v')),
     lambda d: os.removexattr(d + '/a', X), lambda d: os.listxattr(d + '/a') == []),
    ('write, small', WRITE, two, lambda d: write_at(d + '/a', SMALL, 3), lambda d: get(d + '/a') == b'A\0\0' + SMALL),
    ('write, large', WRITE, two, lambda d: write_at(d + '/a', BIG, 1), lambda d: get(d + '/a') == b'A' + BIG),
    ('append', WRITE, lambda d: put(d + '/a', BIG), lambda d: write_at(d + '/a', SMALL, 0, os.O_APPEND),
     lambda d: get(d + '/a') == BIG + SMALL),
    ('fallocate', FALLOCATE, two, lambda d: fallocate(d + '/a', 0, 0, 200000),
     lambda d: get(d + '/a') == b'A' + bytes(199999)),
    ('fallocate, punch', FALLOCATE, lambda d: put(d + '/a', BIG), lambda d: fallocate(d + '/a', 3, 8192, 8192),
     lambda d: get(d + '/a') == BIG[:8192] + bytes(8192) + BIG[16384:]),
    ('copy_file_range', COPY, lambda d: (put(d + '/a', BIG), put(d + '/b')), lambda d: copy(d + '/a', d + '/b', len(BIG)),
     lambda d: get(d + '/b') == BIG),
    ('copy_file_range, small', WRITE, lambda d: (put(d + '/a', SMALL), put(d + '/b')),
     lambda d: copy(d + '/a', d + '/b', len(SMALL)), lambda d: get(d + '/b') == SMALL),
    ('tmpfile', TMPFILE, NOTHING, tmpfile, lambda d: get(d + '/f') == b'nameless'),
    ('mkdir in .snapshots', SNAPSHOT, NOTHING, lambda d: os.mkdir('.snapshots/%s-s' % d), lambda d: d + '-s' in snapshots()),
    ('rmdir in .snapshots', SNAPSHOT, snap('s'), lambda d: os.rmdir('.snapshots/%s-s' % d), lambda d: d + '-s' not in snapshots()),
    ('rename in .snapshots', SNAPSHOT, snap('s'), lambda d: os.rename('.snapshots/%s-s' % d, '.snapshots/%s-t' % d),
     lambda d: d + '-t' in snapshots()),
    ('control: create', SNAPSHOT, NOTHING, lambda d: control('snapshots', 'create %s-s hold=h label=a=b' % d),
     lambda d: d + '-s' in snapshots()),
    ('control: three commands', SNAPSHOT, NOTHING,
     lambda d: control('snapshots', 'create %s-s\ncreate %s-t\ndelete %s-s\n' % (d, d, d)),
     lambda d: d + '-t' in snapshots() and d + '-s' not in snapshots()),
    ('control: delete', SNAPSHOT, snap('s'), lambda d: control('snapshots', 'delete %s-s' % d), lambda d: d + '-s' not in snapshots()),
    ('control: release', SNAPSHOT, snap('s', 'hold @ tag=h'), lambda d: control('snapshots', 'release %s-s tag=h' % d),
     lambda d: os.rmdir('.snapshots/%s-s' % d) is None),
    ('control: clone', CLONE, snap('s'), lambda d: control('snapshots', 'clone c-%s snap=%s-s' % (d, d)), lambda d: True),
    ('control: resize', VOLUME, NOTHING, lambda d: control('status', 'resize 100G'), lambda d: True),
    ('control: rollback', ROLLBACK, rolled, lambda d: control('rollback', 'rollback %s-s' % d),
     lambda d: get(d + '/f') == b'then'),
    ('control: rollback, settling', ROLLBACK, lambda d: rolled(d, BIG * 30), lambda d: control('rollback', 'rollback %s-s' % d),
     lambda d: get(d + '/f') == b'then' and len(get(d + '/more')) == len(BIG) * 30),
]
NTH = {'control: three commands': (1, 2, 3)}

stop, done, bad = False, [0, 0], []


def load(k):
    """Others' work meanwhile: no error, every byte."""
    try:
        os.mkdir('load%d' % k)
        while not stop:
            i = done[k]
            name = 'load%d/%d' % (k, i % 50)
            fd = os.open(name + '.new', os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            data = b'%d-%d ' % (k, i) * 700
            assert os.write(fd, data) == len(data)
            os.close(fd)
            os.rename(name + '.new', name)
            if i % 7 == 0:
                os.link(name, name + '.l'), os.unlink(name + '.l')
            assert get(name) == data, name
            done[k] = i + 1
    except Exception:
        bad.append(traceback.format_exc())


def counters():
    out = subprocess.run([varve, 'requests', store + '/main'], stdout=subprocess.PIPE, text=True).stdout
    return {a: int(b) for a, b in (line.rsplit(' ', 1) for line in out.split('\n') if line)}


class Count:
    kills = unanswered = known = passed = failed = 0
    worst = 0.0


def one(case, point, nth, number):
    name, kind, prepare, act, look = case
    d = 'c%03d' % number
    os.mkdir(d)
    prepare(d)
    with open(order + '.new', 'w') as f:
        f.write('%d %d %d\n' % (kind, point, nth))
    os.rename(order + '.new', order)
    t = time.monotonic()
    act(d)
    took = time.monotonic() - t
    assert not os.path.exists(order), 'the daemon was not killed'
    c = counters()
    assert look(d), 'the state is not what the operation makes'
    Count.kills += 1
    Count.unanswered += c.get('resent', 0) > 0
    Count.known += c.get('known', 0) > 0
    Count.worst = max(Count.worst, took)


def main():
    global stop
    threads = [threading.Thread(target=load, args=(k,)) for k in range(2)]
    plan = [(case, point, nth) for case in CASES for nth in NTH.get(case[0], (1,)) for point in range(3)
            if point < 2 or nth == 1]  # a request has one reply
    only = os.environ.get('KIND')
    rolls = [p for p in plan if p[0][1] == ROLLBACK]
    plan = [p for p in plan if p[0][1] != ROLLBACK]
    n = 0
    for phase, todo in (('load', plan), ('quiet', rolls)):
        if phase == 'load':
            [t.start() for t in threads]
        else:  # a rollback takes the others' work away
            stop = True
            [t.join(60) for t in threads]
            assert not any(t.is_alive() for t in threads), 'a writer hangs'
        for case, point, nth in todo:
            if only and only not in case[0]:
                continue
            n += 1
            try:
                one(case, point, nth, n)
                Count.passed += 1
            except Exception as x:
                Count.failed += 1
                print('FAILED  %s, killed %s (%d): %s' % (case[0], POINTS[point], nth, str(x) or traceback.format_exc()))
                if os.path.exists(order):
                    os.unlink(order)
    for b in bad:
        print('FAILED  another writer: ' + b)
    Count.failed += len(bad)
    if Count.unanswered < 100 and not only:
        print('FAILED  only %d kills left a request unanswered' % Count.unanswered)
        Count.failed += 1
    print('%d kills in %d kinds of operations; in %d a request was unanswered and asked again, in %d its first answer was given; '
          'longest wait %.2f s; meanwhile %d files by others' % (Count.kills, len(CASES), Count.unanswered, Count.known,
                                                                 Count.worst, sum(done)))
    print('%d passed, %d failed, 0 skipped' % (Count.passed, Count.failed))


main()
