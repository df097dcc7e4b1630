#!/bin/sh
# own_mounts.sh COMMAND...: runs it in a mount namespace of its own, where such are to be had. Suites that run side by side, each
# with namespaces in its tests, do not keep copies of one another's mounts alive then.
if [ -z "${OWN_MOUNTS:-}" ] && [ "$(id -u)" = 0 ] && unshare --mount --propagation slave true 2>/dev/null; then
    OWN_MOUNTS=1 exec unshare --mount --propagation slave "$@"
fi
exec "$@"
