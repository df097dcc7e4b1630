#!/usr/bin/env python3
"""work.py run DIR SECONDS SEED MARKS   writes below DIR; what it was promised becomes a mark on the device MARKS
   work.py verify DIR FILE              DIR holds what the marks promise, or something newer

ready            all of it is there from now on
file I           f/I has its bytes                 gone I        f/I is gone
line N           the lines 0..N are in lines       page K V      page K of pages has version V or a newer one
current V        current is version V or newer     snap NAME V   snapshot NAME shows current as of version V
unsnap NAME      snapshot NAME is gone
A file replaced by rename is one version, whole, also without fsync (loose)."""
import hashlib
import os
import random
import socket
import subprocess
import sys
import time

PAGES, PAGE, FILES, SNAPS = 32, 4096, 200, 6


def bytes_of(name, version, size):
    """Bytes that tell what they are, up to the sector."""
    out = bytearray()
    while len(out) < size:
        text = f"{name} {version} {len(out)} "
        out += (text + hashlib.sha256(text.encode()).hexdigest() * 8)[:512].ljust(512, ".").encode()
    return bytes(out[:size])


def size_of(name, version):
    return random.Random(f"{name} {version}").choice([37, 700, 4096, 5000, 20000, 70000, 150000])


def write(path, data, sync):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        done = 0
        while done < len(data):
            done += os.write(fd, data[done:])
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def sync_dir(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


MARKS = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def promised(*words):
    """In the log before anything else is done."""
    MARKS.send(("own " + " ".join(map(str, words))).encode())
    if not MARKS.recv(1):
        raise SystemExit("the device is gone")


class Work:
    def __init__(self, root, seed):
        self.root, self.rng, self.files, self.next, self.kept = root, random.Random(seed), [], 0, []
        self.lines = self.current = self.loose = self.snaps = 0
        self.pages = [0] * PAGES
        os.makedirs(root + "/f")
        write(root + "/pages", b"".join(bytes_of(f"p{k}", 0, PAGE) for k in range(PAGES)), True)
        write(root + "/lines", b"0\n", True)
        self.replace("current", 0, True)
        self.replace("loose", 0, True)
        sync_dir(root)
        promised("ready")

    def replace(self, name, version, sync):
        write(f"{self.root}/{name}.new", bytes_of(name, version, size_of(name, version)), sync)
        os.rename(f"{self.root}/{name}.new", f"{self.root}/{name}")

    def do_file(self):
        while len(self.files) >= FILES:
            self.do_gone()
        i, self.next = self.next, self.next + 1
        write(f"{self.root}/f/{i}", bytes_of("f", i, size_of("f", i)), True)
        sync_dir(self.root + "/f")
        self.files.append(i)
        promised("file", i)

    def do_gone(self):
        if len(self.files) < 8:
            return
        i = self.files.pop(self.rng.randrange(len(self.files)))
        promised("going", i)
        os.unlink(f"{self.root}/f/{i}")
        sync_dir(self.root + "/f")
        promised("gone", i)

    def do_line(self):
        fd = os.open(self.root + "/lines", os.O_WRONLY | os.O_APPEND)
        os.write(fd, f"{self.lines + 1}\n".encode())
        os.fsync(fd)
        os.close(fd)
        self.lines += 1
        promised("line", self.lines)

    def do_page(self):
        k = self.rng.randrange(PAGES)
        self.pages[k] += 1
        fd = os.open(self.root + "/pages", os.O_WRONLY)
        os.pwrite(fd, bytes_of(f"p{k}", self.pages[k], PAGE), k * PAGE)
        os.fsync(fd)
        os.close(fd)
        promised("page", k, self.pages[k])

    def do_current(self):
        self.replace("current", self.current + 1, True)
        sync_dir(self.root)
        self.current += 1
        promised("current", self.current)

    def do_loose(self):
        self.loose += 1
        self.replace("loose", self.loose, False)

    def do_snap(self):
        self.snaps += 1
        name = f"s{self.snaps}"
        subprocess.run([os.environ["VARVE"], "snapshot", "create", self.root, name, "--sync"], check=True, stdout=subprocess.DEVNULL)
        promised("snap", name, self.current)
        self.kept.append(name)
        if len(self.kept) > SNAPS:
            name = self.kept.pop(self.rng.randrange(len(self.kept)))
            promised("dropping", name)
            os.rmdir(f"{self.root}/.snapshots/{name}")
            sync_dir(self.root)
            promised("unsnap", name)

    def run(self, seconds):
        kinds = [(self.do_file, 4), (self.do_gone, 2), (self.do_line, 4), (self.do_page, 6), (self.do_current, 3), (self.do_loose, 3)]
        if os.environ.get("VARVE"):
            kinds.append((self.do_snap, 0.2))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0]()


class Marks:
    def __init__(self, path):
        self.files, self.going, self.gone, self.pages, self.snaps, self.unsnaps = set(), set(), set(), {}, {}, set()
        self.line = self.current = 0
        self.ready = False
        for words in (line.split() for line in open(path)):
            if words[0] == "ready":
                self.ready = True
            elif words[0] == "file":
                self.files.add(int(words[1]))
            elif words[0] == "going":
                self.going.add(int(words[1]))
            elif words[0] == "gone":
                self.gone.add(int(words[1]))
            elif words[0] == "line":
                self.line = int(words[1])
            elif words[0] == "page":
                self.pages[int(words[1])] = int(words[2])
            elif words[0] == "current":
                self.current = int(words[1])
            elif words[0] == "snap":
                self.snaps[words[1]] = int(words[2])
            elif words[0] == "dropping":
                del self.snaps[words[1]]
            elif words[0] == "unsnap":
                self.unsnaps.add(words[1])


class Verify:
    def __init__(self, root, marks):
        self.root, self.marks, self.bad = root, Marks(marks), 0

    def say(self, *words):
        self.bad += 1
        print(*words)

    def read(self, path):
        try:
            return open(f"{self.root}/{path}", "rb").read()
        except OSError as e:
            self.say(path, e.strerror)
            return None

    def whole(self, path, name, low):
        """One version, not older than low; which one."""
        data = self.read(path)
        if data is None:
            return None
        try:
            version = int(data.split(b" ", 2)[1])
        except (IndexError, ValueError):
            version = -1
        if data != bytes_of(name, version, size_of(name, version)):
            self.say(path, f"is no whole version ({len(data)} bytes)")
        elif version < low:
            self.say(path, f"is version {version}, {low} was promised")
        return version

    def files(self):
        for i in self.marks.files - self.marks.going:
            data = self.read(f"f/{i}")
            if data is not None and data != bytes_of("f", i, size_of("f", i)):
                self.say(f"f/{i}", "has other bytes")
        for i in self.marks.gone & {int(name) for name in os.listdir(self.root + "/f")}:
            self.say(f"f/{i}", "was deleted and is there")

    def lines(self):
        data = self.read("lines") or b""
        want = b"".join(b"%d\n" % i for i in range(self.marks.line + 2))
        least = len(b"".join(b"%d\n" % i for i in range(self.marks.line + 1)))
        if not least <= len(data) <= len(want) or not want.startswith(data):
            self.say("lines", f"has {len(data)} bytes, at least {least} were promised, or others")

    def pages(self):
        data = self.read("pages") or b""
        if len(data) != PAGES * PAGE:
            self.say("pages", f"has {len(data)} bytes")
            return
        for k in range(PAGES):
            low = self.marks.pages.get(k, 0)
            old, new = (bytes_of(f"p{k}", v, PAGE) for v in (low, low + 1))
            for at in range(0, PAGE, 512):
                got = data[k * PAGE + at : k * PAGE + at + 512]
                if got not in (old[at : at + 512], new[at : at + 512]):
                    self.say("pages", f"page {k} sector {at // 512} is neither version {low} nor the next: {got[:20]!r}")
                    break

    def run(self):
        if not self.marks.ready:
            return 0
        self.files()
        self.lines()
        self.pages()
        self.whole("current", "current", self.marks.current)
        self.whole("loose", "loose", 0)
        for name in self.marks.unsnaps & set(os.listdir(self.root + "/.snapshots")):
            self.say("snapshot", name, "was deleted and is there")
        for name, version in self.marks.snaps.items():
            got = self.whole(f".snapshots/{name}/current", "current", version)
            if got is not None and got != version:
                self.say("snapshot", name, f"shows version {got}, it was {version}")
        return self.bad


if __name__ == "__main__":
    if sys.argv[1] == "run":
        MARKS.connect(sys.argv[5])
        Work(sys.argv[2], sys.argv[4]).run(float(sys.argv[3]))
    else:
        sys.exit(1 if Verify(sys.argv[2], sys.argv[3]).run() else 0)
