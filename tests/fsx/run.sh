#!/bin/sh
# fsx through a mount. N= operations; SCALE=short is what `make check` runs.
set -u
BUILD=${BUILD:-build}
export BUILD
if [ ! -c /dev/fuse ] || { [ "$(id -u)" != 0 ] && ! command -v fusermount3 >/dev/null; }; then
    echo "suite skipped: no /dev/fuse"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
n=1000000
[ "${SCALE:-full}" != short ] || n=16000
case ${SAN:-} in
asan) n=$((n / 5)) ;;
tsan) n=$((n / 25)) ;;
esac
# the short run has a second one in it, shorter still, of a mount whose writes the kernel keeps
if [ "${SCALE:-full}" = short ] && [ -z "${MOUNT_OPTS:-}${N:-}${SEED:-}" ]; then
    MOUNT_OPTS=writeback "$BUILD/tests/fsx" --ops $((n / 8)) || exit 1
fi
exec "$BUILD/tests/fsx" --ops "${N:-$n}" ${SEED:+--seed "$SEED"}
