#!/usr/bin/env python3
"""storm.py MOUNT STORES MINUTES STOP: kill -9 of every daemon whose store lies below STORES, every 2 to 5 s, until STOP is there or the
time is up. A thread works in MOUNT all the while: its longest wait around each kill is the pause."""
import os, random, signal, subprocess, sys, threading, time, traceback

mount, stores, minutes, stop_file = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
LIMIT = float(os.environ.get('LIMIT_MS', '1000'))
stop, slow, bad, ops = False, [0.0], [], [0]


def probe():
    """Each operation may happen once only."""
    try:
        d = os.path.join(mount, 'probe')
        os.mkdir(d)
        while not stop:
            p = '%s/%d' % (d, ops[0])
            for f in (lambda: os.close(os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY)), lambda: os.rename(p, p + 'r'),
                      lambda: os.setxattr(p + 'r', 'user.x', b'1', os.XATTR_CREATE), lambda: os.unlink(p + 'r')):
                t = time.monotonic()
                f()
                slow[0] = max(slow[0], time.monotonic() - t)
            ops[0] += 1
            time.sleep(0.005)
    except Exception:
        bad.append(traceback.format_exc())


def daemons():
    out = subprocess.run(['pgrep', '-f', 'varve daemon ' + stores + '/'], stdout=subprocess.PIPE, text=True).stdout
    return [int(p) for p in out.split()]


seed = int(os.environ.get('SEED', time.time_ns() % 1000000))
rng = random.Random(seed)
thread = threading.Thread(target=probe)
thread.start()
until, kills, pauses = time.monotonic() + minutes * 60, 0, []
while time.monotonic() < until and not os.path.exists(stop_file) and not bad:
    time.sleep(rng.uniform(2, 5) - 1.5)
    slow[0] = 0.0
    for p in daemons():
        try:
            os.kill(p, signal.SIGKILL)
            kills += 1
        except ProcessLookupError:
            pass
    time.sleep(1.5)
    pauses.append(slow[0] * 1000)
stop = True
thread.join(30)
for b in bad:
    print('FAILED  the probe: ' + b)
pauses.sort()
p99 = pauses[min(len(pauses) - 1, int(len(pauses) * 0.99))]
late = p99 > LIMIT or not pauses
print('%d kills (%d rounds, seed %d) in %g minutes: pause p50 %.0f ms, p99 %.0f ms, longest %.0f ms; %d operations of the probe' %
      (kills, len(pauses), seed, minutes, pauses[len(pauses) // 2], p99, pauses[-1], 4 * ops[0]))
if late:
    print('FAILED  the pause is longer than %d ms' % LIMIT)
failed = len(bad) + late + thread.is_alive()
print('%d passed, %d failed, 0 skipped' % (2 - min(failed, 2), failed))
sys.stdout.flush()
os._exit(failed > 0)
