#!/bin/bash
# A cluster of its own: etcd, kube-apiserver, controller-manager, scheduler, two nodes with containerd and a kubelet each, the stock sidecars,
# and on it what plugin/deploy ships. Before it, what containerd alone can show. `cluster.sh CASE...` runs the named cases (cases*.sh), after
# those that set up what they need; KEEP=SECONDS waits at the end. Kubernetes is built once, which takes long; GET="debian" does without.
#
# All of it lives in namespaces (mounts, processes, network) that end with this script, whatever happens: nothing listens on the machine's own
# interfaces, nothing is written but below a tmpfs of its own and into $BUILD/log/k8s. What is left are empty cgroups, removed here.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/common.sh"
BUILD=${BUILD:-build}
export BUILD
say_skipped() { say "suite skipped: $1"; say '0 passed, 0 failed, 1 skipped'; exit 0; }

if [ "${1:-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || say_skipped 'needs root'
    [ -e /dev/fuse ] || say_skipped 'no /dev/fuse here'
    why=$("$here/get.sh" debian 2>&1) || say_skipped "$(printf '%s\n' "$why" | tail -n 1)"
    if [ "${GET:-}" = debian ] || [ "$*" = test_containers_alone ]; then
        export K8S_MISSING='not asked for'
    else
        why=$("$here/get.sh" kubernetes sidecars definitions 2>&1) || { K8S_MISSING=$(printf '%s\n' "$why" | tail -n 1) && export K8S_MISSING; }
        "$here/get.sh" helm >/dev/null 2>&1
    fi
    why=$(. "$here/../tier/s3_server.sh" && s3_get versitygw 2>&1) || { K8S_NO_S3=$(printf '%s\n' "$why" | tail -n 1) && export K8S_NO_S3; }
    tag=varve-k8s-$$
    export K8S_TAG=$tag
    mkdir -p "$BUILD/log/k8s"
    unshare --mount --pid --net --fork --kill-child --mount-proc --propagation slave "$0" --inside "$@" &
    inside=$!
    trap 'kill -9 $inside 2>/dev/null' INT TERM HUP
    wait $inside
    rc=$?
    for ((i = 0; i < 50; i++)); do
        find /sys/fs/cgroup -depth -type d -path "*/$tag*" -exec rmdir {} + 2>/dev/null
        [ -n "$(find /sys/fs/cgroup -maxdepth 2 -name "$tag*" 2>/dev/null)" ] || break
        sleep 0.2
    done
    exit $rc
fi
shift

bin=$VARVE_CACHE/k8s/bin
logs=$(readlink -f "$BUILD")/log/k8s
archive=$(readlink -f "$BUILD")/varve-image.tar
deploy=$(readlink -f "$here/../../plugin/deploy")
W=/mnt
mount -t tmpfs -o size=6g,mode=755 none $W || exit 1
P=$W/pki
. "$here/../tier/s3_server.sh"
export PATH=$bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=$P/admin.conf HOME=$W TMPDIR=$W
mkdir -p $P $W/etcd $W/images
rm -f "$logs"/*.log
SERVICE=10.96.0.1 HUB=10.90.0.1

daemon() { # NAME COMMAND...
    local name=$1
    shift
    setsid "$@" >>"$logs/$name.log" 2>&1 </dev/null &
    eval "pid_${name//-/_}=$!"
}
await() { # SECONDS COMMAND...: until it is true
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.5
    done
}

certificates() (
    cd $P || exit 1
    openssl ecparam -name prime256v1 -genkey -noout -out ca.key
    openssl req -x509 -new -key ca.key -out ca.crt -days 30 -subj /CN=varve-tests
    certificate() { # NAME SUBJECT EXTENSIONS
        openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
        openssl req -new -key "$1.key" -out "$1.csr" -subj "$2"
        openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" -extfile <(printf '%s\n' "$3")
        cat >"$1.conf" <<Y
apiVersion: v1
kind: Config
clusters: [{name: this, cluster: {server: "https://$HUB", certificate-authority: $P/ca.crt}}]
users: [{name: this, user: {client-certificate: $P/$1.crt, client-key: $P/$1.key}}]
contexts: [{name: this, context: {cluster: this, user: this}}]
current-context: this
Y
    }
    certificate apiserver /CN=apiserver "subjectAltName=DNS:kubernetes,DNS:kubernetes.default.svc,IP:$SERVICE,IP:$HUB
extendedKeyUsage=serverAuth,clientAuth"
    certificate admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
    certificate manager /CN=system:kube-controller-manager extendedKeyUsage=clientAuth
    certificate scheduler /CN=system:kube-scheduler extendedKeyUsage=clientAuth
    certificate front /CN=front extendedKeyUsage=clientAuth
    for n in 1 2; do certificate node$n /O=system:nodes/CN=system:node:node$n extendedKeyUsage=clientAuth; done
    openssl genrsa -out sa.key 2048
    openssl rsa -in sa.key -pubout -out sa.pub
) >"$logs/openssl.log" 2>&1

network() {
    ip link set lo up
    ip addr add $SERVICE/32 dev lo
    ip link add hub type bridge
    ip addr add $HUB/24 dev hub
    ip link set hub up
    sysctl -qw net.ipv4.ip_forward=1
    for n in 1 2; do ip route add 10.88.$n.0/24 via 10.90.0.1$n dev hub; done
}

control_plane() {
    daemon etcd etcd --data-dir $W/etcd --unsafe-no-fsync --heartbeat-interval 500 --election-timeout 5000 --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
    daemon apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=443 --advertise-address=$HUB \
        --service-cluster-ip-range=10.96.0.0/16 --tls-cert-file=$P/apiserver.crt --tls-private-key-file=$P/apiserver.key --client-ca-file=$P/ca.crt \
        --kubelet-client-certificate=$P/apiserver.crt --kubelet-client-key=$P/apiserver.key --kubelet-preferred-address-types=InternalIP \
        --service-account-key-file=$P/sa.pub --service-account-signing-key-file=$P/sa.key --service-account-issuer=https://kubernetes.default.svc \
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true --profiling=false \
        --requestheader-client-ca-file=$P/ca.crt --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
        --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-allowed-names=front \
        --proxy-client-cert-file=$P/front.crt --proxy-client-key-file=$P/front.key
    await 300 kubectl get --raw /readyz || { say "the apiserver does not come up: $(tail -n 3 "$logs/apiserver.log")"; return 1; }
    kubectl create clusterrolebinding apiserver-kubelets --clusterrole=system:kubelet-api-admin --user=apiserver >/dev/null
    daemon manager kube-controller-manager --kubeconfig=$P/manager.conf --service-account-private-key-file=$P/sa.key --root-ca-file=$P/ca.crt \
        --use-service-account-credentials=true --leader-elect=false --bind-address=127.0.0.1 --node-monitor-grace-period=300s \
        --flex-volume-plugin-dir=$W/flex
    daemon scheduler kube-scheduler --kubeconfig=$P/scheduler.conf --leader-elect=false --bind-address=127.0.0.1
}

# image_of PROGRAM NAME WORDS...: made when its program is newer; they take long
image_of() {
    local tar=$VARVE_CACHE/k8s/images/${2//\//_}.tar
    if [ ! -s "$tar" ] || [ "$bin/$1" -nt "$tar" ] || [ "$here/images.py" -nt "$tar" ]; then
        mkdir -p "${tar%/*}"
        python3 "$here/images.py" "$tar.$$" "${@:2}" && mv "$tar.$$" "$tar" || return 1
    fi
    ln -s "$tar" $W/images/
}
images() {
    local sig=registry.k8s.io/sig-storage name image
    cp "$archive" $W/images/varve.tar
    image_of busybox localhost/pause:1 --pause "$bin/busybox" && image_of busybox docker.io/library/busybox:1.36 --busybox "$bin/busybox" || return 1
    for name in csi-provisioner csi-snapshotter csi-resizer snapshot-controller; do
        [ -z "${K8S_MISSING:-}" ] || continue
        image=$(sed -n "s,^ *image: \($sig/$name:.*\)$,\1,p" "$deploy/varve.yaml" | head -n 1)
        image_of $name "$image" "$bin/$name" || return 1
    done
} >"$logs/images.log" 2>&1

node() { # N: a node's first process is node_inside.sh
    local n=$1 pid
    setsid unshare --mount --pid --net --uts --fork --kill-child --mount-proc --propagation slave "$here/node_inside.sh" "$n" "$W" "$logs" \
        >>"$logs/node$n.log" 2>&1 </dev/null &
    pid=$!
    await 30 grep -q . "/proc/$pid/task/$pid/children" || return 1
    read -r pid <"/proc/$pid/task/$pid/children"
    eval "node$n=$pid"
    ip link add "to$n" type veth peer name eth0 netns "$pid" && ip link set "to$n" master hub up
}

on() { # N COMMAND...: on this node
    local n=node$1
    shift
    nsenter -t "${!n}" -m -p -n -u "$@"
}

# nodes_up: containerd answers on both, and has the images
nodes_up() {
    local n
    images && node 1 && node 2 || { say "no nodes: $(tail -n 3 "$logs/images.log" "$logs"/node?.log)"; return 1; }
    for n in 1 2; do
        await 300 on $n test -e /run/ready || { say "node$n: no containerd: $(tail -n 3 "$logs/containerd$n.log")"; return 1; }
    done
}

kubelets_up() {
    for n in 1 2; do on $n touch /run/go-on; done
    await 300 kubectl get node/node1 node/node2 || { say "no node: $(tail -n 3 "$logs/kubelet1.log")"; return 1; }
    kubectl wait --for=condition=Ready node/node1 node/node2 --timeout=300s >/dev/null || { kubectl describe nodes >"$logs/nodes.log"; return 1; }
}

finish() {
    local rc=$?
    [ -z "${K8S_MISSING:-}" ] || exit $rc
    kubectl get all,pvc,pv,volumesnapshots,volumesnapshotcontents -A -o wide >"$logs/objects.log" 2>&1
    kubectl get events -A --sort-by=.lastTimestamp >"$logs/events.log" 2>&1
    for n in 1 2; do
        on $n sh -c 'for f in /var/log/pods/*/*/*.log; do [ -f "$f" ] && { echo "== $f"; tail -n 200 "$f"; }; done' >"$logs/pods$n.log" 2>&1
    done
    exit $rc
}
trap finish EXIT

cases=("$here/cases.sh" "$here/cases_control.sh" "$here/cases_data.sh" "$here/cases_end.sh") # in this order
for part in "${cases[@]}"; do . "$part"; done
passed=0 failed=0 skipped=0
run_cases "$@"
[ -z "${KEEP:-}" ] || { say "nsenter -t $$ (seen from outside: the child of unshare) -m -p -n; KUBECONFIG=$KUBECONFIG"; sleep "$KEEP"; }
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
