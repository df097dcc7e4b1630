#!/bin/sh
# Builds libfuse (static) from Debian's newest source package into $VARVE_CACHE/libfuse-VERSION-io, once. "io": its answers can go elsewhere
# than to a descriptor, without which there is no io_uring.
# The signature chain is apt's: archive keyring -> InRelease -> Sources -> the tarball's hash. The apt configuration is one of
# its own under $VARVE_CACHE/apt, so the system's lists and sources are never touched; the mirror is the system's own.
# Where the source cannot be had, it says so in one line and exits 3: the system's libfuse3 (>= 3.14) is used then.
set -eu
. "$(dirname "$0")/common.sh"

give_up() {
    echo "libfuse >= $LIBFUSE_MIN: $1; using the system's libfuse3 (at least 3.14) instead." >&2
    echo "  Lost by that: io_uring, parallel directory operations, O_TMPFILE, KILLPRIV_V2, statx." >&2
    exit 3
}

unpack() {
    mkdir -p "$work/src" "$work/debian"
    tar -xf "$(ls "$apt"/cache/fuse3_*.orig.tar.?z | head -n 1)" -C "$work/src" --strip-components=1
    tar -xf "$(ls "$apt"/cache/fuse3_*.debian.tar.?z | head -n 1)" -C "$work/debian" --strip-components=1
    [ -f "$work/debian/patches/series" ] || return 0
    sed 's/[[:space:]]*#.*//; /^$/d' "$work/debian/patches/series" | while read -r p; do
        patch -s -p1 -d "$work/src" <"$work/debian/patches/$p"
    done
}

build() {
    prefix=$VARVE_CACHE/libfuse-${version%%-*}-io
    uring=false
    pkg-config --exists liburing && uring=true
    # fusermount3 is the system's setuid program: --bindir says where the library looks for it
    meson setup "$work/obj" "$work/src" --prefix="$prefix" --libdir=lib --bindir=/usr/bin --buildtype=release \
        --default-library=static -Dutils=false -Dexamples=false -Dtests=false -Dudevrulesdir= -Dinitscriptdir= \
        -Denable-custom-io=true -Denable-io-uring=$uring >"$work/log" 2>&1 && ninja -j2 -C "$work/obj" >>"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        give_up "its build failed"
    }
    DESTDIR="$work/image" ninja -C "$work/obj" install >>"$work/log" 2>&1
    rm -rf "$prefix"
    mv "$work/image$prefix" "$prefix" # in one step, so that a half-built one is never found
}

[ -z "$(libfuse_built)" ] || exit 0
mkdir -p "$VARVE_CACHE"
exec 9>"$VARVE_CACHE/libfuse.lock"
flock 9
[ -z "$(libfuse_built)" ] || exit 0
work=$(mktemp -d "$VARVE_CACHE/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "libfuse: building it from Debian's source package (once)"
debian_source fuse3 sid $LIBFUSE_MIN >"$work/why" || give_up "$(cat "$work/why")"
unpack
build
echo "libfuse: ${version%%-*} in $prefix"
