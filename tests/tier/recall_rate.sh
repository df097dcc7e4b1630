#!/bin/bash
# How fast released bytes come back, beside a plain copy from the same place: read from front to back through a mount, and by
# `varve tier recall`, which is compared with a copy that is put on the disk, too; from a directory (cp) and from an S3 server (curl).
# Rounds take turns, medians are compared.
# On a busy machine GROUP=-20 says how its processes' scheduling groups weigh (/proc/PID/autogroup; for the shell's own the caller cares).
# `recall_rate.sh [dir|s3...]`; SIZE= in MiB, ROUNDS=, TMPDIR= where all of it lies; BOUND= fails what is below it (none by default).
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/lib.sh"
. "$here/s3_server.sh"
SIZE=${SIZE:-512} ROUNDS=${ROUNDS:-5}
if [ "${SCALE:-full}" = short ]; then SIZE=32 ROUNDS=1; fi

load=$(cut -d' ' -f1-3 /proc/loadavg) results=$(readlink -f "$BUILD")/log/recall.tsv
mkdir -p "${results%/*}"
: >"$results"

now() { date +%s%N; }
# timed NAME COMMAND...: appends the milliseconds to the figures of NAME
timed() {
    local name=$1 began
    shift
    began=$(now)
    ok "$@"
    echo $((($(now) - began) / 1000)) >>"$dir/us.$name"
}
median() { sort -n "$dir/us.$1" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
# clocks PID: its processor time, hundredths of a second
clocks() { awk '{print $14 + $15}' "/proc/$1/stat" 2>/dev/null || echo 0; }

begin() { # $url: a repository there that has all of a volume whose only file is $dir/m/big
    mkdir -p "$dir"
    random 64 >"$dir/key"
    ok varve repo init "$url" --key-file "$dir/key"
    new_volume
    random $((SIZE << 20)) >"$dir/m/big"
    sum=$(sha256sum <"$dir/m/big")
    ok varve backup run "$dir/m" --to "$url" --key-file "$dir/key"
}
released() { # nothing of it is here, nor in the kernel's memory, nor on its way to the disk
    ok varve tier release "$dir/m" "$url" --key-file "$dir/key"
    cd /
    ok varve umount "$dir/m"
    ok varve mount "$dir/s" "$dir/m"
    ok varve tier status "$dir/m" --json
    [ "$(json 'd["remote_bytes"]')" = $((SIZE << 20)) ] || fail "not all of it is released: $out"
    local p
    head -c 4096 "$dir/m/big" >"$dir/head" # the process that serves the repository runs
    sleep 1                                # what was released is punched
    sync
    [ -z "${GROUP:-}" ] || for p in "$(head -n 1 "$dir/s/lock")" $(served_by "$url") ${s3_pid:-}; do
        echo "$GROUP" >"/proc/$p/autogroup"
    done
}
spent() { # what the daemon and who serves the repository have used so far
    local t=0 p
    for p in "$(head -n 1 "$dir/s/lock")" $(served_by "$url"); do t=$((t + $(clocks "$p"))); done
    echo $t
}
read_through() { cat "$dir/m/big" >/dev/null; }
on_disk() { "$1" && sync -f "$dir/plain"; }
rounds() { # plain: the other copy, a command that makes $dir/plain
    local i was
    for ((i = 0; i < ROUNDS; i++)); do
        rm -rf "$dir/plain"
        sync
        timed plain "$1"
        rm -rf "$dir/plain"
        sync
        timed synced on_disk "$1"
        rm -rf "$dir/plain"
        released
        was=$(spent)
        timed read read_through
        echo $(($(spent) - was)) >>"$dir/us.cpu"
        [ "$(sha256sum <"$dir/m/big")" = "$sum" ] || fail 'other bytes'
        released
        timed tier varve tier recall "$dir/m"
        [ "$(sha256sum <"$dir/m/big")" = "$sum" ] || fail 'other bytes'
    done
}
told() { # PLACE
    local plain synced read tier
    plain=$(median plain) synced=$(median synced) read=$(median read) tier=$(median tier)
    awk -v n="$1" -v s="$SIZE" -v p="$plain" -v y="$synced" -v r="$read" -v t="$tier" -v c="$(median cpu)" -v b="${BOUND:-0}" -v tsv="$results" 'BEGIN {
        printf "%s\t%d\t%g\t%g\t%g\t%g\t%g\n", n, s, p / 1e6, y / 1e6, r / 1e6, t / 1e6, c / 100 >>tsv
        printf "    from %s, %d MiB: plain copy %.2f s (on disk %.2f), read %.2f s (%.2f of its rate), tier recall %.2f s (%.2f); %.2f s of processor for the read\n",
            n, s, p / 1e6, y / 1e6, r / 1e6, p / r, t / 1e6, y / t, c / 100
        exit p / r < b || y / t < b }' || fail "below $BOUND"
}

copied() { cp -r "$dir/r/packs" "$dir/plain"; }
test_dir() {
    url=dir:$dir/r
    begin
    rounds copied
    told "a directory"
}

downloaded() { # by one curl over one connection
    curl -sSf -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --aws-sigv4 aws:amz:us-east-1:s3 \
        -u "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" -K "$dir/urls" >"$dir/plain"
}
test_s3() {
    s3_case_get && s3_case_start "$dir/srv" bucket || return
    url="s3://bucket/r?endpoint=$s3_endpoint"
    begin
    (cd "$dir/srv/data/bucket" && find r/packs -type f -printf "url = \"$s3_endpoint/bucket/%p\"\n") >"$dir/urls"
    rounds downloaded
    told "S3 (versitygw)"
    unmount_all
    s3_stop
}

if [ $# -gt 0 ]; then run_cases "${@/#/test_}"; else run_cases test_dir test_s3; fi
# a run that is short, or of one place, writes no document
[ "$(wc -l <"$results")" -lt 2 ] || [ "${SCALE:-full}" = short ] ||
    python3 -B "$here/../bench/section.py" recall --document "$here/../../docs/performance.md" --about "$(measured_on "$load")" "$results"
suite_end
