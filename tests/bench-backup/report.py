#!/usr/bin/env python3
"""report.py [--document FILE] RESULTS: what bench.py measured, as a table with verdicts. A row is met when the median of varve's rounds is
within its bound; a row whose others, or whose own figure, were not measured is neither met nor red. The document's section stands between
two marks and is written anew."""

import argparse
import json
import os
import sys
from statistics import median

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
from section import put

MIB = 1 << 20
OTHERS = ("restic", "kopia", "borg")


class Results:
    def __init__(self, path):
        self.rows, self.absent, self.info = {}, {}, {}
        with open(path) as f:
            for line in f:
                r = json.loads(line)
                if r["row"] == "info":
                    self.info.update(r)
                elif "absent" in r:
                    self.absent.setdefault(r["row"], {})[r["tool"]] = r["absent"]
                else:
                    self.rows.setdefault(r["row"], {}).setdefault(r["tool"], []).append(r)

    def all(self, row, tool, key):
        return [r[key] for r in self.rows.get(row, {}).get(tool, []) if key in r]

    def mid(self, row, tool, key):
        v = self.all(row, tool, key)
        return median(v) if v else None

    def least(self, row, key):
        """The best of the others: (figure, its name)."""
        v = [(self.mid(row, t, key), t) for t in OTHERS if self.mid(row, t, key) is not None]
        return min(v) if v else None

    def peak(self, tool):
        rows = ("first", "unchanged", "ten", "changed-1", "restore")  # what all have done
        v = [m for row in rows for m in self.all(row, tool, "mem")]
        return max(v) if v else None


class Row:
    def __init__(self, title, ours, bound, others, what, spread=None):
        self.title, self.ours, self.bound, self.others, self.what, self.spread = title, ours, bound, others, what, spread

    def state(self):
        if self.ours is None or self.bound is None:
            return "not measured"
        return "met" if self.ours <= self.bound else "RED"


def text(v, unit):
    if v is None:
        return "–"
    if unit == "s":
        return f"{v:.2f} s" if v >= 0.1 else f"{v * 1000:.0f} ms"
    if unit == "mem":
        return f"{v:.0f} MiB"
    return f"{v / MIB:.1f} MiB" if v >= MIB else f"{v / 1024:.1f} KiB"


def spread_of(res, row, key, unit):
    v = res.all(row, "varve", key)
    return f"{text(min(v), unit)} – {text(max(v), unit)}" if len(v) > 1 else ""


def beside(res, row, title, key, unit, factor):
    best = res.least(row, key)
    others = ", ".join(f"{t} {text(res.mid(row, t, key), unit)}" for t in OTHERS if res.mid(row, t, key) is not None)
    return Row(title, res.mid(row, "varve", key), best[0] * factor if best else None, others or "–", unit, spread_of(res, row, key, unit))


def alone(res, row, title, key, unit, bound):
    return Row(title, res.mid(row, "varve", key), bound, "–", unit, spread_of(res, row, key, unit))


def judged(res):
    rows = [beside(res, "first", "first backup to a directory", "durable", "s", 1.0),
            beside(res, "first", "its repository (zstd)", "repo_bytes", "bytes", 1.05),
            beside(res, "first-lz4", "the same with LZ4 (kopia: S2)", "durable", "s", 1.0),
            beside(res, "first-s3", "first backup to S3 on this machine", "durable", "s", 1.0)]
    for n in (1, 10, 100):
        row = f"changed-{n}"
        r = beside(res, "changed-1", f"1 % of the pages changed, increment {n}", "durable", "s", 0.1)
        r.ours, r.spread = res.mid(row, "varve", "durable"), spread_of(res, row, "durable", "s")
        rows.append(r)
        sent, plain = res.mid(row, "varve", "new_bytes"), res.mid(row, "varve", "changed_zstd")
        r = beside(res, "changed-1", f"new in the repository, increment {n}", "new_bytes", "bytes", 1.0)
        r.ours, r.bound, r.spread = sent, plain * 1.2 if plain else None, spread_of(res, row, "new_bytes", "bytes")
        rows.append(r)
    for row, title, bound in (("unchanged", "nothing changed", 0.1), ("ten", "ten bytes in the database", 0.2)):
        r = beside(res, row, title, "durable", "s", 1.0)
        r.bound = bound
        rows.append(r)
    r = beside(res, "ten", "new in the repository after ten bytes", "new_bytes", "bytes", 1.0)
    r.bound = 64 << 10
    rows += [r,
             alone(res, "many-changed", f"100 of {res.info.get('many', 0):,} files changed", "durable", "s", 1.0),
             alone(res, "many-changed", "its memory", "mem", "mem", 100),
             beside(res, "restore", "full restore", "durable", "s", 1.0),
             alone(res, "restore-100", "the same after 100 increments", "durable", "s", None)]
    peaks = {t: res.peak(t) for t in OTHERS if res.peak(t) is not None}
    rows.append(Row("peak memory of all these", res.peak("varve"), min(peaks.values()) if peaks else None,
                    ", ".join(f"{t} {m:.0f} MiB" for t, m in peaks.items()) or "–", "mem"))
    rows += [alone(res, "mount", "a recovery point mounted from S3: first listing", "wall", "s", 1.0),
             alone(res, "mount", "first 4 KiB read from it", "read_s", "s", 0.1)]
    return rows


def line(r):
    return [r.title, text(r.ours, r.what), r.spread or "–", r.others, text(r.bound, r.what), r.state() if r.state() != "RED" else "**red**"]


def cpu_table(res):
    out = "| work | " + " | ".join(("varve",) + OTHERS) + " |\n|---|---|---|---|---|\n"
    for row in ("first", "first-lz4", "first-s3", "unchanged", "ten", "changed-1", "restore", "restore-100"):
        cells = []
        for t in ("varve",) + OTHERS:
            cpu, mem, anon, rested, wall = (res.mid(row, t, k) for k in ("cpu", "mem", "anon", "rested", "wall"))
            memory = f"{mem or 0:.0f} MiB (of no file {anon or 0:.0f}{f', daemon before {rested:.0f}' if rested else ''})"
            cells.append("–" if cpu is None else f"{cpu:.2f} s; {memory}; {text(wall, 's')}")
        out += f"| {row} | " + " | ".join(cells) + " |\n"
    return out


def section(res, about):
    versions = ", ".join(f"{t} {v}" for t, v in res.info.get("versions", {}).items())
    absent = "".join(f"* {t} in {row}: {why.splitlines()[0][:200]}\n" for row, by in sorted(res.absent.items()) for t, why in by.items())
    rows = "".join("| " + " | ".join(line(r)) + " |\n" for r in judged(res))
    return f"""## Backup and restore

Made by `make bench-backup` (tests/bench-backup); do not edit. {about}; {versions}. {res.info.get('files', 0):,} files and a database of
{res.info.get('db', 0) / 2**30:.2g} GiB, {res.info.get('rounds', 0)} rounds in which the programs took turns, each beginning with {'nothing' if res.info.get('caches_dropped') else 'WHATEVER WAS'} in
the page cache. A time ends when what was written is on the disk, for every program (`sync -f`, which those that sync by themselves find
done). The others are measured at the first increment; to them each is alike. Varve opens its repository with a key file, so that no key
is derived; the others derive theirs from a passphrase at their own cost.

| work | varve: median | rounds | others | bound | |
|---|---|---|---|---|---|
{rows}
CPU of all processes, their memory at its peak (pages that several share counted once; all of the daemon's, and all mapped files; in brackets
what of it is no file's, and what the daemon had before), and the time until the command ends:

{cpu_table(res)}
{'Not measured:' + chr(10) + chr(10) + absent if absent else ''}"""


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--document")
    p.add_argument("--about", default="")
    p.add_argument("results")
    a = p.parse_args()
    res = Results(a.results)
    rows = judged(res)
    print(f"{'work':48} {'varve':>10} {'bound':>10}  state; others")
    for r in rows:
        print(f"{r.title:48} {text(r.ours, r.what):>10} {text(r.bound, r.what):>10}  {r.state()}; {r.others}")
    if a.document:
        put(a.document, "bench-backup", section(res, a.about))
    states = [r.state() for r in rows]
    print(f"{states.count('met')} passed, {states.count('RED')} failed, {states.count('not measured')} skipped")
    return states.count("RED") > 0


if __name__ == "__main__":
    sys.exit(main())
