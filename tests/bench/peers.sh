#!/bin/bash
# peers.sh: what the bench compares with, once: Debian's packages, libfuse's passthrough_hp out of the source that libfuse was built
# from, JuiceFS through Go's module proxy. What cannot be had is named with its reason and left out of the tables.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tools/common.sh
tools=$VARVE_CACHE/bench
JUICEFS=${JUICEFS:-v1.3.0}
mkdir -p "$tools"

passthrough_hp() {
    local dir pc version work
    pc=$(libfuse_built)
    [ -n "$pc" ] || { echo "libfuse >= $LIBFUSE_MIN was not built here"; return 1; }
    version=$(PKG_CONFIG_PATH=$pc pkg-config --modversion fuse3)
    [ ! -x "$tools/passthrough_hp-$version" ] || return 0
    command -v g++ >/dev/null || { echo "there is no g++"; return 1; }
    work=$(mktemp -d "$tools/work.XXXXXX")
    dir=$work/src
    mkdir -p "$dir"
    (
        debian_source fuse3 sid "$version" && tar -xf "$(ls "$apt"/cache/fuse3_*.orig.tar.?z | head -n 1)" -C "$dir" --strip-components=1
    ) >"$work/why" 2>&1 || { tail -n 1 "$work/why"; rm -rf "$work"; return 1; }
    # the examples include the configuration that meson makes; nothing of it matters here
    : >"$work/fuse_config.h"
    # shellcheck disable=SC2046
    g++ -O2 -std=c++17 -D_FILE_OFFSET_BITS=64 -D_GNU_SOURCE -I"$work" -I"$dir/include" -I"$dir/lib" \
        $(PKG_CONFIG_PATH=$pc pkg-config --cflags fuse3) "$dir/example/passthrough_hp.cc" -o "$work/hp" \
        $(PKG_CONFIG_PATH=$pc pkg-config --static --libs fuse3) -pthread >"$work/log" 2>&1 \
        || { grep -m 1 error "$work/log"; rm -rf "$work"; return 1; }
    mv "$work/hp" "$tools/passthrough_hp-$version"
    rm -rf "$work"
}

juicefs() {
    [ ! -x "$tools/juicefs" ] || return 0
    command -v go >/dev/null || { echo "there is no Go compiler"; return 1; }
    GOBIN=$tools/go GOFLAGS=-p=2 CGO_ENABLED=1 nice go install -trimpath \
        -tags nogateway,nowebdav,nocos,nobos,nohdfs,noibmcos,noobs,nooss,noqingstor,noswift,noazure,nogs,noufile,nob2,nonfs,nodragonfly,nomysql,nopg,notikv,nobadger,noetcd,noredis \
        "github.com/juicedata/juicefs@$JUICEFS" >"$tools/juicefs.log" 2>&1 || { tail -n 1 "$tools/juicefs.log"; return 1; }
    mv "$tools/go/juicefs" "$tools/juicefs"
}

get() {
    local why
    if why=$("$1"); then
        rm -f "$tools/$1.why"
        say "peer $1: ready"
    else
        say "$why" >"$tools/$1.why"
        say "peer $1: not to be had: $why"
    fi
}

tests/tools/deps.sh bench || exit 1
get passthrough_hp
[ "${PEERS_WITHOUT:-}" = juicefs ] || get juicefs
