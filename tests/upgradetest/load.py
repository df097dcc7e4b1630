#!/usr/bin/env python3
"""load.py MOUNT N LIMIT_MS NEXT PROGRAM: work in MOUNT while its daemon is upgraded N times, to NEXT and back to NEXT; every byte is
compared. A pause is the longest wait of any operation around one upgrade."""
import os, subprocess, sys, threading, time, traceback

mount, n, limit, nxt, program = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
os.chdir(mount)
stop, bad, slow, done = False, [], [0.0], {}


def timed(f, *a):
    t = time.monotonic()
    r = f(*a)
    slow[0] = max(slow[0], time.monotonic() - t)
    return r


def worker(fn):
    def run(*a):
        try:
            fn(*a)
        except Exception:
            bad.append(traceback.format_exc())
    return run


def files(k):
    """Names: exclusive creation, rename, unlink; each may be done once only."""
    i = 0
    while not stop:
        p = 'n%d-%d' % (k, i)
        data = p.encode() * 300
        fd = timed(os.open, p, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        assert timed(os.write, fd, data) == len(data)
        os.close(fd)
        timed(os.rename, p, p + '.r')
        with open(p + '.r', 'rb') as f:
            assert timed(f.read) == data
        if i >= 20:
            timed(os.unlink, 'n%d-%d.r' % (k, i - 20))
        i += 1
        done[p[:2]] = i


def syncs():
    """A log: appends, each synced."""
    fd = os.open('log', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    i = 0
    while not stop:
        assert timed(os.write, fd, b'%08d\n' % i) == 9
        timed(os.fdatasync, fd)
        i += 1
    os.close(fd)
    done['log'] = i
    with open('log') as f:
        for k, line in enumerate(f):
            assert int(line) == k, (k, line)
        assert k == i - 1, (k, i)


def bulk():
    fd = os.open('bulk', os.O_CREAT | os.O_RDWR)
    want = {}
    i = 0
    while not stop:
        block = os.urandom(1 << 20)
        at = (i * 7) % 100
        assert timed(os.pwrite, fd, block, at << 20) == 1 << 20
        want[at] = block
        back = (i * 3) % 100
        if back in want:
            assert timed(os.pread, fd, 1 << 20, back << 20) == want[back], 'block %d' % back
        i += 1
    done['bulk'] = i


work = [(files, 0), (files, 1), (syncs,), (bulk,)]
threads = [threading.Thread(target=worker(w[0]), args=w[1:]) for w in work]
[t.start() for t in threads]
pauses, quiet, errors = [], [], []
for i in range(n):
    slow[0] = 0.0
    time.sleep(0.4)
    quiet.append(slow[0])
    slow[0] = 0.0
    to = nxt if i > 0 else program
    r = subprocess.run([program, 'upgrade', '.', '--program', to], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if r.returncode != 0:
        errors.append(r.stdout)
    time.sleep(0.2)
    pauses.append(slow[0])
stop = True
[t.join(60) for t in threads]
hung = sum(t.is_alive() for t in threads)
for b in bad + errors:
    print('FAILED  ' + b)


def ms(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))] * 1000


print('%d upgrades under load: pause p50 %.0f ms, p99 %.0f ms, longest %.0f ms (without one: p50 %.0f ms, longest %.0f ms); %d errors; '
      'done meanwhile: %s' % (n, ms(pauses, 0.5), ms(pauses, 0.99), max(pauses) * 1000, ms(quiet, 0.5), max(quiet) * 1000,
                              len(bad) + len(errors), ', '.join('%s %d' % kv for kv in sorted(done.items()))))
late = max(pauses) * 1000 > limit + max(quiet) * 1000
if late:
    print('FAILED  a pause was longer than %d ms and what this machine makes wait by itself' % limit)
if hung:
    print('FAILED  %d threads hang' % hung)
    sys.stdout.flush()
failed = len(bad) + len(errors) + late + hung
print('%d passed, %d failed' % (n - len(errors), failed))
sys.stdout.flush()
os._exit(failed > 0)
