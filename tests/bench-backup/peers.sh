#!/bin/bash
# peers.sh: what bench-backup compares with, once, in $VARVE_CACHE/backup: restic and kopia, newest of Go's module proxy; Debian's borg, and its
# restic where the proxy has none. Prints NAME=PROGRAM of each that is there, NAME= and the reason of others.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tools/common.sh
. tests/tier/s3_server.sh
bin=$VARVE_CACHE/backup
mkdir -p "$bin"

go_is_there() {
    local go
    go=$(go env GOVERSION 2>/dev/null)
    at_least "${go#go}" 1.24 || { say "Go >= 1.24 is needed; here: ${go:-none}"; return 1; }
}

# module NAME MODULE PACKAGE: `go install` where that may be; out of the module itself where its go.mod replaces things
module() {
    local dir
    [ ! -x "$bin/$1" ] || return 0
    go_is_there || return 1
    if GOBIN=$bin/go GOFLAGS='-buildvcs=false -p=2' CGO_ENABLED=0 nice go install -trimpath "$3@latest" >"$bin/$1.log" 2>&1; then
        mv "$bin/go/$1" "$bin/$1"
        return 0
    fi
    dir=$(cd "$bin" && GOFLAGS=-mod=mod go mod download -json "$2@latest" 2>>"$bin/$1.log" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
    [ -n "$dir" ] || { tail -n 1 "$bin/$1.log"; return 1; }
    (cd "$dir" && GOFLAGS='-buildvcs=false -p=2 -mod=mod' CGO_ENABLED=0 nice go build -trimpath -modcacherw -o "$bin/$1" "./${3#"$2"}") >>"$bin/$1.log" 2>&1 \
        || { tail -n 1 "$bin/$1.log"; return 1; }
}

# debian PROGRAM PACKAGE
debian() {
    type -P "$1" && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { say "$1 is not installed: apt-get install --no-install-recommends $2"; return 1; }
    { apt-get install -q -y --no-install-recommends "$2" || { apt-get update -q && apt-get install -q -y --no-install-recommends "$2"; }; } \
        >"$bin/$1-debian.log" 2>&1 || { tail -n 1 "$bin/$1-debian.log"; return 1; }
    type -P "$1"
}

restic() { if module restic github.com/restic/restic github.com/restic/restic/cmd/restic >/dev/null; then echo "$bin/restic"; else debian restic restic; fi; }
kopia() { module kopia github.com/kopia/kopia github.com/kopia/kopia && echo "$bin/kopia"; }
borg() { debian borg borgbackup; }

for name in ${PEERS:-restic kopia borg}; do
    echo "$name=$($name)"
done
