#!/bin/bash
# The gRPC server by itself, varve-csi with a daemon and a store, then varve-flex. `run.sh NAME...`: these tests of the first two.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/mounted.sh"
passed=0 failed=0 skipped=0
run_part "$BUILD/tests/csi" "$@"
if [ $# -eq 0 ]; then
    run_part "$here/flex.sh"
    # once more, the driver with mounts of its own, as in a container
    mkdir "$scratch/shared"
    if mount --bind "$scratch/shared" "$scratch/shared" 2>/dev/null && mounted+=("$scratch/shared") && mount --make-shared "$scratch/shared"; then
        say "    the driver with mounts of its own:"
        TEST_TMPDIR=$scratch/shared CSI_APART=1 run_part "$BUILD/tests/csi" test_csi__a_volume_lives_through_driver_and_daemon \
            test_csi__who_may_write_where test_csi__dead_mounts_are_replaced test_csi__without_a_daemon_it_says_so_and_still_unmounts \
            test_csi__a_pod_brings_its_own_volume_and_takes_it_along
    fi
fi
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
