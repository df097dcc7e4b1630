#!/bin/bash
# check-fresh.sh [bookworm|trixie]...: what a newcomer does. Debian is bootstrapped into a directory, this tree's last commit is
# cloned inside, and `make demo` and `make check` run there as root. All of it happens in mount and process namespaces of its
# own, so neither a mount nor a process can be left behind; that is checked all the same.
set -eu
self=$(readlink -f "$0")
cd "$(dirname "$self")/../.."
. tests/tools/common.sh

inside() { # ROOT TARGET: in the namespaces
    root=$1 target=$2
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0" "fuse 10 229" "loop-control 10 237"; do
        set -- $node
        mknod -m 666 "$root/dev/$1" c "$2" "$3"
    done
    for n in 0 1 2 3 4 5 6 7; do mknod -m 660 "$root/dev/loop$n" b 7 $n; done
    ln -s /proc/self/fd "$root/dev/fd"
    mkdir "$root/dev/shm" "$root/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    # not chroot: that forbids user namespaces
    mkdir -p "$root/.before"
    cd "$root"
    pivot_root . .before
    umount -l /.before
    exec /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin make --no-print-directory -C /root/varve "$target"
}

bootstrap() { # SUITE: a new tree in $root; the bootstrapped Debian itself is kept as an archive
    suite=$1 archive=$VARVE_CACHE/debootstrap-$1.tar
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    if [ ! -f "$archive" ]; then
        mirror=$(debian_mirror)
        [ -n "$mirror" ] || die "apt knows no Debian mirror"
        debootstrap --variant=minbase --include=make,git,ca-certificates,debian-archive-keyring "$suite" "$root" "$mirror" \
            >"$logs/$suite-debootstrap.log" 2>&1 || die "debootstrap $suite failed: see $logs/$suite-debootstrap.log"
        tar -C "$root" -cf "$archive.new" .
        mv "$archive.new" "$archive"
    else
        tar -C "$root" -xf "$archive"
    fi
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    cp /etc/hosts "$root/etc/hosts"
    ln -sf ../proc/self/mounts "$root/etc/mtab" # every installed system has it; fusermount3 reads it
    # how this machine's apt goes out
    apt-config dump | grep -E '^Acquire::(Check-|Retries|https?::)' >"$root/etc/apt/apt.conf.d/00machine" || true
    # the certificates that this machine trusts, and no services started by packages
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    git clone -q --no-local . "$root/root/varve"
}

die() {
    say "check-fresh: $*" >&2
    exit 1
}

# below the Debian trees, and loop devices of files there; other mounts of this machine come and go by themselves
left_behind() {
    awk -v dir="$VARVE_CACHE/fresh-" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo
    losetup -a | grep -F "$VARVE_CACHE/fresh-" || true
}

if [ "${1:-}" = --inside ]; then
    inside "$2" "$3"
fi
[ "$(id -u)" = 0 ] || {
    say "suite skipped: check-fresh needs root for debootstrap"
    say "0 passed, 0 failed, 1 skipped"
    exit 0
}
command -v debootstrap >/dev/null || apt-get install -q -y --no-install-recommends debootstrap >/dev/null
logs=$PWD/build/log/fresh
mkdir -p "$logs" "$VARVE_CACHE"
[ $# -gt 0 ] || set -- bookworm trixie
[ -z "$(git status --porcelain)" ] || say "check-fresh: uncommitted changes are not part of what is cloned"
passed=0 failed=0
for suite in "$@"; do
    root=$VARVE_CACHE/fresh-$suite
    bootstrap "$suite"
    for target in ${TARGETS:-demo check}; do
        log=$logs/$suite-$target.log
        if unshare --mount --pid --fork --kill-child --propagation private "$self" --inside "$root" "$target" >"$log" 2>&1; then
            passed=$((passed + 1))
            printf '%-10s make %-6s ok      %s\n' "$suite" "$target" "$(grep -aE "^[0-9]+ passed" "$log" | tail -n 1)"
        else
            failed=$((failed + 1))
            tail -n 60 "$log" | sed 's/^/    /'
            printf '%-10s make %-6s FAILED  %s\n' "$suite" "$target" "$log"
        fi
    done
    rm -rf --one-file-system "$root"
done
left=$(left_behind)
if [ -z "$left" ]; then
    passed=$((passed + 1))
    say "no mount left behind"
else
    failed=$((failed + 1))
    say "FAILED: left behind:" "$left"
fi
say "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
