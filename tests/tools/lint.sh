#!/bin/sh
# lint.sh: clang-tidy (.clang-tidy) over every source of the rooms.
set -u
cd "$(dirname "$0")/../.."
command -v clang-tidy >/dev/null || {
    echo "suite skipped: clang-tidy is not installed"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}
fuse=$(sed -n 's/^FUSE_CFLAGS := //p' "${BUILD:-build}/config.mk")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
find base conf snap tier fs -name '*.c' 2>/dev/null | sort | xargs -P "$(nproc)" -I {} sh -c '
    log=$1/$(echo "$2" | tr / _)
    clang-tidy --quiet "$2" -- -std=gnu17 -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DVARVE_VERSION="\"0\"" $3 >"$log" 2>/dev/null \
        && mv "$log" "$log.ok" || mv "$log" "$log.bad"' sh "$out" {} "$fuse"
cat "$out"/*.bad 2>/dev/null
passed=$(ls "$out" | grep -c '\.ok$') failed=$(ls "$out" | grep -c '\.bad$')
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
