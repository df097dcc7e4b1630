"""The programs that are compared: how each makes a repository, backs a tree up into it, restores it. And how what they cost is measured."""

import json
import os
import shutil
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.04


# --- measuring -------------------------------------------------------------------------------------------------------


def children(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                found += [int(p) for p in f.read().split()]
    except OSError:
        pass
    return found


def family(pids):
    seen, todo = [], list(pids)
    while todo:
        pid = todo.pop()
        if pid not in seen:
            seen.append(pid)
            todo += children(pid)
    return seen


def memory_kib(pid):
    """What the process has in memory, pages shared with others by their share; and what of that is no file's."""
    found = {}
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            found = dict(line.split()[:2] for line in f if line.startswith("Pss"))
    except OSError:
        pass
    return int(found.get("Pss:", 0)), int(found.get("Pss_Anon:", 0))


def cpu_s(pid):
    """Its processor time, and that of its children that have ended."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return sum(int(x) for x in f.read().rpartition(")")[2].split()[11:15]) / TICK
    except OSError:
        return 0.0


class Sampler(threading.Thread):
    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids, self.peak, self.own, self.stop = pids, 0, 0, threading.Event()

    def run(self):
        while True:
            now = [memory_kib(p) for p in family(self.pids)]
            self.peak = max(self.peak, sum(n[0] for n in now))
            self.own = max(self.own, sum(n[1] for n in now))
            if self.stop.wait(SAMPLE_S):
                return


def drop_caches():
    subprocess.run(["sync"], check=True)
    try:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3\n")
    except OSError:
        return False
    return True


class Failed(Exception):
    pass


def measured(argv, env=None, cwd=None, daemon=None, limit_s=1800, settle=()):
    """Runs it with nothing in the page cache. wall: until it ends; durable_s: until what lies below `settle` is on the disk, too."""
    drop_caches()
    before = cpu_s(daemon) if daemon else 0.0
    rested = memory_kib(daemon)[0] if daemon else 0
    log = subprocess.PIPE
    began = time.monotonic()
    p = subprocess.Popen(argv, env={**os.environ, **(env or {})}, cwd=cwd, stdout=log, stderr=subprocess.STDOUT)
    sampler = Sampler([p.pid] + ([daemon] if daemon else []))
    sampler.start()
    timer = threading.Timer(limit_s, p.kill)
    timer.start()
    out = p.stdout.read()
    _, status, usage = os.wait4(p.pid, 0)
    wall = time.monotonic() - began
    p.returncode = os.waitstatus_to_exitcode(status)
    timer.cancel()
    sampler.stop.set()
    sampler.join()
    for path in settle:
        subprocess.run(["sync", "-f", path], check=True)
    durable = time.monotonic() - began
    if p.returncode != 0:
        raise Failed(f"{os.path.basename(argv[0])} ended with {p.returncode}: {out.decode(errors='replace')[-500:]}")
    cpu = usage.ru_utime + usage.ru_stime + (cpu_s(daemon) - before if daemon else 0.0)
    return {"wall": wall, "durable": durable, "cpu": cpu, "mem": sampler.peak / 1024, "anon": sampler.own / 1024, "rested": rested / 1024, "out": out.decode(errors="replace")}


def tree_bytes(path):
    return sum(os.lstat(os.path.join(d, f)).st_size for d, _, files in os.walk(path) for f in files)


def said(argv, env=None):
    try:
        p = subprocess.run(argv, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=60)
        return (p.stdout + p.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return ""


def checked(argv, env=None, cwd=None):
    p = subprocess.run(argv, env={**os.environ, **(env or {})}, cwd=cwd, capture_output=True, text=True)
    if p.returncode != 0:
        raise Failed(f"{' '.join(argv[:3])}: {(p.stderr or p.stdout).strip()[-500:]}")
    return p.stdout


# --- the programs ----------------------------------------------------------------------------------------------------


class Tool:
    name, codecs, s3 = "", {}, True

    def __init__(self, place, work, source):
        """place: of its program; work: a directory of its own; source: the tree that it reads."""
        self.program, self.work, self.source = place, work, source
        self.env, self.daemon, self.repo = {}, None, None
        os.makedirs(work, exist_ok=True)

    def make(self, label, codec, url=None):
        """A new repository: in a directory of its own, or in S3."""
        self.label, self.codec = label, codec
        self.repo = os.path.join(self.work, "repo-" + label)
        shutil.rmtree(self.repo, ignore_errors=True)
        os.makedirs(self.repo)
        self.url = url
        self.init()

    def back_up(self):
        r = measured(self.backup_words(), self.env, daemon=self.daemon, settle=[] if self.url else [self.repo])
        return r

    def restore(self, to):
        os.makedirs(to)
        return measured(self.restore_words(to), self.env, cwd=to, daemon=self.daemon, settle=[to])

    def bytes(self):
        return tree_bytes(self.stored())

    def stored(self):
        return self.repo


class Varve(Tool):
    name, codecs = "varve", {"zstd": "zstd", "lz4": "lz4"}

    def __init__(self, place, work, source):
        super().__init__(place, work, source)
        self.key = os.path.join(work, "key")
        with open(self.key, "wb") as f:
            f.write(os.urandom(64))
        self.env = {"XDG_CACHE_HOME": os.path.join(work, "cache"), "XDG_CONFIG_HOME": os.path.join(work, "config")}
        self.find_daemon()

    def find_daemon(self):
        self.daemon = json.loads(checked([self.program, "status", self.source, "--json"]))["daemon_pid"]

    def version(self):
        return said([self.program, "--version"]).split()[-1]

    def where(self):
        return self.url or "dir:" + self.repo

    def init(self):
        checked([self.program, "repo", "init", self.where(), "--key-file", self.key], self.env)

    def backup_words(self):
        return [self.program, "backup", "run", self.source, "--to", self.where(), "--key-file", self.key, "--compression", self.codecs[self.codec], "--json"]

    def restore_words(self, to):
        return [self.program, "restore", self.where() + "#latest", to, "--key-file", self.key]


class Restic(Tool):
    name, codecs = "restic", {"zstd": "auto"}

    def version(self):
        return said([self.program, "version"]).split()[1]

    def init(self):
        self.env = {"RESTIC_PASSWORD": "bench", "RESTIC_REPOSITORY": self.url or self.repo, "RESTIC_CACHE_DIR": os.path.join(self.work, "cache-" + self.label),
                    "RESTIC_COMPRESSION": self.codecs[self.codec]}
        checked([self.program, "init"], self.env)

    def backup_words(self):
        return [self.program, "backup", "--quiet", self.source]

    def restore_words(self, to):
        return [self.program, "restore", "latest", "--quiet", "--target", to]


class Kopia(Tool):
    name, codecs = "kopia", {"zstd": "zstd", "lz4": "s2-default"}

    def version(self):
        return said([self.program, "--version"]).split()[0]

    def init(self):
        at = os.path.join(self.work, "state-" + self.label)
        self.env = {"KOPIA_PASSWORD": "bench", "KOPIA_CONFIG_PATH": at + "/config", "KOPIA_CACHE_DIRECTORY": at + "/cache", "KOPIA_LOG_DIR": at + "/log",
                    "KOPIA_CHECK_FOR_UPDATES": "false"}
        where = ["filesystem", "--path", self.repo]
        if self.url:
            where = ["s3", "--disable-tls", "--endpoint", self.url["endpoint"], "--bucket", self.url["bucket"], "--prefix", self.url["prefix"],
                     "--access-key", os.environ["AWS_ACCESS_KEY_ID"], "--secret-access-key", os.environ["AWS_SECRET_ACCESS_KEY"]]
        checked([self.program, "repository", "create"] + where, self.env)
        checked([self.program, "policy", "set", "--global", "--compression", self.codecs[self.codec]], self.env)

    def backup_words(self):
        return [self.program, "snapshot", "create", "--no-progress", self.source]

    def restore(self, to):
        last = json.loads(checked([self.program, "snapshot", "list", "--json", self.source], self.env))[-1]
        self.root = last["rootEntry"]["obj"]
        return super().restore(to)

    def restore_words(self, to):
        return [self.program, "restore", "--no-progress", self.root, to]


class Borg(Tool):
    name, codecs, s3 = "borg", {"zstd": "zstd,3", "lz4": "lz4"}, False

    def version(self):
        return said([self.program, "--version"]).split()[-1]

    def init(self):
        self.env = {"BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": os.path.join(self.work, "base-" + self.label)}
        self.count = 0
        os.makedirs(self.env["BORG_BASE_DIR"], exist_ok=True)
        checked([self.program, "init", "-e", "repokey-blake2", self.repo], self.env)

    def backup_words(self):
        self.count += 1
        return [self.program, "create", "--compression", self.codecs[self.codec], f"{self.repo}::{self.count}", self.source]

    def restore_words(self, to):
        return [self.program, "extract", f"{self.repo}::{self.count}"]


TOOLS = [Varve, Restic, Kopia, Borg]
