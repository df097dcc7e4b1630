#!/bin/bash
# bench-backup: backup and restore beside restic, kopia and borg (tests/bench-backup/bench.py, report.py). Not for a busy machine.
#   ONLY="first unchanged ten changed restore lz4 s3 many mount"   FILES=20000 DB=2G ROUNDS=3 INCREMENTS=100 MANY=1000000   PEERS="restic ..."
# Works below $TMPDIR, which takes some 20 GiB. SCALE=short: does the harness measure? A small tree, varve alone.
# A full run writes its section of docs/performance.md; results stay in $BUILD/bench-backup.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tools/mounted.sh
. tests/tier/s3_server.sh
suite_needs_mounts
here=tests/bench-backup
out=$(readlink -f "$BUILD")/bench-backup
mkdir -p "$out"
results=$out/$(date -u +%Y%m%dT%H%M%S)-$$.jsonl
bench() { python3 -B $here/bench.py --build "$(readlink -f "$BUILD")" --work "$scratch" --out "$results" "$@"; }
export VARVE_TIERD
VARVE_TIERD=$(readlink -f "$BUILD")/varve-tierd
unset VARVE_PASSPHRASE

stop() {
    local rc=$?
    trap - EXIT
    s3_stop
    "$VARVE" umount "$scratch/volume" >/dev/null 2>&1
    "$VARVE" umount "$scratch/many" >/dev/null 2>&1
    (exit $rc)
    scratch_release
}
trap stop EXIT

# what the rows would say, of figures that are known
self_test() {
    local failed=0
    bench --short --rounds 1 --increments 2 --db 8M --files 200 --many 1000 --only 'first unchanged ten changed restore lz4 many' >"$scratch/said" 2>&1 \
        || { cat "$scratch/said"; failed=1; }
    python3 -B $here/self_test.py "$results" "$scratch" || failed=1
    rm -f "$results"
    say "$((2 - failed)) passed, $failed failed, 0 skipped"
    return $failed
}
if [ "${SCALE:-full}" = short ]; then
    self_test
    exit
fi

export AWS_ACCESS_KEY_ID=AKTESTAKTEST AWS_SECRET_ACCESS_KEY=SKTESTSKTESTSKTEST AWS_EC2_METADATA_DISABLED=true
args=(--db "${DB:-2G}" --files "${FILES:-20000}" --rounds "${ROUNDS:-3}" --increments "${INCREMENTS:-100}" --many "${MANY:-1000000}")
[ -z "${ONLY:-}" ] || args+=(--only "$ONLY")
! "$VARVE" mount --help 2>&1 | grep -q -- --from || args+=(--mount-verb)
while read -r peer; do
    args+=(--peer "$peer")
done < <($here/peers.sh)
case " ${ONLY:-s3 mount} " in *' s3 '* | *' mount '*)
    if s3_get versitygw >"$scratch/why" 2>&1 && s3_start versitygw "$scratch/server" >"$scratch/why" 2>&1; then
        for i in $(seq 50); do
            tests/tier/s3_tool.py "$s3_endpoint" PUT /bench >/dev/null 2>&1 && break
            sleep 0.1
        done
        args+=(--s3 "${s3_endpoint#http://}" --s3-data "$scratch/server/data" --bucket bench)
    else
        args+=(--s3-why "$(tail -n 1 "$scratch/why")")
    fi
    ;;
esac
load=$(cut -d' ' -f1-3 /proc/loadavg)
bench "${args[@]}"
rc=$?
about=$(measured_on "$load")
doc=
[ "${ONLY:-}" ] || [ "${FILES:-}${DB:-}${INCREMENTS:-}" ] || [ $rc -ne 0 ] || doc="--document docs/performance.md"
# shellcheck disable=SC2086
python3 -B $here/report.py $doc --about "$about" "$results"
exit $((rc | $?))
