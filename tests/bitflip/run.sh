#!/bin/sh
# Files of a store that lie: N= at opening, UNDER= below an open store, SEED=; SCALE=short is what `make check` runs.
set -u
BUILD=${BUILD:-build}
n=2000 under=1000
[ "${SCALE:-full}" != short ] || { n=100 under=60; }
[ -z "${SAN:-}" ] || { n=$((n / 5)) under=$((under / 5)); }
exec "$BUILD/tests/bitflip" --flips "${N:-$n}" --under "${UNDER:-$under}" --seed "${SEED:-1}"
