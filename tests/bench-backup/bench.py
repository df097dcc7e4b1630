#!/usr/bin/env python3
"""bench.py: varve's backup and restore beside restic, kopia and borg, in one run. tests/bench-backup/run.sh sets the stage; what is
measured goes to a file of JSON lines, which report.py judges. In each round every program does one step before any does the next, in an
order that turns; a step begins with nothing in the page cache. Each reads the same bytes: varve from its volume, the others from a
directory, on the same disk."""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tools  # noqa: E402

REST_S = 10  # what was written is flushed within 5 s, and 3 s after that a daemon has given back what it does not need
SHORT_ONES = 3  # what takes a tenth of a second is done so often in a round
STEPS = ["first", "unchanged", "ten", "changed", "restore", "lz4", "s3", "many", "mount"]


@contextlib.contextmanager
def aside(tool):
    """Another repository for a while."""
    was = dict(vars(tool))
    try:
        yield
    finally:
        vars(tool).clear()
        vars(tool).update(was)


class Bench:
    def __init__(self, a):
        self.a = a
        self.generator = os.path.join(a.build, "tests", "bench-backup")
        self.varve_program = os.path.join(a.build, "varve")
        self.out = open(a.out, "a")
        self.mount = os.path.join(a.work, "volume")
        self.plain = os.path.join(a.work, "tree")
        self.steps = a.only.split() if a.only else [s for s in STEPS if s != "mount" or a.mount_verb]
        self.failures = []

    # --- what is written down ---

    def note(self, row, tool, r, **more):
        line = {"row": row, "tool": tool.name, **{k: v for k, v in r.items() if k != "out"}, **more}
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()
        sizes = "".join(f", {k} {v / 2**20:.2f} MiB" for k, v in more.items() if k.endswith("bytes"))
        print(f"{row:14} {tool.name:7} {r['wall']:7.2f} s, CPU {r['cpu']:6.2f} s, {r['mem']:4.0f} MiB of memory (of no file {r['anon']:.0f}, daemon before {r['rested']:.0f}){sizes}", flush=True)

    def info(self, **more):
        self.out.write(json.dumps({"row": "info", **more}) + "\n")
        self.out.flush()

    def absent(self, row, name, why):
        self.out.write(json.dumps({"row": row, "tool": name, "absent": why}) + "\n")
        print(f"{row:14} {name:7} {why}", flush=True)

    # --- the bytes ---

    def generate(self, *words):
        return tools.checked([self.generator] + [str(w) for w in words])

    def both(self, command, name, *words):
        """The same change to the volume and to the directory."""
        out = ""
        for top in [self.mount] + ([self.plain] if len(self.tools) > 1 else []):
            out = self.generate(command, os.path.join(top, name), *words)
        self.rest()
        return out

    def rest(self):
        time.sleep(0 if self.a.short else REST_S)

    def fill(self):
        self.both("db", "database", self.a.db)
        self.both("tree", "files", self.a.files)
        subprocess.run(["sync"], check=True)

    # --- steps ---

    def turn(self, round_no):
        """Each time another one begins."""
        n = round_no % len(self.tools)
        return self.tools[n:] + self.tools[:n]

    def attempt(self, row, tool, what):
        try:
            return what()
        except (tools.Failed, OSError, ValueError, KeyError) as e:
            self.failures.append(f"{row}: {tool.name}: {e}")
            self.absent(row, tool.name, str(e))
            return None

    def back_up(self, row, tool, was=None, **more):
        def work():
            r = tool.back_up()
            now = tool.bytes()
            grown = {"repo_bytes": now} if was is None else {"new_bytes": now - was}
            self.note(row, tool, r, **grown, **more)
            return now

        return self.attempt(row, tool, work)

    def first(self, k):
        for t in self.turn(k):
            self.attempt("first", t, lambda t=t: t.make(f"r{k}", "zstd"))
            self.sizes[t] = self.back_up("first", t)

    def again(self, row, k, change, only_ours=False):
        """A change, if any, and a backup after it, by each that has one."""
        more = change() if change else {}
        for t in self.turn(k):
            if self.sizes.get(t) is not None and (t is self.tools[0] or not only_ours):
                self.sizes[t] = self.back_up(row, t, self.sizes[t], **more)

    def changed(self, k, numbers):
        pages = max(self.a.db // 4096 // 100, 1)
        for n in numbers:
            def change():
                return {"changed_" + key: v for key, v in json.loads(self.both("change", "database", pages, 1000 * k + n)).items()}

            if n in (1, 10, 100):
                self.again(f"changed-{n}", k, change, only_ours=n > 1)
            elif self.sizes.get(self.tools[0]) is not None:
                self.generate("change", os.path.join(self.mount, "database"), pages, 1000 * k + n)
                tools.checked(self.tools[0].backup_words(), self.tools[0].env)
                self.sizes[self.tools[0]] = self.tools[0].bytes()
        if numbers[-1:] > [1] and len(self.tools) > 1:  # the others' tree goes on from there
            shutil.copyfile(os.path.join(self.mount, "database"), os.path.join(self.plain, "database"))

    def restore(self, k, row="restore", only_ours=False):
        to = os.path.join(self.a.work, "out")
        for t in self.turn(k):
            if self.sizes.get(t) is None or (only_ours and t is not self.tools[0]):
                continue
            self.rest()  # ext4 makes files slowly where many were deleted a few seconds ago
            r = self.attempt(row, t, lambda t=t: t.restore(to))
            if r:
                self.note(row, t, r)
                self.same(t, to)
            shutil.rmtree(to, ignore_errors=True)

    def same(self, t, to):
        """Restored is what was backed up."""
        found = next((d for d, _, files in os.walk(to) if "database" in files), None)
        for name in ("files", "database"):
            if not found or subprocess.run(["diff", "-rq", os.path.join(t.source, name), os.path.join(found, name)], stdout=subprocess.DEVNULL).returncode != 0:
                self.failures.append(f"restore: {t.name}: {name} differs from what was backed up")
                print(f"restore: {t.name}: {name} differs", flush=True)

    def lz4(self, k):
        for t in self.turn(k):
            if "lz4" not in t.codecs:
                self.absent("first-lz4", t.name, "has no compression of this kind")
                continue
            with aside(t):
                self.attempt("first-lz4", t, lambda t=t: t.make(f"lz4-{k}", "lz4"))
                self.back_up("first-lz4", t)
                shutil.rmtree(t.repo, ignore_errors=True)

    def s3(self, k):
        if not self.a.s3:
            return self.absent("first-s3", "all", self.a.s3_why or "there is no S3 server here")
        for t in self.turn(k):
            if not t.s3:
                self.absent("first-s3", t.name, "has no S3")
                continue
            prefix = f"{t.name}-{k}"
            url = {"varve": f"s3://{self.a.bucket}/{prefix}?endpoint=http://{self.a.s3}", "restic": f"s3:http://{self.a.s3}/{self.a.bucket}/{prefix}",
                   "kopia": {"endpoint": self.a.s3, "bucket": self.a.bucket, "prefix": prefix + "/"}}[t.name]
            at = os.path.join(self.a.s3_data, self.a.bucket, prefix)
            with aside(t):
                t.stored = lambda at=at: at
                self.attempt("first-s3", t, lambda t=t, url=url: t.make(f"s3-{k}", "zstd", url))
                self.back_up("first-s3", t)
            shutil.rmtree(at, ignore_errors=True)

    def many(self, k):
        """A million files of which a hundred change: varve alone, as the others look at each of them."""
        ours, many = self.tools[0], self.a.many
        if k > 0:
            return
        where = os.path.join(self.a.work, "many")
        with Volume(self, where, "many.store") as v:
            self.generate("many", where + "/files", many)
            t = tools.Varve(self.varve_program, os.path.join(self.a.work, "many-work"), v)
            t.make("many", "zstd")
            was = self.back_up("many-first", t)
            for n in range(3):
                if was is not None:
                    self.generate("touch", where + "/files", many, 100, n + 1)
                    self.rest()
                    was = self.back_up("many-changed", t, was)
            shutil.rmtree(t.repo, ignore_errors=True)
        ours.find_daemon()

    def instant(self, k):
        """A recovery point of 100,000 files mounted out of S3: until the first listing, until the first bytes."""
        if not self.a.s3 or k > 0:
            return None if k else self.absent("mount", "varve", self.a.s3_why or "there is no S3 server here")
        where = os.path.join(self.a.work, "many")
        with Volume(self, where, "instant.store") as v:
            self.generate("many", where + "/files", self.a.mount_files)
            t = tools.Varve(self.varve_program, os.path.join(self.a.work, "instant-work"), v)
            t.make("instant", "zstd", f"s3://{self.a.bucket}/instant?endpoint=http://{self.a.s3}")
            checked = t.back_up()
            print(f"mount: backed up in {checked['wall']:.1f} s", flush=True)
        self.attempt("mount", t, lambda: self.instant_times(t))
        return None

    def instant_times(self, t):
        to = os.path.join(self.a.work, "instant")
        os.makedirs(to, exist_ok=True)
        shutil.rmtree(t.env["XDG_CACHE_HOME"], ignore_errors=True)
        tools.drop_caches()
        began = time.monotonic()
        tools.checked([self.varve_program, "mount", "--from", t.where() + "#latest", to, "--key-file", t.key], t.env)
        try:
            os.listdir(to + "/files")
            listed = time.monotonic() - began
            name = f"{to}/files/0000/f0000007"
            again = time.monotonic()
            with open(name, "rb") as f:
                f.read(4096)
            read = time.monotonic() - again
            self.note("mount", t, {"wall": listed, "durable": listed, "cpu": 0.0, "mem": 0.0, "anon": 0.0, "rested": 0.0}, read_s=read)
        finally:
            subprocess.run([self.varve_program, "umount", to], check=False)

    # --- the whole ---

    def poke(self):
        self.both("poke", "database", self.a.db // 2 + 4090)
        return {}

    def round(self, k):
        self.sizes = {}
        want = set(self.steps)
        if want & {"first", "unchanged", "ten", "changed", "restore"}:
            self.first(k)
        for _ in range(1 if self.a.short else SHORT_ONES):
            if "unchanged" in want:
                self.again("unchanged", k, None)
            if "ten" in want:
                self.again("ten", k, self.poke)
        for name, step in (("lz4", self.lz4), ("s3", self.s3)):  # of the same tree, before it is old
            if name in want:
                step(k)
        if "changed" in want:
            self.changed(k, [1])
        if "restore" in want:
            self.restore(k)
        if "changed" in want and self.a.increments > 1:
            self.changed(k, list(range(2, self.a.increments + 1)))
            if "restore" in want:
                self.restore(k, f"restore-{self.a.increments}", only_ours=True)
        for t in self.tools:
            if t.repo:
                shutil.rmtree(t.repo, ignore_errors=True)
        for name, step in (("many", self.many), ("mount", self.instant)):
            if name in want:
                step(k)

    def run(self):
        with Volume(self, self.mount, "store") as source:
            self.tools = [tools.Varve(self.varve_program, os.path.join(self.a.work, "varve"), source)]
            for kind in tools.TOOLS[1:]:
                path = self.a.peers.get(kind.name, "")
                if os.path.exists(path):
                    self.tools.append(kind(path, os.path.join(self.a.work, kind.name), self.plain))
                else:
                    self.absent("peer", kind.name, path or "is not asked for")
            if len(self.tools) > 1:
                os.makedirs(self.plain, exist_ok=True)
            self.info(versions={t.name: t.version() for t in self.tools}, files=self.a.files, db=self.a.db, rounds=self.a.rounds,
                      caches_dropped=tools.drop_caches(), many=self.a.many)
            self.fill()
            for k in range(self.a.rounds):
                self.round(k)
        for f in self.failures:
            print(f"FAIL {f}", flush=True)
        return 1 if self.failures else 0


class Volume:
    """A volume of its own, mounted for as long as it is needed."""

    def __init__(self, bench, where, store):
        self.program, self.where, self.store = bench.varve_program, where, os.path.join(bench.a.work, store)

    def __enter__(self):
        os.makedirs(self.where, exist_ok=True)
        tools.checked([self.program, "mount", self.store, self.where, "--create"])
        return self.where

    def __exit__(self, *ignored):
        subprocess.run([self.program, "umount", self.where], check=False)
        shutil.rmtree(self.store, ignore_errors=True)


def size(text):
    n, unit = re.fullmatch(r"(\d+)([KMG]?)", text).groups()
    return int(n) << {"": 0, "K": 10, "M": 20, "G": 30}[unit]


def main():
    p = argparse.ArgumentParser()
    for name in ("build", "work", "out"):
        p.add_argument("--" + name, required=True)
    p.add_argument("--db", type=size, default=size("2G"))
    for name, default in (("files", 20000), ("rounds", 3), ("increments", 100), ("many", 1000000), ("mount-files", 100000)):
        p.add_argument("--" + name, type=int, default=default)
    for name in ("only", "s3", "s3-data", "s3-why", "bucket"):
        p.add_argument("--" + name, default="")
    p.add_argument("--short", action="store_true")
    p.add_argument("--mount-verb", action="store_true")
    p.add_argument("--peer", action="append", default=[], help="NAME=PROGRAM")
    a = p.parse_args()
    a.peers = dict(x.split("=", 1) for x in a.peer)
    return Bench(a).run()


if __name__ == "__main__":
    sys.exit(main())
