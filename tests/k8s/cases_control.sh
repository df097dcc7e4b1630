# Sourced by cluster.sh: cases of the controller, which asks the nodes' drivers over the network, and of the certificates by which they know it.

system() { k -n varve-system "$@"; }
pods_of() { system get pods -l "app.kubernetes.io/component=$1" -o 'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[*].restartCount}{"\n"}{end}'; }
controller_node() { system get pods -l app.kubernetes.io/component=controller -o 'jsonpath={.items[0].spec.nodeName}' | tr -d a-z; }
controller_up() { system rollout status deployment/varve-controller --timeout=${NEEDS}s >/dev/null || fail "$(system describe pods -l app.kubernetes.io/component=controller | tail -n 20)"; }
# unavailable NAME: what an event of it says of a node that was asked in vain
unavailable() { k get events --field-selector "involvedObject.name=$1" -o 'jsonpath={range .items[*]}{.message}{"\n"}{end}' | grep -iE 'unavailable|another store|deadline'; }
# larger CLAIM SIZE, otherwise CLAIM CLASS: wait until it is so
larger() {
    k patch "pvc/$1" --type merge -p "{\"spec\": {\"resources\": {\"requests\": {\"storage\": \"$2\"}}}}" >/dev/null
    within is "pvc/$1" '{.status.capacity.storage}' "$2" || fail "$(k describe "pvc/$1" | tail -n 5)"
}
otherwise() {
    k patch "pvc/$1" --type merge -p "{\"spec\": {\"volumeAttributesClassName\": \"$2\"}}" >/dev/null
    within is "pvc/$1" '{.status.currentVolumeAttributesClassName}' "$2" || fail "$(k describe "pvc/$1" | tail -n 5)"
}
pair() {
    local n
    for n in 1 2; do
        sed "s/name: data$/name: pair-$n\n  labels: {app: pair}/; s/name: writer$/name: pair-$n/; s/claimName: data/claimName: pair-$n/; s/name: data,/name: data,/" "$EX/pvc.yaml" >$W/pair.yaml
        pinned $W/pair.yaml node$n | k apply -f - >/dev/null
    done
    running pair-1 && running pair-2
}

# one controller for the volumes of both nodes: that of the other one is not asked in vain
test_volumes_of_either_node() {
    local n
    pair || return
    for n in 1 2; do
        larger pair-$n 2Gi
        otherwise pair-$n varve-archive
        [ "$(in_pod pair-$n df -kP /data | awk 'NR == 2 { print $2 }')" -ge 2097000 ] || fail "$(in_pod pair-$n df -k /data)"
        [ -z "$(unavailable pair-$n)" ] || fail "$(unavailable pair-$n)"
        sed "s/name: data-1/name: pair-$n/; s/ClaimName: data/ClaimName: pair-$n/" "$EX/snapshot.yaml" | k apply -f - >/dev/null
        within is "volumesnapshot/pair-$n" '{.status.readyToUse}' true || fail "$(k get "volumesnapshot/pair-$n" -o 'jsonpath={.status.error.message}')"
    done
    drop volumesnapshot/pair-1 volumesnapshot/pair-2
    within sh -c '! kubectl get volumesnapshotcontents -o "jsonpath={.items[*].spec.volumeSnapshotRef.name}" | grep -q pair-' || fail 'a content stays'
    for n in 1 2; do
        [ "$(on $n sh -c 'for v in $(/opt/varve/bin/varve list '$STORE' | sed 1d | cut -d" " -f1); do /opt/varve/bin/varve snapshot list '$STORE'/$v; done' | grep -c snapshot-)" = \
            "$([ "$(number writer)" = $n ] && echo 1 || echo 0)" ] || fail "node$n: a snapshot stays"
    done
    drop pod/pair-1 pod/pair-2 pvc/pair-1 pvc/pair-2
}

test_controller_killed() {
    local n before
    n=$(controller_node)
    before=$(pods_of controller)
    on "$n" kill -9 "$(on "$n" pgrep -f 'varve-csi --controller')" || fail "no controller on node$n"
    within sh -c "[ '$before' != \"\$(kubectl -n varve-system get pods -l app.kubernetes.io/component=controller -o 'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[*].restartCount}{\"\\n\"}{end}')\" ]" \
        || fail 'it was not started again'
    controller_up
    larger data 3Gi
    system delete pod -l app.kubernetes.io/component=controller --wait=true >/dev/null
    controller_up
    larger data 4Gi
    [ "$(in_pod writer df -kP /data | awk 'NR == 2 { print $2 }')" -ge 4194000 ] || fail "$(in_pod writer df -k /data)"
}

authority() { system get "secret/$1" -o 'jsonpath={.data.ca\.crt}'; }
authorities_are_one() { [ -n "$(authority varve-node-tls)" ] && [ "$(authority varve-node-tls)" = "$(authority varve-controller-tls)" ]; }
another_authority() { authorities_are_one && [ "$(authority varve-node-tls)" != "$1" ]; }

test_certificates() {
    local before nodes
    within authorities_are_one || fail 'there are none'
    before=$(authority varve-node-tls)
    system delete pod -l app.kubernetes.io/component=controller --wait=true >/dev/null
    controller_up
    within sh -c 'kubectl -n varve-system get pods -l app.kubernetes.io/component=controller -o "jsonpath={.items[0].status.containerStatuses[?(@.name==\"certificates\")].state}" | grep -q running'
    sleep 3
    [ "$(authority varve-node-tls)" = "$before" ] || fail 'made anew for nothing'
    nodes=$(pods_of node)
    system delete secret varve-node-tls varve-controller-tls >/dev/null
    within another_authority "$before" || fail 'not made anew'
    larger data 5Gi
    otherwise data varve-archive
    otherwise data varve-database
    [ "$(pods_of node)" = "$nodes" ] || fail "the nodes' drivers were started again: $(pods_of node)"
}

# handshake NAME [SECRET]: what a node's driver says to somebody with this secret's certificate
handshake() {
    local ip file=$W/pki/peer identity=()
    ip=$(system get pods -l app.kubernetes.io/component=node -o 'jsonpath={.items[0].status.podIP}')
    if [ $# -gt 1 ]; then
        system get "secret/$2" -o 'jsonpath={.data.tls\.crt}' | base64 -d >"$file.crt"
        system get "secret/$2" -o 'jsonpath={.data.tls\.key}' | base64 -d >"$file.key"
        identity=(-cert "$file.crt" -key "$file.key")
    fi
    { sleep 2; } | timeout 10 openssl s_client -connect "$ip:9812" -alpn h2 -servername "$1" "${identity[@]}" 2>&1
}

test_strangers_are_refused() {
    handshake node.csi.varve.io >"$logs/stranger.log"
    grep -q 'alert certificate required' "$logs/stranger.log" || fail "without a certificate: $(tail -n 3 "$logs/stranger.log")"
    handshake node.csi.varve.io varve-node-tls >"$logs/stranger.log"
    grep -q 'alert' "$logs/stranger.log" || fail "another node: $(tail -n 3 "$logs/stranger.log")"
    handshake node.csi.varve.io varve-controller-tls >"$logs/stranger.log"
    ! grep -q 'alert' "$logs/stranger.log" || fail "the controller: $(tail -n 3 "$logs/stranger.log")"
}
