#!/bin/sh
# Figures of daily use; SCALE=short with fewer files.
set -u
BUILD=${BUILD:-build}
export BUILD
files=1000000
[ "${SCALE:-full}" != short ] || files=50000
exec "$BUILD/tests/bench-small" --files "${FILES:-$files}"
