#!/bin/bash
# At the edge of what a process, a connection, a store may have: descriptors, memory, mounts, requests at once, directories renamed
# across each other, inodes that the kernel forgets. SCALE=short: less of each, less than half a minute in all.
#   tests/limits/run.sh [descriptors|memory|cgroup|mounts|requests|storm|forget|texts]...
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/tools/mounted.sh
[ -e /dev/fuse ] || skip_suite "no /dev/fuse here"
[ "$(id -u)" = 0 ] || skip_suite "needs root"
prog=$(readlink -f "$BUILD")/tests/limits log=$(readlink -f "$BUILD")/log
mkdir -p "$log"
parts=${*:-descriptors memory cgroup mounts requests storm forget texts}
passed=0 failed=0 skipped=0
files=4000 mounts=50 requests=10000 storm_threads=32 storm_s=20 inodes=50000 views=20 texts=20000
[ "${SCALE:-full}" != short ] || files=500 mounts=50 storm_threads=16 storm_s=3 inodes=6000 views=9 texts=3000

verdict() { # rc, what
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok      $2"
    else
        failed=$((failed + 1))
        echo "FAILED  $2"
    fi
}
proved() { # command..., what: its exit code
    "${@:1:$#-1}"
    verdict $? "${*: -1}"
}
at_most() { # figure, bound, what, unit
    awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'
    verdict $? "$3: $1${4:+ $4} (at most $2)"
}
pid_of() { sed -n 's/^ *"daemon_pid": *\([0-9]*\).*/\1/p' <("$VARVE" status "$1" --json); }
of_process() { awk -v f="$2:" '$1 == f { print $2 }' "/proc/$1/status"; }
mib() { awk -v k="$1" 'BEGIN { printf "%.1f", k / 1024 }'; }
descriptors_of() { ls "/proc/$1/fd" 2>/dev/null | wc -l; }

# the volume's life ends well: the same daemon to the end, writable, and nothing that check would find
end_volume() { # NAME daemon
    local mode
    mode=$("$VARVE" status "$scratch/$1.store" --json | sed -n 's/^ *"mode": *"\([a-z]*\)".*/\1/p')
    [ "$(pid_of "$scratch/$1.store")" = "$2" ] && [ "$mode" = rw ]
    verdict $? "$1: the same daemon is there, and writes"
    "$VARVE" umount "$scratch/$1" && "$VARVE" check "$scratch/$1.store" >"$log/limits-$1.check"
    verdict $? "$1: check finds nothing"
    grep -aE ' (error|fatal) ' "$scratch/$1.store/log/daemon.log" | head -n 3
}

part_descriptors() {
    local d n
    (ulimit -n 64 && scratch_volume few >/dev/null) || return 1
    mounted+=("$scratch/few")
    d=$(pid_of "$scratch/few.store")
    proved "$prog" files "$scratch/few/a" "$files" 16 "64 descriptors: $files files by 16 threads"
    at_most "$(descriptors_of "$d")" 64 "64 descriptors: open"
    n=$(descriptors_of "$d")
    prlimit --pid "$d" --nofile=$((n > 30 ? n - 12 : n)):64
    proved "$prog" files "$scratch/few/b" "$((files / 2))" 16 EMFILE ENFILE "fewer than are open already ($n): what cannot be is refused"
    prlimit --pid "$d" --nofile=12:64
    proved "$prog" files "$scratch/few/c" "$((files / 4))" 16 EMFILE ENFILE "none left at all: what cannot be is refused"
    prlimit --pid "$d" --nofile=64:64
    sleep 0.2
    proved "$prog" files "$scratch/few/b" "$((files / 2))" 16 "64 again: all goes on"
    end_volume few "$d"
    scratch_volume many >/dev/null
    d=$(pid_of "$scratch/many.store")
    n=$((files < 1500 ? 1500 : files))
    proved "$prog" files "$scratch/many/a" "$n" 16 "$n files, each an object"
    at_most "$(descriptors_of "$d")" 1100 "descriptors after it"
    end_volume many "$d"
}

part_memory() {
    local d vm data spare
    scratch_volume memory >/dev/null
    d=$(pid_of "$scratch/memory.store")
    for spare in 2048 0 -65536; do
        vm=$(of_process "$d" VmSize) data=$(of_process "$d" VmData)
        prlimit --pid "$d" --as=$(((vm + spare) * 1024)):unlimited --data=$(((data + spare) * 1024)):unlimited
        proved "$prog" files "$scratch/memory/a$spare" "$((files * 2))" 16 ENOMEM "$(mib $spare) MiB more than it has: what cannot be is refused"
        "$VARVE" status "$scratch/memory.store" --json >/dev/null 2>&1 || echo "  (status had no room)"
        prlimit --pid "$d" --as=unlimited:unlimited --data=unlimited:unlimited
    done
    proved "$prog" files "$scratch/memory/b" "$((files / 3))" 16 "without a limit again: all goes on"
    end_volume memory "$d"
}

# A control group for keeper and daemon with so many bytes, their page cache included: $group, and what it counts.
group_make() { # bytes
    local v1=/sys/fs/cgroup/memory v2
    v2=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
    group=
    if [ -n "$v2" ] && grep -qw memory "$v2/cgroup.subtree_control" 2>/dev/null; then
        mkdir "$v2/varve-limits-$$" 2>/dev/null && echo "$1" >"$v2/varve-limits-$$/memory.max" && group=$v2/varve-limits-$$
    elif [ -w "$v1/cgroup.procs" ]; then
        mkdir "$v1/varve-limits-$$" 2>/dev/null && echo "$1" >"$v1/varve-limits-$$/memory.limit_in_bytes" && group=$v1/varve-limits-$$
    fi
    [ -n "$group" ]
}
group_kills() { cat "$group"/memory.events "$group"/memory.oom_control 2>/dev/null | awk '$1 == "oom_kill" { print $2 }'; }

part_cgroup() {
    local d k
    group_make $((160 << 20)) || { skipped=$((skipped + 1)); echo "skip    no control group for memory here"; return; }
    scratch_volume group >/dev/null
    d=$(pid_of "$scratch/group.store")
    k=$(of_process "$d" PPid)
    echo "$k" >"$group/cgroup.procs"
    echo "$d" >"$group/cgroup.procs"
    dd if=/dev/urandom of="$scratch/random" bs=1M count=200 status=none
    cp "$scratch/random" "$scratch/group/random" && dd if="$scratch/group/random" iflag=direct bs=1M status=none | cmp - "$scratch/random"
    verdict $? "160 MiB for the daemon and its page cache: 200 MiB written and read"
    proved "$prog" files "$scratch/group/a" "$files" 16 "160 MiB: $files files by 16 threads"
    verdict "$(group_kills)" "160 MiB: nobody was killed for want of memory"
    end_volume group "$d"
    sleep 0.2
    rmdir "$group" 2>/dev/null || { sleep 2; rmdir "$group"; }
}

part_mounts() {
    local d i before after bad=0 began ended s=$scratch/mounts.store
    scratch_volume mounts >/dev/null
    d=$(pid_of "$s")
    echo content >"$scratch/mounts/file"
    for ((i = 1; i <= mounts; i++)); do
        mkdir "$scratch/mounts/.snapshots/s$i" "$scratch/m-v$i" "$scratch/m-s$i" && "$VARVE" create "$s/v$i" >/dev/null || bad=1
    done
    before=$(of_process "$d" RssAnon) began=$(date +%s%N)
    for ((i = 1; i <= mounts; i++)); do
        mounted+=("$scratch/m-v$i" "$scratch/m-s$i")
        "$VARVE" mount "$s/v$i" "$scratch/m-v$i" >/dev/null && "$VARVE" mount "$s/main@s$i" "$scratch/m-s$i" >/dev/null || bad=1
    done
    ended=$(date +%s%N)
    for ((i = 1; i <= mounts; i++)); do
        echo "$i" >"$scratch/m-v$i/own" && [ "$(cat "$scratch/m-v$i/own" "$scratch/m-s$i/file")" = "$i
content" ] || bad=1
        ! touch "$scratch/m-s$i/new" 2>/dev/null || bad=1
    done
    verdict $bad "$((2 * mounts)) more mounts of one store, half of them snapshots: each as it should be ($(((ended - began) / 2000000 / mounts)) ms for one)"
    for ((i = 1; i <= mounts; i++)); do
        "$prog" files "$scratch/m-v$i/a" 16 8 >>"$log/limits-mounts.out" || bad=1
    done
    verdict $bad "load on each of them"
    after=$(of_process "$d" RssAnon)
    echo "        RssAnon $(mib "$after") MiB, threads $(of_process "$d" Threads) under load"
    for ((i = 0; i < 100; i++)); do
        [ "$(of_process "$d" Threads)" -gt $((2 * mounts + 40)) ] || break
        sleep 0.1
    done
    sleep 0.3
    after=$(of_process "$d" RssAnon)
    at_most "$(awk -v a="$after" -v b="$before" -v n="$((2 * mounts))" 'BEGIN { printf "%.2f", (a - b) / 1024 / n }')" 0.5 "memory for a mount at rest, RssAnon $(mib "$before") to $(mib "$after") MiB" MiB
    echo "        threads $(of_process "$d" Threads), descriptors $(descriptors_of "$d"), VmLck $(mib "$(of_process "$d" VmLck)") MiB"
    for ((i = 1; i <= mounts; i++)); do umount "$scratch/m-v$i" "$scratch/m-s$i" || bad=1; done
    verdict $bad "unmounted"
    sleep 0.5
    after=$(of_process "$d" RssAnon)
    at_most "$(awk -v a="$after" -v b="$before" 'BEGIN { printf "%.1f", (a - b) / 1024 }')" 12 "what is left of it, RssAnon $(mib "$after") MiB" MiB
    end_volume mounts "$d"
}

part_requests() {
    local d dev
    mkdir -p "$scratch/connections"
    mount -t fusectl none "$scratch/connections" && mounted+=("$scratch/connections") || { skipped=$((skipped + 1)); echo "skip    no fusectl here"; return; }
    scratch_volume requests >/dev/null
    d=$(pid_of "$scratch/requests.store")
    dev=$(mountpoint -d "$scratch/requests")
    proved "$prog" flood "$scratch/requests" "$requests" "$d" "$scratch/connections/${dev#*:}/waiting" "$requests requests at once are all answered"
    end_volume requests "$d"
}

part_storm() {
    local d
    scratch_volume storm >/dev/null
    d=$(pid_of "$scratch/storm.store")
    proved "$prog" storm "$scratch/storm/top" "$storm_threads" "$storm_s" "directories renamed across each other by $storm_threads threads"
    end_volume storm "$d"
}

forgotten() { "$VARVE" requests "$1" | awk '$1 == "forgotten" { print $2 }'; }

part_forget() {
    local d i before walked after n f
    scratch_volume forget >/dev/null
    d=$(pid_of "$scratch/forget.store")
    for ((i = 0; i < 20; i++)); do
        mkdir "$scratch/forget/d$i" && (cd "$scratch/forget/d$i" && seq -f 'f%g' "$((inodes / 20))" | xargs touch)
    done
    for ((i = 0; i < views; i++)); do mkdir "$scratch/forget/.snapshots/s$i"; done
    "$prog" walk "$scratch/forget" >/dev/null
    sleep 0.5
    before=$(of_process "$d" RssAnon) f=$(forgotten "$scratch/forget.store/main")
    n=$("$prog" walk "$scratch/forget" "$scratch"/forget/.snapshots/s*)
    verdict $? "$n names walked, each an inode to the kernel"
    walked=$(of_process "$d" RssAnon)
    sync -f "$scratch"
    echo 2 >/proc/sys/vm/drop_caches
    for ((i = 0; i < 100; i++)); do
        [ $(($(forgotten "$scratch/forget.store/main") - f)) -lt $((n * 9 / 10)) ] || break
        sleep 0.1
    done
    f=$(($(forgotten "$scratch/forget.store/main") - f))
    [ "$f" -ge $((n * 9 / 10)) ]
    verdict $? "$f of them forgotten"
    for ((i = 0; i < 40; i++)); do # it comes back when nothing has changed for a while
        sleep 0.25
        after=$(of_process "$d" RssAnon)
        [ $((after - before)) -gt 2048 ] || [ $i -lt 10 ] || break
    done
    at_most "$(awk -v a="$walked" -v b="$before" 'BEGIN { printf "%.1f", (a - b) / 1024 }')" 8 "memory for what the kernel knows, RssAnon $(mib "$before") to $(mib "$walked") MiB" MiB
    at_most "$(awk -v a="$after" -v b="$before" 'BEGIN { printf "%.1f", (a - b) / 1024 }')" 2 "and when it has forgotten, RssAnon $(mib "$after") MiB" MiB
    "$prog" walk "$scratch/forget" >/dev/null
    verdict $? "they are all there when asked again"
    end_volume forget "$d"
}

# The text of a control file is kept as long as the kernel knows that file, and no longer. Each reads another one.
read_texts() {
    local i
    for ((i = 0; i < $1; i++)); do
        echo >"$scratch/texts/file"
        read -r _ <"$scratch/texts/.snapshots/.control/status.json" || return 1
    done
}
part_texts() {
    local d before after
    scratch_volume texts >/dev/null
    d=$(pid_of "$scratch/texts.store")
    read_texts 500
    sleep 4 # workers that are asked nothing give their memory back
    before=$(of_process "$d" RssAnon) # some 2.5 MiB less where free pages were just given back, which is done every 30 s
    proved read_texts "$texts" "$texts texts of control files read"
    sleep 4
    after=$(of_process "$d" RssAnon)
    at_most "$(awk -v a="$after" -v b="$before" 'BEGIN { printf "%.1f", (a - b) / 1024 }')" 4 "memory for them, RssAnon $(mib "$before") to $(mib "$after") MiB" MiB
    end_volume texts "$d"
}

for part in $parts; do
    began=$(date +%s)
    echo "$part"
    part_"$part"
    echo "        $(($(date +%s) - began)) s"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
