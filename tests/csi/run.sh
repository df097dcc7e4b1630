#!/bin/bash
# The gRPC server by itself, then varve-csi with a daemon and a store.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/mounted.sh"
passed=0 failed=0 skipped=0
run_part "$BUILD/tests/csi" "$@"
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
