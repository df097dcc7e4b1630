#!/bin/bash
# bench: what work costs on varve, as a multiple of a journalled ext4 that the bench makes and that also carries the store; beside it
# what a user would take instead, and a floor. Figures, ratios and verdicts: tests/bench/report.py; rows: build/tests/bench rows.
#   ONLY=takeover   what it costs to be ready for a takeover: varve beside one that is not, in turns, on one processor
#   ONLY="row..."   SCALE=short (does it run?)   TARGETS="ext4 varve floor ..."   ROUNDS=N   DISK_MIB=N
# A full run of all rows writes docs/performance.md. All results stay in $BUILD/bench; `make bench-report` puts the latest of each row
# together in docs/performance.md.
set -u
cd "$(dirname "$0")/../.." || exit 1
# mounts of its own: they end with it, whatever happens
if [ -z "${BENCH_NS:-}" ] && [ "$(id -u)" = 0 ] && unshare -m --propagation private true 2>/dev/null; then
    BENCH_NS=1 exec unshare -m --propagation private "$0" "$@"
fi
. tests/tools/mounted.sh
short=$([ "${SCALE:-full}" = short ] && echo 1 || echo)
cost=() pin=()
if [ "${ONLY:-}" = takeover ]; then
    ONLY="create create-4k mkdir unlink rename chmod getxattr stat append-128 create-fsync overwrite-fsync"
    TARGETS="varve@bare varve" ROUNDS=${ROUNDS:-9} DISK_MIB=${DISK_MIB:-2048}
    cost=(--cost varve@bare varve 1.03) pin=(taskset -c 0)
fi
ROUNDS=${ROUNDS:-$([ "$short" ] && echo 1 || echo 5)}
DISK_MIB=${DISK_MIB:-$([ "$short" ] && echo 1536 || echo 16384)}
PEERS="passthrough_hp passthrough_hp-uring passthrough_hp-kernel bindfs mergerfs fuse-overlayfs juicefs"
TARGETS=${TARGETS:-ext4 varve floor$([ "$short" ] || echo " $PEERS")}
BENCH=$(readlink -f "$BUILD")/tests/bench
BENCH_RUN=$scratch/run
export BENCH BENCH_RUN VARVE VARVE_CACHE
unset BENCH_NS

[ -e /dev/fuse ] || skip_suite "no /dev/fuse here"
[ "$(id -u)" = 0 ] || skip_suite "needs root"
losetup -f >/dev/null 2>&1 || skip_suite "no loop devices here"
command -v python3 >/dev/null || skip_suite "needs python3"

targets() { tests/bench/targets.sh "$@"; }

# with the programs that it runs: they stand in the mounts
harness_end() {
    kill -- "-$harness"
    wait "$harness"
    for f in $(seq 100); do
        kill -0 -- "-$harness" || return
        sleep 0.1
    done
    kill -9 -- "-$harness"
}

# whatever was begun is ended: also when a row failed, or when somebody lost patience
bench_release() {
    local rc=$? f
    trap - EXIT INT TERM HUP
    cd "$top" || exit 1
    [ -z "${harness:-}" ] || harness_end 2>/dev/null
    for f in "$BENCH_RUN"/*.pid; do
        [ ! -e "$f" ] || targets down "$(basename "$f" .pid)"
    done
    targets disk-down
    (exit $rc)
    scratch_release
}
top=$PWD
trap bench_release EXIT
trap 'exit 130' INT TERM HUP

mkdir -p "$BENCH_RUN/mnt"
chmod 711 "$BENCH_RUN"
cp tests/bench/apps.sh "$BENCH_RUN/"
why=$(targets disk-up "$DISK_MIB") || skip_suite "$why"
"$BENCH" tree "$BENCH_RUN/tree" "$([ "$short" ] && echo 300 || echo 3000)" || exit 1
tar -C "$BENCH_RUN" -cf "$BENCH_RUN/tree.tar" tree

mkdir -p "$BUILD/bench"
results=$BUILD/bench/$(date -u +%Y%m%dT%H%M%S)-$$.tsv
changed=$(git status --porcelain --untracked-files=no 2>/dev/null | grep -v docs/performance.md | head -n 1)
cat >"$results" <<END
#commit $(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)${changed:+ with changes}
#kernel $(uname -r)
#date $(date -u +%Y-%m-%d)
#scale ${SCALE:-full}
#rounds $ROUNDS
#processors $(nproc)
#load_before $(cut -d' ' -f1-3 /proc/loadavg)
END

args=()
for row in ${ONLY:-}; do args+=(--only "$row"); done
[ -z "$short" ] || args+=(--short)
# shellcheck disable=SC2086
setsid "${pin[@]}" "$BENCH" run --run "$BENCH_RUN" --targets "$top/tests/bench/targets.sh" --out "$results" --rounds "$ROUNDS" "${args[@]}" $TARGETS &
harness=$!
wait $harness
rc=$?
harness=
printf '#load_after %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)" >>"$results"
[ $rc -le 1 ] || { mv "$results" "$results.broken"; say "the bench itself failed ($rc)"; exit $rc; }

doc=
[ "$short" ] || [ "${ONLY:-}" ] || doc="--document docs/performance.md"
# shellcheck disable=SC2086
python3 tests/bench/report.py --bench "$BENCH" "${cost[@]}" $doc "$results"
