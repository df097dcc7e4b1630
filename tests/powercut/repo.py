#!/usr/bin/env python3
"""repo.py run VOLUME REPO KEY SECONDS MARKS      backs VOLUME up to the directory REPO again and again; what was acknowledged becomes a mark
   repo.py verify REPO KEY FILE SCRATCH           REPO is sound, and holds what the marks promise

point ID N     the recovery point ID shows round N, all of it        going ID     it may be gone
gone ID        it is gone"""
import json, os, shutil, subprocess, sys, time

from work import MARKS, bytes_of, size_of, write

FILES, EACH, KEPT = 12, 3, 5
VARVE = os.environ["VARVE"]


def promised(*words):
    MARKS.send(("repo " + " ".join(map(str, words))).encode())
    if not MARKS.recv(1):
        raise SystemExit("the device is gone")


def written(n):
    """Files that round n writes."""
    return range(FILES) if n == 0 else [(EACH * n + k) % FILES for k in range(EACH)]


def content(n):
    last = {i: m for m in range(n + 1) for i in written(m)}
    return {f"f{i}": bytes_of(f"f{i}", m, size_of(f"f{i}", m)) for i, m in last.items()}


def varve(*args, may_fail=False):
    p = subprocess.run([VARVE, *args], capture_output=True, text=True)
    if p.returncode and not may_fail:
        raise SystemExit(f"{' '.join(args)}: exit {p.returncode}: {p.stdout}{p.stderr}")
    return p.stdout if p.returncode == 0 else None


def run(volume, repo, key, seconds):
    end, n, points = time.time() + float(seconds), 0, []
    url, keyed = f"dir:{repo}", ("--key-file", key)
    while time.time() < end:
        for i in written(n):
            write(f"{volume}/f{i}", bytes_of(f"f{i}", n, size_of(f"f{i}", n)), False)
        id_ = json.loads(varve("backup", "run", volume, "--to", url, *keyed, "--json"))["recovery_point"]["id"]
        promised("point", id_, n)
        points.append(id_)
        if n % 4 == 3 and len(points) > KEPT:
            old = points.pop(n % (KEPT - 1))
            promised("going", old)
            varve("backup", "delete", f"{url}#{old}", *keyed)
            promised("gone", old)
        if n % 6 == 5:
            varve("repo", "prune", url, *keyed, "--exclusive")
        n += 1


def verify(repo, key, marks, scratch):
    points, going, gone, bad = {}, set(), set(), 0
    for words in (line.split() for line in open(marks)):
        if words[0] == "point":
            points[words[1]] = int(words[2])
        else:
            {"going": going, "gone": gone}[words[0]].add(words[1])
    if not points:
        return 0  # it may not be made yet
    url, keyed = f"dir:{repo}", ("--key-file", key)
    varve("repo", "unlock", url, "--force")
    varve("repo", "verify", url, *keyed, "--full")
    have = {p["id"] for p in json.loads(varve("backup", "list", url, *keyed, "--json"))["recovery_points"]}
    for id_ in points.keys() - going - have:
        bad += 1
        print(f"recovery point {id_[:12]} of round {points[id_]} was acknowledged and is not there")
    for id_ in gone & have:
        bad += 1
        print(f"recovery point {id_[:12]} was deleted and is there")
    for id_ in points.keys() & have:
        shutil.rmtree(scratch, ignore_errors=True)
        varve("restore", f"{url}#{id_}", scratch, *keyed)
        if {n: open(f"{scratch}/{n}", "rb").read() for n in os.listdir(scratch)} != content(points[id_]):
            bad += 1
            print(f"recovery point {id_[:12]} does not show round {points[id_]}")
    varve("repo", "prune", url, *keyed, "--exclusive")  # goes on from wherever it was
    varve("repo", "verify", url, *keyed, "--full")
    return bad


if __name__ == "__main__":
    if sys.argv[1] == "run":
        MARKS.connect(sys.argv[6])
        run(*sys.argv[2:6])
    else:
        sys.exit(1 if verify(*sys.argv[2:6]) else 0)
