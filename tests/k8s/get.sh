#!/bin/bash
# Gets what a cluster is made of, once, into $VARVE_CACHE/k8s/bin: etcd, containerd, kubectl and runc as Debian has them (unpacked, never
# installed), Kubernetes itself and the sidecars of its storage group from Go's module proxy. `get.sh [debian kubernetes sidecars
# definitions helm]`.
# The last line says why when something cannot be had.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/common.sh"
KUBERNETES=${KUBERNETES:-1.36.3}
PROVISIONER=v6.3.0
SNAPSHOTTER=v8.6.0
RESIZER=v2.2.0
HELM=v3.21.4
GO_MIN=1.26
home=$VARVE_CACHE/k8s
bin=$home/bin
# what is made on the way; it can be dropped when the programs are there
export GOMODCACHE=${GOMODCACHE:-$home/go/mod} GOCACHE=${K8S_GOCACHE:-$home/go/build}
export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS="-buildvcs=false -mod=mod -p=${JOBS:-1}"

needs_go() {
    local go
    go=$(go env GOVERSION 2>/dev/null)
    at_least "${go#go}" $GO_MIN && return 0
    say "Kubernetes needs Go >= $GO_MIN; here: ${go:-none}"
    return 1
}

# debian_programs SUITE PACKAGE...: unpacks them below $home/debian/SUITE
debian_programs() {
    local suite=$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    shift
    apt=$home/apt-$suite
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$home/debian/$suite"
    : >"$apt/status" # what is installed here is no candidate
    echo "deb [signed-by=$keyring] $(debian_mirror) $suite main" >"$apt/sources.list"
    apt_own apt-get update >"$apt/log" 2>&1 || { say "Debian's index of $suite cannot be had (see $apt/log)"; return 1; }
    (cd "$apt/cache" && rm -f ./*.deb && apt_own apt-get -o Dir::State::status="$apt/status" download "$@" && for d in *.deb; do dpkg-deb -x "$d" "$home/debian/$suite" || exit 1; done) \
        >>"$apt/log" 2>&1 || { say "$* of Debian $suite cannot be had (see $apt/log)"; return 1; }
}

# take SUITE PATH...: programs of an unpacked suite
take() {
    local p suite=$1
    shift
    for p; do cp -L "$home/debian/$suite/$p" "$bin/.${p##*/}" && mv "$bin/.${p##*/}" "$bin/${p##*/}" || return 1; done
}

# runc of sid wants a newer C library than stable has; the plugins and busybox are taken from where runc is
get_debian() {
    [ -x "$bin/runc" ] && [ -x "$bin/containerd" ] && return 0
    debian_programs sid containerd etcd-server kubectl || return 1
    take sid usr/bin/containerd usr/bin/containerd-shim-runc-v2 usr/bin/ctr usr/bin/etcd usr/bin/kubectl || return 1
    debian_programs bookworm runc containernetworking-plugins busybox-static libseccomp2 || return 1
    mkdir -p "$bin/cni"
    cp -L "$home"/debian/bookworm/usr/lib/cni/{bridge,host-local,loopback} "$bin/cni/" || return 1
    take bookworm bin/busybox usr/sbin/runc
}

# kubernetes_tree: the module without its staging copies: the parts are published as modules of their own
kubernetes_tree() {
    local dir=$home/src/kubernetes-$KUBERNETES zip
    [ ! -f "$dir/.whole" ] || return 0
    zip=$(cd / && go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -n "$zip" ] || { say "k8s.io/kubernetes v$KUBERNETES cannot be had from the module proxy"; return 1; }
    rm -rf "$dir"
    mkdir -p "${dir%/*}"
    cp -r --no-preserve=mode "$zip" "$dir" || return 1
    rm -rf "$dir/vendor" "$dir"/go.work*
    sed -i -E "s,=> \./staging/src/(k8s\.io/[a-z0-9-]+),=> \1 v0.${KUBERNETES#*.}," "$dir/go.mod"
    : >"$dir/.whole"
}

get_kubernetes() {
    local p c ld='-s -w'
    [ ! -x "$bin/kubelet" ] || return 0
    needs_go && kubernetes_tree || return 1
    for p in component-base/version client-go/pkg/version; do
        ld="$ld -X k8s.io/$p.gitVersion=v$KUBERNETES -X k8s.io/$p.gitMajor=1 -X k8s.io/$p.gitMinor=$(echo "$KUBERNETES" | cut -d. -f2) -X k8s.io/$p.gitTreeState=clean"
    done
    for c in kube-apiserver kube-controller-manager kube-scheduler kubelet; do
        [ ! -x "$bin/$c" ] || continue
        say "building $c $KUBERNETES (once)"
        (cd "$home/src/kubernetes-$KUBERNETES" && go build -ldflags "$ld" -o "$bin/.$c" "./cmd/$c") >"$home/$c.log" 2>&1 \
            || { say "$c cannot be built: $(tail -n 1 "$home/$c.log")"; return 1; }
        mv "$bin/.$c" "$bin/$c"
    done
}

# sidecar NAME MODULE VERSION PACKAGE: with the very versions of everything that Kubernetes itself was built with, so that nothing is
# compiled twice and nothing newer creeps in
sidecar() {
    local name=$1 module=$2 version=$3 package=$4 dir=$home/src/$1-$3
    [ ! -x "$bin/$name" ] || return 0
    say "building $name $version (once)"
    mkdir -p "$dir"
    printf 'module sidecar\n\ngo %s.0\n\nrequire %s %s\n\nreplace (\n%s\n)\n' $GO_MIN "$module" "$version" "$(kubernetes_pins)" >"$dir/go.mod"
    printf '//go:build tools\n\npackage main\n\nimport _ "%s"\n' "$package" >"$dir/tools.go"
    rm -f "$dir/go.sum"
    (cd "$dir" && go build -ldflags "-s -w -X main.version=$version" -o "$bin/.$name" "$package") >"$home/$name.log" 2>&1 \
        || { say "$name $version cannot be built: $(tail -n 1 "$home/$name.log")"; return 1; }
    mv "$bin/.$name" "$bin/$name"
}

# kubernetes_pins: what Kubernetes requires, as replacements
kubernetes_pins() {
    local dir=$home/src/kubernetes-$KUBERNETES
    sed -nE 's/^\t([a-z][^ ]+) (v[^ ]+)( .*)?$/\t\1 => \1 \2/p' "$dir/go.mod" | grep -v '=> k8s.io/.* v0.0.0$' | grep -v '=>.*=>' \
        | grep -v container-storage-interface/spec # the kubelet still has the one of 2023
    sed -nE 's,^\t(k8s\.io/[a-z0-9-]+) => k8s\.io/.* (v0\.[0-9.]+)$,\t\1 => \1 \2,p' "$dir/go.mod"
}

get_sidecars() {
    local org=github.com/kubernetes-csi
    [ ! -x "$bin/csi-resizer" ] || [ ! -x "$bin/csi-snapshotter" ] || [ ! -x "$bin/csi-provisioner" ] || [ ! -x "$bin/snapshot-controller" ] || return 0
    needs_go && kubernetes_tree || return 1
    sidecar csi-provisioner $org/external-provisioner/v6 $PROVISIONER $org/external-provisioner/v6/cmd/csi-provisioner || return 1
    sidecar csi-snapshotter $org/external-snapshotter/v8 $SNAPSHOTTER $org/external-snapshotter/v8/cmd/csi-snapshotter || return 1
    sidecar snapshot-controller $org/external-snapshotter/v8 $SNAPSHOTTER $org/external-snapshotter/v8/cmd/snapshot-controller || return 1
    sidecar csi-resizer $org/external-resizer/v2 $RESIZER $org/external-resizer/v2/cmd/csi-resizer
}

# the objects that the snapshotter works with, as its project publishes them
get_definitions() {
    local module=github.com/kubernetes-csi/external-snapshotter/client/v8@$SNAPSHOTTER dir
    [ ! -d "$home/crd-$SNAPSHOTTER" ] || return 0
    needs_go || return 1
    dir=$(cd / && go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -n "$dir" ] || { say "$module cannot be had from the module proxy"; return 1; }
    rm -rf "$home/.crd"
    cp -r --no-preserve=mode "$dir/config/crd" "$home/.crd" && mv "$home/.crd" "$home/crd-$SNAPSHOTTER"
}

get_helm() {
    [ ! -x "$bin/helm" ] || return 0
    needs_go && kubernetes_tree || return 1
    sidecar helm helm.sh/helm/v3 $HELM helm.sh/helm/v3/cmd/helm
}

mkdir -p "$bin" || exit 1
for part in ${*:-debian kubernetes sidecars definitions}; do
    (flock 9 && "get_$part") 9>"$home/lock.$part" || exit 1
done
