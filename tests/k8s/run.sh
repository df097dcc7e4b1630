#!/bin/bash
# What is shipped for Kubernetes, without a cluster: the image, varve-node, manifest and chart.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/mounted.sh"
passed=0 failed=0 skipped=0
python3 -c 'import yaml' 2>/dev/null || skip_suite 'needs python3-yaml'
run_part "$here/deploy.py" "$BUILD"
run_part "$here/image.sh"
if [ -e /dev/fuse ] && [ "$(id -u)" = 0 ]; then run_part "$here/node.sh"; else skipped=$((skipped + 1)); fi
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
