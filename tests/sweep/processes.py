#!/usr/bin/env python3
"""The n-th call of a kind fails while processes come and go: mount(2), /dev/fuse, threads, forks, sockets and their messages, in the
command line, the keeper and the daemon (tests/doors/fail.c). processes.py VARVE FAILING DIR [STRIDE [SCENE...]]

After each: the caller has an answer in good time, and a reason if it is a refusal; what was mounted is served on; no mount point, process or
descriptor is left over; varve check finds nothing."""
import errno, mmap, os, re, shutil, signal, struct, subprocess, sys, threading, time, traceback

varve, failing, top = sys.argv[1:4]
stride = int(sys.argv[4]) if len(sys.argv) > 4 else 1
only = sys.argv[5:]
KINDS = ['mount', 'open', 'mmap', 'thread', 'fork', 'exec', 'socketpair', 'pipe', 'socket', 'connect', 'listen', 'accept', 'send', 'recv',
         'recv, descriptor', 'dup', 'eventfd']
PATIENCE = 30
ENV = dict(os.environ, VARVE_FAIL=top + '/order')


class Order:
    """struct order of tests/doors/fail.c"""

    def __init__(self, path):
        with open(path, 'wb') as f:
            f.write(bytes(4096))
        fd = os.open(path, os.O_RDWR)
        self.page = mmap.mmap(fd, 4096)
        os.close(fd)

    def arm(self, kind, n):
        self.kind = kind
        self.page[0:128] = struct.pack('III', 0, n, 0) + bytes(116)
        self.page[0:4] = struct.pack('I', kind)

    def disarm(self):
        """What failed; '' nothing."""
        self.page[0:4] = bytes(4)
        fired = struct.unpack('I', self.page[8:12])[0]
        return self.page[12:128].split(b'\0')[0].decode() if fired else ''


def run(*words, program=None):
    try:
        return subprocess.run([program or failing, *words], env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise AssertionError('varve %s: no answer within %d s' % (' '.join(words), PATIENCE))


def mounts(below):
    with open('/proc/self/mounts') as f:
        return [line.split()[1] for line in f if line.split()[1].startswith(below)]


def processes(store):
    """Those of this store: {pid: what}"""
    found = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/cmdline' % pid, 'rb') as f:
                words = f.read().split(b'\0')
            if len(words) > 2 and words[1] in (b'daemon', b'keeper') and words[2].decode() == store:
                found[int(pid)] = words[1].decode()
        except OSError:
            pass
    return found


def descriptors(store):
    """How many each process has, the standard three and what is being opened and closed by itself left out."""
    out = {}
    for pid, what in processes(store).items():
        links = []
        for fd in os.listdir('/proc/%d/fd' % pid):
            try:
                links.append(re.sub(r'\d+', '', os.readlink('/proc/%d/fd/%s' % (pid, fd))))
            except OSError:
                pass
        out[what] = sorted(x for x in links if '/data/' not in x)
    return out


def until(what, seconds, fn):
    end = time.monotonic() + seconds
    while not fn():
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.01)


def works(d):
    """A file can be made, read, and removed there."""
    path = d + '/works'
    with open(path, 'wb') as f:
        f.write(b'yes' * 5000)
    with open(path, 'rb') as f:
        assert f.read() == b'yes' * 5000
    os.unlink(path)


def tried(d):
    """Works, or is refused for what it lacks."""
    try:
        works(d)
    except OSError as x:
        assert x.errno in (errno.ENFILE, errno.ENOMEM, errno.EAGAIN), x


def refused(r):
    lines = [x for x in r.stdout.split('\n') if x]
    assert any(re.match(r'(varve( \w+)?|fusermount3): .+', x) for x in lines), 'no reason was given: %r' % r.stdout


class Scene:
    def __init__(self, name):
        self.dir = '%s/%s' % (top, name)
        self.store, self.m1, self.m2 = self.dir + '/store', self.dir + '/m1', self.dir + '/m2'
        for d in (self.dir, self.m1, self.m2):
            os.mkdir(d)
        for words in (('create', self.store), ('create', self.store + '/other')):
            r = run(*words, program=varve)
            assert r.returncode == 0, r.stdout

    def begin(self):
        pass

    def gone(self):
        until(lambda: 'left over: %s' % processes(self.store), 15, lambda: not processes(self.store))
        assert not mounts(self.dir), 'left over: %s' % mounts(self.dir)

    def sound(self):
        r = run('check', self.store, program=varve)
        assert r.returncode == 0, 'check: ' + r.stdout

    def umount(self, d):
        r = run('umount', d, program=varve)
        assert r.returncode == 0, 'umount: ' + r.stdout

    def clear(self):
        """After a failure: nothing that would disturb the next one."""
        for d in reversed(mounts(self.dir)):
            subprocess.run(['umount', '-l', d], stderr=subprocess.DEVNULL)
        while processes(self.store):  # either starts the other again
            for pid in processes(self.store):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)


class First(Scene):
    """The first mount of a store: keeper and daemon begin."""

    def act(self):
        r = run('mount', self.store, self.m1)
        if r.returncode == 0:
            tried(self.m1)
        return r

    def end(self, r):
        if r.returncode == 0:
            works(self.m1)
            self.umount(self.m1)
        else:
            refused(r)
        self.gone()
        self.sound()


class Served(Scene):
    """A volume is mounted already."""

    def begin(self):
        if not mounts(self.m1):
            r = run('mount', self.store, self.m1)
            assert r.returncode == 0, r.stdout
        self.settle()
        self.before = descriptors(self.store)
        self.pids = processes(self.store)

    def settle(self):
        works(self.m1)
        os.listdir(self.m1)
        time.sleep(0.02)

    def same(self, pids=True, of=('daemon', 'keeper')):
        works(self.m1)
        now = {}

        # without the one by which it is woken a daemon goes on; its workers then stay when nothing is asked (fs/rest.c)
        spare = [['anon_inode:[eventfd]']] if KINDS[order.kind - 1] in ('eventfd', 'thread') else []

        def equal():
            now.update(descriptors(self.store))
            return all(missing(self.before.get(what), now.get(what)) in [[], *spare] for what in of)
        until(lambda: 'descriptors: %s' % differ(self.before, now), 5, equal)
        assert not pids or processes(self.store) == self.pids, '%s became %s' % (self.pids, processes(self.store))
        assert mounts(self.dir) == [self.m1], 'left over: %s' % mounts(self.dir)

    def finish(self):
        self.umount(self.m1)
        self.gone()
        self.sound()


def missing(before, now):
    """What is not there any more; None: more is there, or something else, or no such process."""
    left = list(now or [])
    gone = [one for one in before or [] if one not in left or left.remove(one)]
    return gone if before is not None and now is not None and not left else None


def differ(a, b):
    out = []
    for what in sorted(set(a) | set(b)):
        x, y = list(a.get(what, [])), list(b.get(what, []))
        for one in list(x):
            if one in y:
                x.remove(one), y.remove(one)
        if x or y:
            out.append('%s lacks %s, has %s' % (what, x, y))
    return '; '.join(out)


class Second(Served):
    """Another volume of the store is mounted beside it."""

    def act(self):
        return run('mount', self.store + '/other', self.m2)

    def end(self, r):
        if r.returncode == 0:
            works(self.m2)
            self.umount(self.m2)
        else:
            refused(r)
        self.same()


class Again(Second):
    """The same volume is mounted at a second place."""

    def act(self):
        return run('mount', self.store, self.m2)


class Taken(Served):
    """The daemon is killed; another one takes its mounts over, under a writer."""

    def act(self):
        self.stop, self.bad, self.n = False, [], 0

        def write():
            try:
                while not self.stop:
                    tried(self.m1)
                    self.n += 1
            except Exception:
                self.bad.append(traceback.format_exc())
        t = threading.Thread(target=write)
        t.start()
        [os.kill(pid, signal.SIGKILL) for pid, what in processes(self.store).items() if what == 'daemon']
        n = self.n
        try:
            until('the writer hangs', PATIENCE, lambda: self.n > n + 3 or self.bad)
        finally:
            self.stop = True
            t.join(PATIENCE)
        assert not t.is_alive(), 'the writer hangs'

    def end(self, r):
        assert not self.bad, self.bad[0]
        self.same(pids=False)
        until(lambda: 'processes: %s' % processes(self.store), 5, lambda: len(processes(self.store)) == 2)
        self.finish()  # after three deaths within a minute the next keeper would let nothing be written


class Orphaned(Served):
    """The keeper is killed; the daemon begins another one, which mounts."""

    def act(self):
        old = [pid for pid, what in processes(self.store).items() if what == 'keeper']
        os.kill(old[0], signal.SIGKILL)

        def another():
            return [pid for pid, what in processes(self.store).items() if what == 'keeper' and pid not in old]
        until('no other keeper', PATIENCE, another)
        # one that has just begun may say: try again
        for _ in range(100):
            r = run('mount', self.store + '/other', self.m2, program=varve)
            if r.returncode == 0:
                return r
            refused(r)
            time.sleep(0.1)
        raise AssertionError('the new keeper does not mount: ' + r.stdout)

    def end(self, r):
        works(self.m2)
        self.umount(self.m2)
        until(lambda: 'processes: %s' % processes(self.store), 5, lambda: len(processes(self.store)) == 2)
        self.same(pids=False, of=('daemon',))


class Left(Served):
    """The last umount; and upgrading to the same program before it."""

    def act(self):
        return run('upgrade', self.store)

    def end(self, r):
        if r.returncode != 0:
            refused(r)
        works(self.m1)
        self.umount(self.m1)
        self.gone()
        self.sound()


SCENES = {'first': First, 'second': Second, 'again': Again, 'taken': Taken, 'orphaned': Orphaned, 'upgrade': Left}


def sweep(name, scene, kind):
    """Until the n-th call is not reached. Gives how many failed, and the complaints."""
    n, count, bad = int(os.environ.get('FROM', 1)), 0, []
    while True:
        what = ''
        t = time.monotonic()
        try:
            scene.begin()
            order.arm(kind, n)
            try:
                r = scene.act()
            finally:
                what = order.disarm()
            scene.end(r)
        except Exception as x:
            what = what or order.disarm()
            bad.append('%s, %s %d (%s): %s' % (name, KINDS[kind - 1], n, what, x if isinstance(x, AssertionError) else traceback.format_exc()))
            scene.clear()
            if not what:
                break
        if not what:
            break
        count += 1
        if time.monotonic() - t > 3 and os.environ.get('SLOW'):
            print('    %.1f s: %s %d (%s)' % (time.monotonic() - t, KINDS[kind - 1], n, what), flush=True)
        n += stride
    return count, bad


order = Order(top + '/order')
passed = failed = 0
for name in SCENES:
    if only and name not in only:
        continue
    scene, counts = SCENES[name](name), []
    complaints = []
    for kind in range(1, len(KINDS) + 1):
        if os.environ.get('KIND') and KINDS[kind - 1] != os.environ['KIND']:
            continue
        n, bad = sweep(name, scene, kind)
        if n:
            counts.append('%s %d' % (KINDS[kind - 1], n))
        complaints += bad
    if isinstance(scene, Served) and mounts(scene.m1):
        try:
            scene.finish()
        except Exception as x:
            complaints.append('%s, at the end: %s' % (name, x))
            scene.clear()
    for b in complaints:
        print('FAILED  ' + b)
    print('  processes, %-10s %s failed' % (name + ':', ', '.join(counts)))
    passed, failed = passed + (not complaints), failed + bool(complaints)
print('%d passed, %d failed, 0 skipped' % (passed, failed))
sys.exit(failed > 0)
