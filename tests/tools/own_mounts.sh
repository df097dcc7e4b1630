#!/bin/sh
# own_mounts.sh COMMAND...: runs it in a mount namespace of its own, where such are to be had. Suites that run side by side, each
# with namespaces in its tests, do not keep copies of one another's mounts alive then. What it leaves mounted below $TMPDIR, which
# nobody outside would see, is a failure.
left() { awk -v dir="$TMPDIR/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts; }

if [ "${1:-}" = --inside ]; then
    shift
    "$@"
    rc=$?
    [ -z "${TMPDIR:-}" ] || [ -z "$(left)" ] || { echo "left mounted:" && left && rc=1; }
    exit $rc
fi
if [ -z "${OWN_MOUNTS:-}" ] && [ "$(id -u)" = 0 ] && unshare --mount --propagation slave true 2>/dev/null; then
    export OWN_MOUNTS=1
    exec unshare --mount --propagation slave "$0" --inside "$@"
fi
exec "$@"
