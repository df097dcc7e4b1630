#!/bin/bash
# node_inside.sh N W LOGS: the first process of a node, in namespaces of its own: containerd and a kubelet, each started again when it ends.
# /run, /opt, /var/log, /var/lib/{kubelet,containerd,varve} and the CNI's state are this node's own,
# and so is what is written to /etc.
set -u
n=$1 W=$2 logs=$3
hostname "node$n"
for d in /run /opt /var/log /var/lib/kubelet /var/lib/containerd /var/lib/varve /var/lib/cni; do
    mkdir -p "$d"
    mount -t tmpfs -o mode=755 none "$d" || exit 1
done
mkdir -p /run/netns /run/cni /run/flex /run/etc /run/etc.work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc.work none /etc || exit 1
mount --make-rshared /
until ip link show eth0 >/dev/null 2>&1; do sleep 0.1; done
ip link set lo up
ip addr add "10.90.0.1$n/24" dev eth0
ip link set eth0 up
ip route add default via 10.90.0.1
sysctl -qw net.ipv4.ip_forward=1
# the kubelets share the machine's cgroups: each works below one of its own
for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
    if [ -f "$d/cgroup.procs" ] && [ ! -L "$d" ]; then mkdir -p "$d/$K8S_TAG-$n"; fi
    [ ! -f /sys/fs/cgroup/cgroup.controllers ] || break
done
for f in cpus mems; do # a new cpuset has neither
    d=/sys/fs/cgroup/cpuset
    [ ! -f "$d/cpuset.$f" ] || cat "$d/cpuset.$f" >"$d/$K8S_TAG-$n/cpuset.$f"
done

cat >/run/cni/10-varve.conflist <<Y
{"cniVersion": "1.0.0", "name": "varve", "plugins": [
  {"type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "/var/lib/cni", "ranges": [[{"subnet": "10.88.$n.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
Y
cat >/run/containerd.toml <<Y
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.blockfile"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  enable_selinux = false
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["$VARVE_CACHE/k8s/bin/cni"]
  conf_dir = "/run/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "$VARVE_CACHE/k8s/bin/runc"
  SystemdCgroup = false
Y
echo 'nameserver 127.0.0.1' >/run/resolv.conf
cat >/run/kubelet.yaml <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $W/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /$K8S_TAG-$n
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
enforceNodeAllocatable: [pods]
volumePluginDir: /run/flex
resolvConf: /run/resolv.conf
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 2400h
syncFrequency: 5s
volumeStatsAggPeriod: 5s
localStorageCapacityIsolation: false
Y
forever() { # NAME COMMAND...
    local name=$1
    shift
    while :; do
        "$@" >>"$logs/$name$n.log" 2>&1 </dev/null &
        echo $! >"/run/$name.pid"
        wait $!
        sleep 1
    done
}
forever containerd containerd -c /run/containerd.toml &
until ctr -a /run/containerd/containerd.sock version >/dev/null 2>&1; do sleep 0.3; done
for i in "$W"/images/*.tar; do
    ctr -a /run/containerd/containerd.sock -n k8s.io images import "$i" >>"$logs/images$n.log" 2>&1 || echo "$i: not imported"
done
touch /run/ready
until [ -e /run/go-on ]; do sleep 0.3; done # containers alone come first
[ ! -s "$W/pki/node$n.conf" ] || forever kubelet kubelet --config=/run/kubelet.yaml --kubeconfig="$W/pki/node$n.conf" --hostname-override="node$n" --node-ip="10.90.0.1$n" --v=2 &
while :; do sleep 3600 & wait $!; done
