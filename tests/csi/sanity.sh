#!/bin/bash
# csi-sanity, the checks that Kubernetes' people publish for every driver, against varve-csi, a daemon and a store: no failure, one test
# skipped at most. Built once from Go's module proxy. `sanity.sh ARGS...`: for csi-sanity, -ginkgo.focus=Node say.
#
# Its test of snapshots with accessibility requirements compares a message that was sent with one that was received by their Go structs,
# of which the sent one has a cached size: no driver that tells where a snapshot is can pass. Here the driver does not tell it
# (--no-snapshot-topology), which skips that test; tests/csi/live.c asks for it.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/mounted.sh"
. "$here/driver.sh"
CSI_SANITY=v5.6.0
CSI_SPEC=v1.13.0
GO_MIN=1.24
bin=$VARVE_CACHE/csi/bin/csi-sanity-$CSI_SANITY

sanity_get() {
    local go dir=${bin%/*}
    [ ! -x "$bin" ] || return 0
    go=$(go env GOVERSION 2>/dev/null)
    at_least "${go#go}" $GO_MIN || { say "csi-sanity needs Go >= $GO_MIN; here: ${go:-none}"; return 1; }
    mkdir -p "$dir"
    say "building csi-sanity $CSI_SANITY (once)"
    (cd "$dir" && GOBIN=$dir GOFLAGS='-buildvcs=false -p=2' CGO_ENABLED=0 nice go install -trimpath -ldflags='-s -w' \
        "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@$CSI_SANITY") >"$bin.log" 2>&1 \
        || { say "csi-sanity cannot be built: $(tail -n 1 "$bin.log")"; return 1; }
    mv "$dir/csi-sanity" "$bin"
}

# names_compare: our messages have the names and numbers of the published ones
names_compare() {
    local dir
    dir=$(cd / && go mod download -json "github.com/container-storage-interface/spec@$CSI_SPEC" 2>/dev/null | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -n "$dir" ] || { say "    the published csi.proto $CSI_SPEC cannot be had"; return 1; }
    "$here/proto_names.py" "$here/../../plugin/proto/csi.proto" "$dir/csi.proto" | sed 's/^/    /'
    return "${PIPESTATUS[0]}"
}

suite_needs_mounts
sanity_get >"$scratch/why" 2>&1 || skip_suite "$(tail -n 1 "$scratch/why")"
trap 'driver_end; scratch_release' EXIT
driver_begin --max-volumes 8 --no-snapshot-topology
echo 'profile: database' >"$scratch/class.yaml"
"$bin" -csi.testvolumemutableparameters "$scratch/class.yaml" -csi.endpoint "unix://$sock" -csi.mountdir "$scratch/mount" -csi.stagingdir "$scratch/stage" \
    -csi.testvolumesize 1073741824 -csi.testvolumeexpandsize 2147483648 -csi.testnodevolumeattachlimit \
    -ginkgo.no-color -ginkgo.timeout=300s "$@" >"$scratch/log" 2>&1
grep -E '^Ran |^FAIL!|^SUCCESS!' "$scratch/log"
read -r passed failed skipped < <(sed -nE 's/^(FAIL|SUCCESS)! -- ([0-9]+) Passed \| ([0-9]+) Failed \| ([0-9]+) Pending \| ([0-9]+) Skipped.*/\2 \3 \5/p' "$scratch/log")
[ -n "${passed:-}" ] || { passed=0 failed=1 skipped=0; }
[ "$failed" = 0 ] || cat "$scratch/log"
[ $# -gt 0 ] || [ "$skipped" -le 1 ] || { say "$skipped tests were skipped, more than one"; failed=$((failed + 1)); }
if [ $# -eq 0 ]; then
    if names_compare; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
fi
say "    $(grep VmHWM "/proc/$csi_pid/status") of varve-csi"
driver_left || failed=$((failed + 1))
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
