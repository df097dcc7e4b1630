#!/bin/bash
# pjdfstest: the Rust crate, pinned, through a mount and on ext4 beside it. No failure, and at most two skips more than ext4, each
# named. The tests of a read-only remount run apart from the others: they need a filesystem that nobody else uses.
set -u
cd "$(dirname "$0")/../.."
. tests/tools/mounted.sh
CRATE=pjdfstest
CRATE_VERSION=0.2.2
RUSTC_MIN=1.85
SKIPS_MORE=2

[ "$(id -u)" = 0 ] || skip_suite "pjdfstest needs root to switch users"
[ -e /dev/fuse ] || skip_suite "no /dev/fuse"
home=$VARVE_CACHE/$CRATE-$CRATE_VERSION
if [ ! -x "$home/bin/$CRATE" ]; then
    rustc=$(rustc --version 2>/dev/null | cut -d' ' -f2)
    at_least "${rustc%%-*}" $RUSTC_MIN || skip_suite "the crate $CRATE needs rustc >= $RUSTC_MIN; here: ${rustc:-none}"
    command -v cargo >/dev/null || skip_suite "no cargo"
    say "building $CRATE $CRATE_VERSION (once)"
    CARGO_TARGET_DIR=$scratch/target cargo install -q --locked --version $CRATE_VERSION -j2 --root "$home" $CRATE \
        || skip_suite "the crate $CRATE $CRATE_VERSION cannot be had"
    rm -rf "$scratch/target"
fi

config() { # allow_remount -> the config file's path
    cat >"$scratch/config-$1.toml" <<EOF
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.01
allow_remount = $1
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
EOF
    echo "$scratch/config-$1.toml"
}

# The crate calls mount(8) to remount; -i keeps that between it and the kernel.
mkdir -p "$scratch/bin" "$scratch/second"
printf '#!/bin/sh\nexec /bin/mount -i "$@"\n' >"$scratch/bin/mount"
chmod +x "$scratch/bin/mount"
mount -t tmpfs tmpfs "$scratch/second" && mounted+=("$scratch/second")

run() { # DIR LOG
    mkdir -p "$1/all"
    PATH=$scratch/bin:$PATH "$home/bin/$CRATE" -c "$(config false)" -p "$1" -s "$scratch/second" >"$2" 2>&1
    PATH=$scratch/bin:$PATH "$home/bin/$CRATE" -c "$(config true)" -p "$1" erofs >"$2.erofs" 2>&1
    # the second run answers for the read-only tests that the first one skipped
    sed -i 's/\x1b\[[0-9;]*m//g' "$2" "$2.erofs"
    sed -i '/::erofs.*skipped$/,+1d' "$2"
    cat "$2.erofs" >>"$2"
    rm -f "$2.erofs"
}
count() { grep -acE "^[a-z_0-9:]+ +$1\$" "$2"; }
named() { grep -aA1 -E '^[a-z_0-9:]+ +skipped$' "$1" | sed 'N;s/ *skipped\n[[:space:]]*/: /;/^--/d'; }

logs=$(readlink -f "$BUILD")/log
mkdir -p "$logs"
scratch_volume varve >"$logs/pjdfstest-mount.log" 2>&1 || {
    cat "$logs/pjdfstest-mount.log"
    say "0 passed, 1 failed, 0 skipped"
    exit 1
}
scratch_ext4 ext4 512M
run "$scratch/varve" "$logs/pjdfstest-varve.log"
run "$scratch/ext4" "$logs/pjdfstest-ext4.log"

passed=$(count ok "$logs/pjdfstest-varve.log")
failed=$(count FAILED "$logs/pjdfstest-varve.log")
skipped=$(count skipped "$logs/pjdfstest-varve.log")
on_ext4=$(count skipped "$logs/pjdfstest-ext4.log")
grep -aA3 -E ' FAILED$' "$logs/pjdfstest-varve.log"
say "ext4: $(count ok "$logs/pjdfstest-ext4.log") passed, $(count FAILED "$logs/pjdfstest-ext4.log") failed, $on_ext4 skipped"
named "$logs/pjdfstest-varve.log" | sed 's/^/skip /'
if [ "$skipped" -gt $((on_ext4 + SKIPS_MORE)) ]; then
    say "FAILED: $skipped skips; ext4 has $on_ext4"
    failed=$((failed + 1))
fi
[ "$passed" -gt 300 ] || {
    say "FAILED: only $passed tests ran"
    failed=$((failed + 1))
}
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
