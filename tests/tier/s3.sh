#!/bin/bash
# S3: the contract of backends against a real server, faults between it and us, then backup and restore through it as people do it.
# SERVER=versitygw|minio. `s3.sh NAME...` runs the named cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/mounted.sh"
. "$here/s3_server.sh"
SERVER=${SERVER:-versitygw}
unset ${!AWS_*} http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY
export AWS_ACCESS_KEY_ID=AKTESTAKTEST AWS_SECRET_ACCESS_KEY=SKTESTSKTESTSKTEST AWS_EC2_METADATA_DISABLED=true
export VARVE_TEST_BUCKET=test-bucket VARVE_TEST_S3 VARVE_TIERD
VARVE_TIERD=$(readlink -f "$BUILD")/varve-tierd

s3_get "$SERVER" >"$scratch/why" 2>&1 || skip_suite "$(tail -n 1 "$scratch/why")"
trap 's3_stop; scratch_release' EXIT
s3_start "$SERVER" "$scratch/server" || skip_suite "$SERVER does not start here"
VARVE_TEST_S3=$s3_endpoint
tool() { "$here/s3_tool.py" "$s3_endpoint" "$@"; }
for ((i = 0; i < 100; i++)); do
    tool PUT "/$VARVE_TEST_BUCKET" >"$scratch/made" 2>&1 && break
    sleep 0.1
done
say "    server: $SERVER"

units=() cases=()
for name in "$@"; do
    case $name in test_s3__*) units+=("$name") ;; *) cases+=("$name") ;; esac
done
if [ $# -eq 0 ]; then
    read -ra units -d '' < <(grep -oPh 'S3_TEST\(\K\w+' "$here"/*.c)
    read -ra cases -d '' < <(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p')
fi
passed=0 failed=0 skipped=0
if [ ${#units[@]} -gt 0 ]; then
    "$BUILD/tests/tier" "${units[@]}" >"$scratch/unit" 2>&1
    grep -av ' note \| warn ' "$scratch/unit" | sed '$d'
    take_in "$scratch/unit"
fi
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
