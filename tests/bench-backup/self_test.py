#!/usr/bin/env python3
"""self_test.py RESULTS SCRATCH: what a small run measured is there and makes sense, and report.py judges figures that are known as it should."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import report  # noqa: E402

bad = []


def check(ok, what):
    if not ok:
        bad.append(what)


def measured(path):
    res = report.Results(path)
    for row in ("first", "unchanged", "ten", "changed-1", "restore", "first-lz4", "many-first", "many-changed"):
        check(res.all(row, "varve", "wall"), f"{row} was not measured")
        check(all(m > 5 for m in res.all(row, "varve", "mem")), f"{row}: no memory")
    check(sum(res.all("first", "varve", "cpu")) > 0, "no processor time")
    check((res.mid("first", "varve", "repo_bytes") or 0) > 2 << 20, "the repository is too small to be true")
    check((res.mid("first-lz4", "varve", "repo_bytes") or 0) > (res.mid("first", "varve", "repo_bytes") or 0), "LZ4 is smaller than Zstandard")
    sent, plain = res.mid("changed-1", "varve", "new_bytes") or 0, res.mid("changed-1", "varve", "changed_zstd") or 0
    check(0 < plain < sent < 3 * plain, f"{sent} new bytes of {plain}")
    check((res.mid("ten", "varve", "new_bytes") or 1 << 30) < 64 << 10, "ten bytes cost too much")


def judged(scratch):
    """Two programs, three rounds: varve is slow once, takes too much memory, and its increment is too large."""
    path = os.path.join(scratch, "known.jsonl")
    lines = [{"row": "first", "tool": "varve", "wall": w, "durable": w, "cpu": 1, "mem": 90, "repo_bytes": 104} for w in (9, 30, 8)]
    lines += [{"row": "first", "tool": "borg", "wall": 10, "durable": 10, "cpu": 1, "mem": 80, "repo_bytes": 100}]
    lines += [{"row": "changed-1", "tool": "varve", "wall": 1, "durable": 1, "cpu": 1, "mem": 1, "new_bytes": 121, "changed_zstd": 100}]
    lines += [{"row": "changed-1", "tool": "borg", "wall": 11, "durable": 11, "cpu": 1, "mem": 1, "new_bytes": 900}]
    with open(path, "w") as f:
        f.writelines(json.dumps(x) + "\n" for x in lines)
    states = {r.title: r.state() for r in report.judged(report.Results(path))}
    want = {"first backup to a directory": "met", "its repository (zstd)": "met", "peak memory of all these": "RED", "nothing changed": "not measured",
            "1 % of the pages changed, increment 1": "met", "new in the repository, increment 1": "RED", "full restore": "not measured"}
    for title, state in want.items():
        check(states.get(title) == state, f"{title}: {states.get(title)}, not {state}")
    page = os.path.join(scratch, "page.md")
    with open(page, "w") as f:
        f.write("# Performance\n\nbefore\n")
    for _ in range(2):
        report.put(page, "bench-backup", report.section(report.Results(path), "about"))
    with open(page) as f:
        text = f.read()
    check(text.count("<!-- bench-backup: begin -->") == 1 and "before" in text and text.count("**red**") == 2, "the section is not what it should be")


measured(sys.argv[1])
judged(sys.argv[2])
for b in bad:
    print("    " + b)
sys.exit(bool(bad))
