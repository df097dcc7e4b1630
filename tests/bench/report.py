#!/usr/bin/env python3
"""report.py --bench PROGRAM [--document FILE] RESULTS...: medians, ratios and verdicts of what `bench run` wrote.

A row's cost is the median latency of one operation (L), or the time for one operation at the median rate (R), or milliseconds (M).
A place's ratio is its cost divided by the cost on the row's base (ext4), the medians of all rounds. A row is met when varve's ratio, by
default or with a mount option of its own bound, is at most its bound or 1.15 x (ext4 + floor), whichever is larger. Of several results
files the last one that has a row counts. The closing line counts rows that are met, red, and not measured; of a short run only whether
they could be measured."""

import argparse
import os
import re
import subprocess
import sys
from statistics import median

from section import kept, table

SLACK = 1.15
CAUSES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "causes.tsv")


class Row:
    def __init__(self, line):
        self.id, self.kind, bound, bold, self.base, self.title, self.peers = line.split("\t")
        self.bold = bold == "bold"
        self.bounds = {}  # option -> bound; "": as it comes
        for word in bound.split():
            option, eq, value = word.partition("=")
            self.bounds[option if eq else ""] = float(value if eq else option)


class Result:
    """One row as one run measured it."""

    def __init__(self, run):
        self.run = run
        self.samples = {}  # place -> samples, by round
        self.absent = {}  # place -> why


class Sample:
    def __init__(self, words):
        self.round = int(words[0])
        self.p50, self.p99, self.rate, self.daemon, self.own, self.others, self.wall = map(float, words[1:])


def rows_of(program):
    out = subprocess.run([program, "rows"], capture_output=True, text=True, check=True).stdout
    return [Row(line) for line in out.splitlines()]


def load(paths):
    results = {}
    for path in paths:
        run, fresh = {}, {}
        with open(path) as f:
            for line in f:
                line = line.rstrip("\n")
                if line.startswith("#"):
                    key, _, value = line[1:].partition(" ")
                    run[key] = value
                    continue
                words = line.split("\t")
                res = fresh.setdefault(words[0], Result(run))
                if words[2] == "na":
                    res.absent[words[1]] = words[3]
                elif words[2] != "took":
                    res.samples.setdefault(words[1], []).append(Sample(words[2:]))
        results.update(fresh)
    return results


def cost(row, sample):
    if row.kind == "R":
        return 1e9 / sample.rate
    return sample.p50 if row.kind == "L" else sample.p50 / 1e6


class Verdict:
    """What a row's figures mean. ratios: place -> (median, least, most); of a row in milliseconds: the milliseconds."""

    def __init__(self, row, res):
        self.row, self.res, self.ratios = row, res, {}
        self.floor = self.limit = None
        self.state = "not measured"
        if row.kind != "M" and row.base not in res.samples:
            return
        for place, samples in res.samples.items():
            self.ratios[place] = self.ratio(place, samples)
        if "floor" in self.ratios:
            self.floor = SLACK * (1 + self.ratios["floor"][0])
        self.judge()

    def ratio(self, place, samples):
        mine = [cost(self.row, s) for s in samples]
        if self.row.kind == "M":
            return median(mine), min(mine), max(mine)
        base = {s.round: cost(self.row, s) for s in self.res.samples[self.row.base]}
        each = [cost(self.row, s) / base[s.round] for s in samples if s.round in base]
        return median(mine) / median(base.values()), min(each or [0]), max(each or [0])

    def bound_of(self, place):
        option = place[len("varve"):].partition("@")[0].lstrip("-")
        bound = self.row.bounds.get(option, self.row.bounds[""])
        return max(bound, self.floor or 0)

    def judge(self):
        ours = [p for p in self.ratios if p.startswith("varve") and (p != self.row.base or self.row.kind == "M")]
        if not ours:
            return
        self.limit = self.bound_of(min(ours, key=lambda p: (len(p), p)))
        met = [p for p in ours if self.ratios[p][0] <= self.bound_of(p)]
        self.state = "met" if met else "RED"


# --- what is printed -------------------------------------------------------------------------------------------------


def amount(x):
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def a_time(ns):
    return f"{amount(ns)} ns" if ns < 1000 else f"{amount(ns / 1e3)} µs" if ns < 1e6 else f"{amount(ns / 1e6)} ms" if ns < 1e9 else f"{ns / 1e9:.2f} s"


def a_rate(x):
    return f"{x / 1e6:.2f} M/s" if x >= 1e6 else f"{x / 1e3:.1f} k/s" if x >= 1e4 else f"{amount(x)}/s"


def absolute(samples):
    return f"{a_time(median(s.p50 for s in samples))}; {a_rate(median(s.rate for s in samples))}"


def spread(r):
    return f"{amount(r[0])} ({amount(r[1])}–{amount(r[2])})"


def ours_of(v):
    places = sorted((p for p in v.ratios if p.startswith("varve") and p != v.row.base), key=lambda p: (len(p), p))
    return places or [p for p in v.ratios if p.startswith("varve")]


def print_rows(verdicts):
    print(f"{'row':18} {'kind':4} {'base':>10} {'varve':>24} {'bound':>7} {'floor':>7} {'limit':>7} {'others':>7}  verdict")
    for v in verdicts:
        places = ours_of(v)
        base = v.res.samples.get(v.row.base, [])
        of = v.row.kind
        print(f"{v.row.id:18} {of:4} {a_time(median(cost(v.row, s) for s in base)) if base and of != 'M' else '-':>10} "
              f"{spread(v.ratios[places[0]]) if places else '-':>24} {v.row.bounds['']:>7g} "
              f"{amount(v.ratios['floor'][0]) if 'floor' in v.ratios else '-':>7} {amount(v.limit) if v.limit else '-':>7} "
              f"{others_of(v.res):>7}  {v.state}")
        for place in places[1:]:
            print(f"{'':34} {spread(v.ratios[place]):>24} {v.bound_of(place):>7g}  with {place}")
        others = [p for p in v.ratios if p != "floor" and p != v.row.base and not p.startswith("varve")]
        if others:
            print("    " + ", ".join(f"{p} {amount(v.ratios[p][0])}" for p in others))
        for place, why in v.res.absent.items():
            print(f"    {place}: {why}")


def others_of(res):
    shares = [s.others for samples in res.samples.values() for s in samples]
    return f"{100 * median(shares):.0f} %" if shares else "-"


def title(v):
    return f"**{v.row.title}**" if v.row.bold else v.row.title


def figures(verdicts):
    lines = []
    for v in verdicts:
        places, unit = ours_of(v), " ms" if v.row.kind == "M" else ""
        base, own = v.res.samples.get(v.row.base), v.res.samples.get(places[0]) if places else None
        lines.append([
            title(v), "ms" if v.row.kind == "M" else v.row.kind, absolute(base) if base and v.row.kind != "M" else "–",
            absolute(own) if own else "–", spread(v.ratios[places[0]]) + unit if places else "–",
            "; ".join(f"{p[6:]} {spread(v.ratios[p])}" for p in places[1:]) or "–",
            f"{v.row.bounds['']:g}{unit}", amount(v.ratios["floor"][0]) if "floor" in v.ratios else "–",
            amount(v.limit) + unit if v.limit else "–", v.state if v.state != "RED" else "**red**"])
    return table(["work", "", "ext4: p50; rate", "varve: p50; rate", "varve / ext4 (rounds)", "with an option", "bound", "floor / ext4", "limit", ""], lines)


def peers(verdicts):
    names = []
    for v in verdicts:
        names += [p for p in list(v.ratios) + list(v.res.absent) if p not in names and not p.startswith("varve") and p not in ("ext4", "floor")]
    if not names:
        return "No other filesystem was measured in this run.\n"
    lines = [[title(v), amount(v.ratios["varve"][0])] + [amount(v.ratios[p][0]) if p in v.ratios else "–" for p in names] + [v.row.peers]
             for v in verdicts if "varve" in v.ratios]
    return table(["work", "varve"] + names + ["published: best / JuiceFS"], lines)


def load_table(verdicts):
    lines = []
    for v in verdicts:
        def seconds(place, field):
            return f"{median(getattr(s, field) for s in v.res.samples[place]):.2f}" if place in v.res.samples else "–"
        place = (ours_of(v) or [""])[0]
        lines.append([v.row.title, seconds(place, "wall"), seconds(place, "daemon"), seconds(place, "own"), seconds("floor", "daemon"),
                      others_of(v.res), v.res.run.get("load_before", "?").split()[0], v.res.run.get("commit", "?")])
    return table(["work", "a round of varve: s", "its daemon: CPU s", "the work itself: CPU s", "the floor's: CPU s", "CPU others took", "load before", "commit"], lines)


def causes():
    known = {}
    if os.path.exists(CAUSES):
        with open(CAUSES) as f:
            for line in f:
                row, tab, text = line.rstrip("\n").partition("\t")
                if tab:
                    known[row] = text
    return known


def document(verdicts):
    runs = {id(v.res.run): v.res.run for v in verdicts}.values()
    shares = [s.others for v in verdicts for samples in v.res.samples.values() for s in samples]
    busy = not shares or median(shares) > 0.05 # the load average counts what the bench itself prepares
    known = causes()
    red = [v for v in verdicts if v.state == "RED"]
    about = table(["commit", "kernel", "date", "rounds", "processors", "load average before; after"],
                  [[r.get(k, "?") for k in ("commit", "kernel", "date", "rounds", "processors")] + [f"{r.get('load_before', '?')}; {r.get('load_after', '?')}"]
                   for r in runs])
    return f"""# Performance

Made by `make bench` (tests/bench); do not edit. Each figure is a median of rounds in which all filesystems took turns.
{"**The machine was not quiet: these figures say that the bench runs, no more.**" if busy else "The machine was quiet."}

{about}
L: the median latency of one operation counts; R: operations a second. The ratio is varve's cost divided by that of a journalled ext4 in
a preallocated loop file with direct I/O, which also carries varve's store and what the other filesystems keep; in brackets the least and
the most of the rounds. The *floor* is a filesystem of ours that keeps everything in memory, on the same transport, asked in the same
way. A row is met at its bound or within {SLACK} × (ext4 + floor), whichever is larger (*limit*). Rows about snapshots compare varve with
itself: without and with.

{figures(verdicts)}
## Red rows

{"".join(f"* {v.row.title}: {known.get(v.row.id, 'not explained yet')}" + chr(10) for v in red) or "None." + chr(10)}
## Others, as multiples of ext4's

{peers(verdicts)}
{"".join(f"* {place} in `{v.row.id}`: {why}" + chr(10) for v in verdicts for place, why in v.res.absent.items())}
## Processors

{load_table(verdicts)}"""


def compare(rows, results, without, with_it, limit):
    """What one place costs beside another that was measured in turns with it: by row the ratio of the medians of that round of each which
    was disturbed least, and of all rows the geometric mean, which is what counts."""
    product, n = 1.0, 0
    print(f"{'row':18} {without:>14} {with_it:>14} {'ratio':>7}")
    for row in rows:
        res = results.get(row.id)
        if not res or without not in res.samples or with_it not in res.samples:
            continue
        base, mine = (min(s.p50 for s in res.samples[place]) for place in (without, with_it))
        product, n = product * mine / base, n + 1
        print(f"{row.id:18} {a_time(base):>14} {a_time(mine):>14} {mine / base:7.3f}")
    mean = product ** (1 / n) if n else 0.0
    good = n > 0 and mean <= limit
    print(f"all {n} rows: {100 * (mean - 1):+.1f} %, at most {100 * (limit - 1):+.1f} %")
    print(f"{int(good)} passed, {int(not good)} failed, 0 skipped")
    return good


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bench", required=True)
    args.add_argument("--document")
    args.add_argument("--cost", nargs=3, metavar=("WITHOUT", "WITH", "LIMIT"))
    args.add_argument("results", nargs="+")
    a = args.parse_args()
    results = load(a.results)
    if a.cost:
        sys.exit(not compare(rows_of(a.bench), results, a.cost[0], a.cost[1], float(a.cost[2])))
    verdicts = [Verdict(r, results[r.id]) for r in rows_of(a.bench) if r.id in results]
    short = any(v.res.run.get("scale") == "short" for v in verdicts)
    print_rows(verdicts)
    if a.document and short:
        sys.exit(f"results of a short run do not go into {a.document}")
    if a.document:
        others = kept(a.document)
        with open(a.document, "w") as f:
            f.write(re.sub(r"\n{3,}", "\n\n", document(verdicts).rstrip() + "\n" + others))
    met = sum(v.state == "met" for v in verdicts)
    red = sum(v.state == "RED" for v in verdicts)
    absent = len(verdicts) - met - red
    if short: # too few operations for a verdict
        met, red, absent = met + red, absent, 0
    print(f"{met} passed, {red} failed, {absent} skipped")
    sys.exit(red > 0)


if __name__ == "__main__":
    main()
