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
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
