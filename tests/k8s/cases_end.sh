# Sourced by cluster.sh: the last cases, and what runs them all.

test_flexvolume() {
    local n
    for n in 1 2; do
        on $n /opt/varve/bin/varve-flex install /run/flex /var/lib/varve/store >/dev/null || fail "node$n: not installed"
    done
    k apply -f "$EX/flexvolume.yaml" >/dev/null
    running flex || return
    n=$(number flex)
    within in_pod flex test -s /data/file || fail 'not written'
    drop pod/flex
    # the same volume, by a persistent volume
    sed -n '/^kind: Pod$/,$p' "$EX/flexvolume.yaml" | sed '1i apiVersion: v1' | python3 -c '
import sys, yaml
pod = yaml.safe_load(sys.stdin)
flex, node = pod["spec"]["volumes"][0].pop("flexVolume"), sys.argv[1]
pod["metadata"]["name"] = "flex-claim"
pod["spec"]["containers"][0]["command"] = ["sh", "-c", "cat /data/file; sleep 1000000"]
pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
pod["spec"]["volumes"][0]["persistentVolumeClaim"] = {"claimName": "flex"}
common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
yaml.safe_dump_all([pod,
    {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "flex"}, "spec": {"capacity": {"storage": "1Gi"}, "flexVolume": flex, "persistentVolumeReclaimPolicy": "Retain"} | common},
    {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "flex"}, "spec": {"volumeName": "flex", "resources": {"requests": {"storage": "1Gi"}}} | common}], sys.stdout)' "node$n" | k apply -f - >/dev/null
    running flex-claim || return
    [ "$(in_pod flex-claim cat /data/file)" = flex ] || fail 'another volume'
    drop pod/flex-claim pvc/flex pv/flex
    [ -z "$(mounts_left "$n" | grep flex)" ] || fail "$(mounts_left "$n")"
    on "$n" /opt/varve/bin/varve delete /var/lib/varve/store/web --now >/dev/null || fail 'the volume has not stayed'
}

test_nothing_is_left() {
    local n
    drop volumesnapshot/data-1 pod/writer pvc/data
    within sh -c '[ -z "$(kubectl get pv -o name)" ]' || fail "$(k get pv)"
    for n in 1 2; do
        within test -z "$(mounts_left $n)" || fail "node$n: $(mounts_left $n)"
        for ((i = 0; i < 60; i++)); do [ -n "$(volumes_left $n)" ] || break; sleep 1; done
        [ -z "$(volumes_left $n)" ] || fail "node$n: $(volumes_left $n)"
    done
}

# the manifest goes, the chart comes: what was made before is served on
test_installed_by_helm() {
    local n
    [ -x "$bin/helm" ] || { skip='no helm; tests/k8s/get.sh helm says why'; return; }
    k apply -f "$deploy/varve.yaml" >/dev/null # another image was, perhaps
    helm template varve "$deploy/chart" --namespace varve-system --kube-version "$KUBE" | k apply --dry-run=server -f - 2>&1 | grep -v ' unchanged (server dry run)$' | grep . \
        && fail 'the chart is not what was applied'
    k delete --wait=true --timeout=${NEEDS}s -f "$deploy/varve.yaml" >/dev/null || fail 'not removed'
    helm install varve "$deploy/chart" --namespace varve-system --create-namespace --wait --timeout ${NEEDS}s >"$logs/helm.log" 2>&1 || { fail "$(cat "$logs/helm.log")"; return; }
    k apply -f "$EX/pvc.yaml" >/dev/null
    running writer || return
    within in_pod writer grep -q hello /data/greeting || fail 'not written'
    drop pod/writer pvc/data
    within sh -c '[ -z "$(kubectl get pv -o name)" ]' || fail "$(k get pv)"
    helm uninstall varve --namespace varve-system --wait --timeout ${NEEDS}s >"$logs/helm.log" 2>&1 || fail "$(cat "$logs/helm.log")"
    for n in 1 2; do
        [ -z "$(mounts_left $n)" ] || fail "node$n: $(mounts_left $n)"
        on $n /opt/varve/bin/varve status "$STORE" >/dev/null || fail "node$n: its store went with the chart"
    done
}

run_one() {
    local began=$SECONDS
    failures=0 skip=''
    "$1"
    if [ -n "$skip" ]; then
        skipped=$((skipped + 1))
        say "skipped $1: $skip"
        return
    fi
    if [ "$failures" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    say "$([ "$failures" = 0 ] && echo ok || echo FAILED) $1 $((SECONDS - began))s"
}

asked() { [ -z "$*" ] || [[ " $* " == *" $t "* ]]; }
run_cases() {
    local t
    network || { failed=1; return; }
    if [ -z "${K8S_MISSING:-}" ]; then
        certificates && control_plane || { failed=1; return; }
        run_one test_objects_are_taken
    fi
    nodes_up || { failed=$((failed + 1)); return; }
    t=test_containers_alone
    ! asked "$@" || run_one $t
    if [ -n "${K8S_MISSING:-}" ]; then
        skipped=1
        say "skipped all that needs Kubernetes: $K8S_MISSING"
        return
    fi
    kubelets_up || { failed=$((failed + 1)); return; }
    for t in $(sed -n 's/^\(test_[a-z_]*\)() .*/\1/p' "${cases[@]}"); do
        case $t in
        test_containers_alone | test_objects_are_taken) ;;
        test_driver_on_both_nodes | test_claim_and_pod)
            run_one $t
            [ "$failures" = 0 ] || return # the others need it
            ;;
        *) ! asked "$@" || run_one "$t" ;;
        esac
    done
}
