#!/bin/sh
# How long a store with many files and a full journal takes to open after a kill. FILES=N (1,000,000; short: 5,000, and judged by the
# time spent computing, as others keep the machine busy).
set -u
BUILD=${BUILD:-build}
files=1000000
how=
[ "${SCALE:-full}" != short ] || { files=5000 how=--computing; }
TEST_TMPDIR=${TEST_TMPDIR:-/var/tmp} # on a disk
export TEST_TMPDIR
exec "$BUILD/tests/reopen" --files "${FILES:-$files}" $how
