#!/bin/sh
# The n-th allocation and the n-th call to the disk fail, over everything: each n; SCALE=short (make check): every 3rd and 5th.
# STRIDE= and FROM= choose otherwise.
set -u
BUILD=${BUILD:-build}
prog=$BUILD/tests/sweep
alloc=1 io=1
[ "${SCALE:-full}" != short ] || { alloc=3 io=5; }
passed=0 failed=0 skipped=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
run() { # what, stride
    "$prog" "$1" --stride "${STRIDE:-$2}" --from "${FROM:-1}" >"$out" 2>&1
    rc=$?
    tally
}
tally() {
    grep -av '^fuse: \|^SKIP ' "$out"
    read -r p _ f _ _ _ <<END
$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$out" | tail -n 1 | grep . || echo '0 passed, 1 failed, 0 skipped')
END
    [ $rc -eq 0 ] || [ "$f" -gt 0 ] || f=1
    passed=$((passed + p)) failed=$((failed + f))
}
if [ -z "${SAN:-}" ]; then run --alloc $alloc; else
    echo "allocations: skipped, the sanitizer has the allocator"
    skipped=1
fi
run --io $io
# mount(2), /dev/fuse, threads, forks, sockets and their messages, in command line, keeper and daemon
if [ -e /dev/fuse ] && [ "$(id -u)" = 0 ] && [ -z "${SAN:-}" ]; then
    top=$(mktemp -d "${TMPDIR:-/var/tmp}/varve.XXXXXX")
    full=$(readlink -f "$BUILD")
    scenes='' every=1
    [ "${SCALE:-full}" != short ] || { scenes='first second taken' every=9; }
    # shellcheck disable=SC2086
    python3 tests/sweep/processes.py "$full/varve" "$full/tests/varve-fail" "$top" "${STRIDE:-$every}" $scenes >"$out" 2>&1
    rc=$?
    tally
    rm -rf "$top"
else
    echo "processes: skipped, needs root, /dev/fuse and an allocator of its own"
    skipped=$((skipped + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
