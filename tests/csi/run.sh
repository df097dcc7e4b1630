#!/bin/bash
# The gRPC server by itself, varve-csi with a daemon and a store, then varve-flex. `run.sh NAME...`: these tests of the first two.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/mounted.sh"
passed=0 failed=0 skipped=0
run_part "$BUILD/tests/csi" "$@"
[ $# -gt 0 ] || run_part "$here/flex.sh"
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
