#!/usr/bin/env python3
"""section.py latency|scale|recall [--document FILE] --about TEXT RESULTS: what `make bench-latency`, `make bench-scale` and `make recall-rate`
measured, as a section of docs/performance.md. Each section stands between two marks of its own and is written anew; who writes the rest of the document keeps it."""

import argparse
import os
import re


def put(path, name, body):
    """Writes the section called so, in the place of the one that is there."""
    old = open(path).read() if os.path.exists(path) else "# Performance\n"
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    new = f"{begin}\n{body.strip()}\n{end}\n"
    if begin in old:
        old = re.sub(re.escape(begin) + ".*?" + re.escape(end) + "\n?", lambda m: new, old, flags=re.S)
    else:
        old = old.rstrip() + "\n\n" + new
    with open(path, "w") as f:
        f.write(old)


def kept(path):
    """All such sections of a document, for who writes the rest of it anew."""
    if not os.path.exists(path):
        return ""
    with open(path) as f:
        return "".join("\n" + m.group(0) + "\n" for m in re.finditer(r"<!-- ([\w-]+): begin -->.*?<!-- \1: end -->", f.read(), flags=re.S))


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows]) + "\n"


# --- latency: lines of tests/bench-latency ------------------------------------------------------------------------------


def latency_of(path):
    """{place: {scene: {kind: (p50, p99, p99.9, longest, red)}}}, {scene: what goes on beside}"""
    place, got, says = "varve", {}, {}
    with open(path) as f:
        for line in f:
            if line.startswith("on "):
                place = "below" if "below" in line else "varve"
            m = re.match(r"(\w+) +(create|stat|fsync|disk) +\d+ +p50 +([\d.]+) +p99 +([\d.]+) +p99.9 +([\d.]+) +longest +([\d.]+) ms(.*)", line)
            if m:
                got.setdefault(place, {}).setdefault(m[1], {})[m[2]] = tuple(float(x) for x in m.groups()[2:6]) + ("FAILED" in m[7],)
            m = re.match(r"(\w+) +\d+ steps beside it: (.*)", line)
            if m:
                says[m[1]] = m[2]
    return got, says


def latency_cell(v):
    if not v:
        return "–"
    text = f"{v[0]:.2f}; {v[2]:.2f}; {v[3]:.0f}"
    return f"**{text} red**" if v[4] else text


def latency(path, about):
    got, says = latency_of(path)
    rows = []
    for scene, kinds in got.get("varve", {}).items():
        ext4 = got.get("below", {}).get(scene, {})
        rows.append([says.get(scene, "nothing else")] + [latency_cell(kinds.get(k)) for k in ("create", "stat", "fsync", "disk")] + [latency_cell(ext4.get("fsync"))])
    return f"""## Latency while the store is at work

Made by `make bench-latency`: in each cell the median, p99.9 and the longest of some thousand requests, in milliseconds. *The disk*: a block
of a file beside the store, written over and synced in the same seconds: the least that an fsync can take just then. p99.9 is bounded by
20 ms, an fsync's by 1.15 times the disk's where that is more.

{about}

{table(["beside it", "create", "stat past the kernel's cache", "fsync of a new file", "the disk", "fsync on ext4 with the same beside it"], rows)}"""


# --- scale: columns of tests/bench-scale ----------------------------------------------------------------------------------


def scale(path, about):
    by, sizes = {}, []
    with open(path) as f:
        for line in f:
            n, what, value = line.rstrip("\n").split("\t")
            by.setdefault(what, {})[int(n)] = float(value)
            if int(n) not in sizes:
                sizes.append(int(n))
    units = {"making a file": " µs", "files a second": "/s"}
    rows = [[what] + [f"{v[n]:.4g}{units.get(what, ' ms')}" if n in v else "–" for n in sizes] for what, v in by.items()]
    return f"""## As a store grows

Made by `make bench-scale`: what operations cost with so many files in one volume; they may grow with the logarithm of that.

{about}

{table(["files"] + [f"{n:,}" for n in sizes], rows)}"""


# --- recall: lines of tests/tier/recall_rate.sh: place, MiB, seconds of: plain copy, that on disk, read, tier recall, processor -------


def recall(path, about):
    rows = []
    with open(path) as f:
        for line in f:
            place, mib, plain, synced, read, tier, cpu = (float(x) if i else x for i, x in enumerate(line.rstrip("\n").split("\t")))
            rows.append([place, f"{mib:.0f} MiB", f"{plain:.2f} s", f"{synced:.2f} s", f"{tier:.2f} s (**{synced / tier:.2f}**)", f"{read:.2f} s ({plain / read:.2f})", f"{cpu:.2f} s"])
    heads = ["from", "file", "plain copy", "plain copy, on disk", "`varve tier recall` (rate beside that copy)", "read through a mount (beside the first)", "processor, read"]
    return f"""## Bringing released files back

Made by `make recall-rate`: a file of random bytes that a repository alone has, from there; medians of rounds that take turns. The copy from a
directory (`cp`) finds it in the kernel's memory, from S3 (curl, one connection) in the server's. Required of a recall: 0.7.

{about}

{table(heads, rows)}"""


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("kind", choices=("latency", "scale", "recall"))
    args.add_argument("--document", default="docs/performance.md")
    args.add_argument("--about", default="")
    args.add_argument("results")
    a = args.parse_args()
    put(a.document, f"bench-{a.kind}", {"latency": latency, "scale": scale, "recall": recall}[a.kind](a.results, a.about))


if __name__ == "__main__":
    main()
