"""Four threads that make files and rename the tenth before, over and over: none of their calls may fail, and what they made is there."""

import os
import threading
import time
import traceback

THREADS = 4
LATER = 10 # so many files later one is renamed


class Writers:
    def __init__(self, point, sync=False):
        os.chdir(point)
        self.sync, self.stop, self.done, self.bad, self.longest = sync, False, [0] * THREADS, [], [0.0] * THREADS
        self.threads = [threading.Thread(target=self.work, args=(k,)) for k in range(THREADS)]
        for t in self.threads:
            t.start()

    def work(self, k):
        try:
            while not self.stop:
                began = time.monotonic()
                self.make(k, self.done[k])
                self.done[k] += 1
                self.longest[k] = max(self.longest[k], time.monotonic() - began)
        except Exception:
            self.bad.append((k, self.done[k], traceback.format_exc()))

    def make(self, k, i):
        with open("w%d-%06d" % (k, i), "xb") as f:
            f.write(self.content(k, i))
            if self.sync:
                f.flush()
                os.fsync(f.fileno())
        if i >= LATER:
            os.rename("w%d-%06d" % (k, i - LATER), "r%d-%06d" % (k, i - LATER))

    @staticmethod
    def content(k, i):
        return b"%d %d" % (k, i) * 100

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join(30)
        assert not any(t.is_alive() for t in self.threads), "a writer hangs"
        for b in self.bad:
            print(*b)
        assert not self.bad
        assert min(self.done) > LATER, self.done
        for k in range(THREADS):
            for i in range(self.done[k]):
                path = ("r%d-%06d" if i < self.done[k] - LATER else "w%d-%06d") % (k, i)
                with open(path, "rb") as f:
                    assert f.read() == self.content(k, i), path
