#!/bin/sh
# Figures of daily use; SCALE=short with fewer files. FILES=N: how many they are; ROLL=N: how many the rollbacks have;
# ONLY="PART...": of idle few restoring rollbacks deletions many.
set -u
BUILD=${BUILD:-build}
export BUILD
files=1000000 roll=50000
[ "${SCALE:-full}" != short ] || files=50000 roll=5000
only=
for part in ${ONLY:-}; do
    only="$only --only $part"
done
# shellcheck disable=SC2086
exec "$BUILD/tests/bench-small" --files "${FILES:-$files}" --roll "${ROLL:-$roll}" $only
