#!/bin/sh
# deps.sh build|tests|apps|bench|ceph: installs the Debian packages that are missing (Debian 12 and 13 use the same names), and libfuse.
# Cheap and without network when all is there. Without root it prints the command to run.
set -eu
. "$(dirname "$0")/common.sh"

BUILD_PKGS="gcc libc6-dev make pkgconf binutils liblmdb-dev libxxhash-dev libsodium-dev libconfig-dev libjansson-dev liblz4-dev libzstd-dev
    libssl-dev libcurl4-openssl-dev libexpat1-dev libnghttp2-dev libprotobuf-c-dev
    protobuf-c-compiler fuse3 util-linux procps"
FUSE_PKGS="meson ninja-build liburing-dev libnuma-dev patch xz-utils dpkg-dev debian-archive-keyring"
TESTS_PKGS="ccache clang libclang-rt-dev clang-format mandoc python3 python3-cryptography python3-zstandard python3-yaml git attr acl libcap2-bin e2fsprogs xfsprogs mount diffutils"
BENCH_PKGS="bindfs mergerfs fuse-overlayfs dbench g++ e2fsprogs sqlite3 postgresql postgresql-contrib git python3 mount"
CEPH_PKGS="ceph-mon ceph-osd ceph-common radosgw librados-dev python3"
APPS_PKGS="postgresql postgresql-contrib sqlite3 git rsync xz-utils"

missing() {
    dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n' "$@" 2>/dev/null | awk '$2 == "ii" { print $1 }' | sort -u >"$tmp"
    printf '%s\n' "$@" | sort -u | comm -23 - "$tmp"
}

install_missing() {
    command -v dpkg-query >/dev/null || {
        say "deps: this is not a Debian system; install the equivalents of:" "$@" >&2
        return 0
    }
    want=$(missing "$@")
    [ -n "$want" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "deps: missing packages; run as root:  apt-get install --no-install-recommends" $want >&2
        exit 1
    fi
    say "deps: installing" $want
    export DEBIAN_FRONTEND=noninteractive
    log=$tmp.log
    # the lists may be absent or old: once without, once after an update
    apt-get install -q -y --no-install-recommends $want >"$log" 2>&1 || {
        apt-get update -q >"$log" 2>&1 && apt-get install -q -y --no-install-recommends $want >>"$log" 2>&1
    } || {
        tail -n 20 "$log" >&2
        say "deps: apt-get could not install:" $want >&2
        exit 1
    }
}

tmp=$(mktemp)
trap 'rm -f "$tmp" "$tmp.log"' EXIT
case ${1:-build} in
build)
    install_missing $BUILD_PKGS
    if [ -z "$(libfuse_built)" ]; then
        install_missing $FUSE_PKGS
        "$(dirname "$0")/libfuse.sh" || install_missing libfuse3-dev
    fi
    ;;
tests) install_missing $TESTS_PKGS ;;
apps) install_missing $APPS_PKGS ;;
bench) install_missing $BENCH_PKGS ;;
ceph) install_missing $CEPH_PKGS ;;
*)
    say "usage: deps.sh build|tests|apps|bench|ceph" >&2
    exit 2
    ;;
esac
