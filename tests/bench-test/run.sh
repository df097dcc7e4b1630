#!/bin/bash
# bench-test: is what tests/bench says true? Ratios and verdicts of made-up results; the rows of a real run that is short; the floor is
# asked the same as varve; nothing is left behind by a run that fails, nor by one that is interrupted.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tools/mounted.sh
suite_needs_mounts
losetup -f >/dev/null 2>&1 || skip_suite "no loop devices here"
bench=$(readlink -f "$BUILD")/tests/bench
passed=0 failed=0
results=$scratch/results.tsv

ok() { # WHAT COMMAND...
    local what=$1 out
    shift
    if out=$("$@" 2>&1); then
        passed=$((passed + 1))
        printf 'ok      %s\n' "$what"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$what"
        printf '%s\n' "$out" | tail -n 15 | sed 's/^/    /'
    fi
}

# --- figures that are made up -----------------------------------------------------------------------------------------
sample() { # ROW PLACE ROUND P50_NS RATE
    printf '%s\t%s\t%s\t%s\t%s\t%s\t0.5\t0.25\t0.02\t1.0\n' "$1" "$2" "$3" "$4" "$4" "$5" >>"$results"
}
begin() { printf '#commit abc\n#kernel k\n#scale full\n#load_before 0.10 0.1 0.1\n' >"$results"; }
judged() { # what the line of ROW has to hold
    python3 tests/bench/report.py --bench "$bench" "$results" >"$scratch/said"
    local line
    line=$(grep "^$1 " "$scratch/said") || { cat "$scratch/said"; return 1; }
    shift
    for word in "$@"; do
        case $line in *"$word"*) ;; *) echo "no '$word' in: $line"; return 1 ;; esac
    done
}

medians_of_rounds() {
    begin
    for i in 0 1 2; do sample create ext4 $i 1000 1; done
    sample create varve 0 9000 1
    sample create varve 1 3000 1
    sample create varve 2 2000 1
    judged create "1.00 µs" "3.00 (2.00–9.00)" met
}
latency_and_rate() { # of a row by rate the median latency does not count
    begin
    sample read-seq ext4 0 1 1000
    sample read-seq varve 0 1 500
    judged read-seq "2.00 (2.00–2.00)" RED
    begin
    sample stat ext4 0 100 1000
    sample stat varve 0 110 1
    judged stat 1.10 met
}
bound_or_floor() { # 1.15 x (ext4 + floor), when that is more than the bound
    begin
    sample unlink ext4 0 1000 1
    sample unlink varve 0 5100 1
    judged unlink "5.10" RED || return 1
    sample unlink floor 0 3500 1
    judged unlink "5.10" " 3.50 " 5.17 met || return 1
    begin
    sample unlink ext4 0 1000 1
    sample unlink varve 0 5200 1
    sample unlink floor 0 3500 1
    judged unlink RED
}
bound_of_an_option() { # red as it comes, met with the option; an option has its own bound
    begin
    sample write-rand ext4 0 1 1000
    sample write-rand varve 0 1 50
    sample write-rand varve-writeback 0 1 600
    judged write-rand "20.0" RED || return 1
    sample write-rand varve-io_uring 0 1 200
    judged write-rand met
}
compared_with_itself() {
    begin
    sample snap-large varve@without 0 1 1000
    sample snap-large varve@with 0 1 700
    judged snap-large 1.43 RED || return 1
    begin
    sample clone varve@million 0 19000000 50
    judged clone 19.0 met
}
red_is_a_failure() {
    begin
    sample stat ext4 0 100 1
    sample stat varve 0 900 1
    ! python3 tests/bench/report.py --bench "$bench" "$results" >"$scratch/said" && tail -n 1 "$scratch/said" | grep -qx '0 passed, 1 failed, 0 skipped'
}
document_says_it() {
    begin
    sample create-fsync ext4 0 100000 1
    sample create-fsync varve 0 900000 1
    sample create-fsync bindfs 0 200000 1
    printf 'create-fsync\tmergerfs\tna\tis not installed\n' >>"$results"
    python3 tests/bench/report.py --bench "$bench" --document "$scratch/doc.md" "$results" >/dev/null
    grep -q '^| abc | k |' "$scratch/doc.md" && grep -q '9.00 (9.00–9.00).*\*\*red\*\*' "$scratch/doc.md" \
        && grep -q '| \*\*create + 4 KiB + fsync\*\* | 9.00 | 2.00 | – |' "$scratch/doc.md" && grep -q 'mergerfs.*is not installed' "$scratch/doc.md"
}
document_of_a_busy_machine() {
    begin
    sample stat ext4 0 100 1
    sample stat varve 0 100 1
    python3 tests/bench/report.py --bench "$bench" --document "$scratch/doc.md" "$results" >/dev/null
    grep -q 'The machine was quiet' "$scratch/doc.md" || return 1
    sed -i 's/\t0.02\t1.0$/\t0.12\t1.0/' "$results"
    python3 tests/bench/report.py --bench "$bench" --document "$scratch/doc.md" "$results" >/dev/null
    grep -q 'The machine was not quiet' "$scratch/doc.md"
}
no_document_of_a_short_run() {
    begin
    sed -i 's/^#scale.*/#scale short/' "$results"
    sample stat ext4 0 100 1
    sample stat varve 0 100 1
    ! python3 tests/bench/report.py --bench "$bench" --document "$scratch/none.md" "$results" && [ ! -e "$scratch/none.md" ]
}
rows_are_named() { # each once, with a bound, a title, and a base
    "$bench" rows | awk -F '\t' 'NF != 7 || seen[$1]++ || $2 !~ /^[LRM]$/ || $3 !~ /^[0-9.]+( [a-z_]+=[0-9.]+)*$/ || $6 == "" { bad = 1; print }
        END { exit bad || NR < 50 }'
}

# --- runs that are real -----------------------------------------------------------------------------------------------
run_bench() { # ROWS TARGETS: in a directory whose name is seen in mounts, loop devices and processes
    mkdir -p "$scratch/tmp"
    SCALE=short DISK_MIB=192 ONLY=$1 TARGETS=$2 BUILD=$scratch/build TMPDIR=$scratch/tmp VARVE=$VARVE tests/bench/run.sh
}
nothing_left() {
    local left
    left=$(grep -F "$scratch/tmp/" /proc/self/mounts; losetup -a | grep -F "$scratch/tmp/"; pgrep -af "$scratch/tmp/"; ls "$scratch/tmp")
    [ -z "$left" ] || { echo "left behind: $left"; return 1; }
}
mkdir -p "$scratch/build"
ln -s "$(readlink -f "$BUILD")/tests" "$scratch/build/tests"

short_run() {
    run_bench "stat create create-fsync cold-stat-new untar" "ext4 varve floor" >"$scratch/short" 2>&1
    tail -n 1 "$scratch/short" | grep -qx '5 passed, 0 failed, 0 skipped' || { cat "$scratch/short"; return 1; }
    nothing_left
}
place_that_is_not() { # is named, and the others are measured
    run_bench stat "ext4 varve nosuch" >"$scratch/short" 2>&1
    grep -q 'nosuch: the bench knows no filesystem of this name' "$scratch/short" && tail -n 1 "$scratch/short" | grep -q '^1 passed' \
        || { cat "$scratch/short"; return 1; }
    nothing_left
}
daemon_that_dies() { # the row is not measured, and what was mounted is gone
    BENCH_BREAK=floor run_bench "create" "ext4 floor" >"$scratch/short" 2>&1
    grep -q 'floor: ' "$scratch/short" || { cat "$scratch/short"; return 1; }
    nothing_left
}
interrupted() {
    run_bench "pgbench dbench-1 untar cp rm" "ext4 varve floor" >"$scratch/short" 2>&1 &
    local pid=$!
    for _ in $(seq 100); do
        grep -q . "$scratch"/tmp/*/run/varve.pid 2>/dev/null && break
        sleep 0.1
    done
    pkill -TERM -P $pid
    wait $pid
    nothing_left
}
floor_is_asked_the_same() {
    mkdir -p "$scratch/floor" "$scratch/vol"
    setsid "$bench" floor "$scratch/floor" --counts "$scratch/counts" >"$scratch/floor.log" 2>&1 </dev/null &
    scratch_volume vol >/dev/null || return 1
    for _ in $(seq 50); do mountpoint -q "$scratch/floor" && break; sleep 0.1; done
    python3 - "$scratch" "$VARVE" <<'END'
import os, struct, subprocess, sys
scratch, varve = sys.argv[1:]
NAMES = {1: "LOOKUP", 3: "GETATTR", 4: "SETATTR", 6: "SYMLINK", 9: "MKDIR", 10: "UNLINK", 11: "RMDIR", 12: "RENAME", 13: "LINK", 15: "READ",
         16: "WRITE", 18: "RELEASE", 20: "FSYNC", 21: "SETXATTR", 22: "GETXATTR", 28: "READDIR", 35: "CREATE", 44: "READDIRPLUS", 45: "RENAME2"}
def work(top):
    os.chdir(top)
    os.close(os.open(".", os.O_RDONLY))
    for i in range(30):
        os.mkdir("d%d" % i)
        with open("d%d/f" % i, "wb") as f: f.write(b"x" * 10000); f.flush(); os.fsync(f.fileno())
        os.symlink("f", "d%d/l" % i)
        os.link("d%d/f" % i, "d%d/g" % i)
        with open("d%d/f" % i, "rb") as f: assert f.read() == b"x" * 10000
        os.setxattr("d%d/f" % i, "user.a", b"value")
        assert os.getxattr("d%d/f" % i, "user.a") == b"value"
        os.rename("d%d/g" % i, "d%d/h" % i)
        os.rename("d%d/h" % i, "d%d/l" % i)
        os.truncate("d%d/f" % i, 100)
        assert sorted(os.listdir("d%d" % i)) == ["f", "l"] and os.stat("d%d/f" % i).st_size == 100
        os.chmod("d%d/f" % i, 0o600)
        os.unlink("d%d/f" % i)
    for i in range(30):
        os.unlink("d%d/l" % i)
        os.rmdir("d%d" % i)
    os.chdir("/")
def of_varve():
    out = subprocess.run([varve, "requests", scratch + "/vol.store/main"], capture_output=True, text=True, check=True).stdout
    return {k: int(n) for k, n in (l.split() for l in out.splitlines())}
def of_floor():
    return dict(enumerate(struct.unpack("64Q", open(scratch + "/counts", "rb").read())))
for top in ("floor", "vol"): # each learns that OPEN, OPENDIR, FLUSH and statx are not needed
    open(scratch + "/" + top + "/first", "w").close(); open(scratch + "/" + top + "/first").close(); os.unlink(scratch + "/" + top + "/first")
v0, f0 = of_varve(), of_floor()
work(scratch + "/vol"); work(scratch + "/floor")
v1, f1 = of_varve(), of_floor()
bad = ["%s: varve %d, floor %d" % (NAMES[c], v1[NAMES[c]] - v0[NAMES[c]], f1[c] - f0[c]) for c in NAMES
       if v1[NAMES[c]] - v0[NAMES[c]] != f1[c] - f0[c]]
assert not bad, bad
assert f1[35] - f0[35] == 30 and f1[16] > f0[16]
END
}

mounted+=("$scratch/floor" "$scratch/vol") # tests run in shells of their own
ok "rows are named, once each" rows_are_named
ok "medians of rounds, and how far they lie apart" medians_of_rounds
ok "latency counts for L, rate for R" latency_and_rate
ok "a row's limit is its bound or the floor's" bound_or_floor
ok "an option has a bound of its own" bound_of_an_option
ok "rows that compare varve with itself, or with a time" compared_with_itself
ok "a red row is a failure" red_is_a_failure
ok "the document has figures, peers, and who is missing" document_says_it
ok "the document says when the machine was busy" document_of_a_busy_machine
ok "a short run writes no document" no_document_of_a_short_run
ok "the floor is asked the same as varve" floor_is_asked_the_same
ok "a short run of some rows" short_run
ok "a filesystem that is not there is named" place_that_is_not
ok "a daemon that dies leaves nothing behind" daemon_that_dies
ok "an interrupted run leaves nothing behind" interrupted
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
