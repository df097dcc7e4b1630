#!/bin/bash
# varve upgrade under load: writers, readers, renames, fsyncs on one volume while its daemon goes on as another program, N= times
# (40; SCALE=short: 10), every second time as one of a later version that writes a kind of record which the other does not know.
# No writer may notice; pauses are shown: p50, p99 and the longest, which must be at most LIMIT_MS (300) more than the longest wait
# without an upgrade, on a machine that does other work, too.
# Then: what does not work out leaves the old program in service; SIGHUP; a store of the later version is refused by this one.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/tools/mounted.sh
suite_needs_mounts
n=40 limit=${LIMIT_MS:-300}
[ "${SCALE:-full}" != short ] || n=10
[ -z "${SAN:-}" ] || limit=5000
passed=0 failed=0
next=$(readlink -f "$BUILD")/tests/varve-next

ok() { # WHAT COMMAND...
    local what=$1 out
    shift
    if out=$("$@" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n%s\n' "$what" "$(sed 's/^/    /' <<<"$out")"
    fi
}
refused() { # WHAT SENTENCE COMMAND...
    local what=$1 want=$2 out
    shift 2
    if out=$("$@" 2>&1) || [[ $out != *"$want"* ]]; then
        failed=$((failed + 1))
        printf 'FAILED  %s: expected "%s", got\n%s\n' "$what" "$want" "$(sed 's/^/    /' <<<"$out")"
    else
        passed=$((passed + 1))
    fi
}
serving() { # PROGRAM: is the daemon of the store this one?
    [ "$(readlink "/proc/$(pgrep -f "varve daemon $1\$")/exe")" = "$2" ]
}
eventually() { # COMMAND...
    for _ in $(seq 100); do
        "$@" && return 0
        sleep 0.05
    done
    return 1
}

watch_over() {
    sleep "${TEST_TIMEOUT:-300}" || return 0
    echo "timed out: ending the daemons"
    for p in $(pgrep -f "varve keeper $scratch/"; pgrep -f "varve daemon $scratch/"); do kill -9 "$p"; done
}

# --- under load
cp "$VARVE" "$scratch/varve" # a file of its own, so that it can be replaced as a package does it
program=$scratch/varve
VARVE=$program scratch_volume vol >/dev/null || exit 1
watch_over 2>/dev/null &
watch=$!
python3 tests/upgradetest/load.py "$scratch/vol" "$n" "$limit" "$next" "$program" | tee "$scratch/out"
read -r p _ f _ <<<"$(tail -n 1 "$scratch/out" | grep passed || echo '0 passed, 1 failed')"
passed=$((passed + p)) failed=$((failed + f))
store=$scratch/vol.store

# --- the other ways
echo kept >"$scratch/vol/file"
exec 9<"$scratch/vol/file"
refused "this program does not know those records" "goes on" "$program" upgrade "$scratch/vol" --program "$program"
ok "the later one serves" serving "$store" "$next"
refused "a program that is none" "no program" "$program" upgrade "$store" --program "$scratch/vol/file"
printf '#!/bin/sh\nexit 1\n' >"$scratch/broken"
chmod +x "$scratch/broken"
touch "$scratch/fails"
umount "$scratch/vol" 2>/dev/null
exec 9<&-
umount "$scratch/vol"
eventually flock -n "$store/lock" true
ok "check" "$next" check "$store"
refused "a store of a later version" "uses a feature" "$program" check "$store"
refused "a store of a later version" "uses features" "$program" mount "$store" "$scratch/vol"

VARVE=$program scratch_volume two >/dev/null
store=$scratch/two.store
echo kept >"$scratch/two/file"
(cd "$scratch/two" && exec sleep 60) &
sleeper=$!
cat >"$scratch/dying.sh" <<END
#!/bin/sh
exec env VARVE_NEXT_FAILS=1 "$next" "\$@"
END
chmod +x "$scratch/dying.sh"
refused "a program whose daemon dies" "goes on" "$program" upgrade "$scratch/two" --program "$scratch/dying.sh"
ok "the one before serves" serving "$store" "$program"
ok "the file is there" grep -q kept "$scratch/two/file"
cp "$scratch/varve" "$scratch/varve.new" && mv "$scratch/varve.new" "$scratch/varve" # a new file at its place, as packages do it
was=$(stat -Lc %i "/proc/$(pgrep -f "varve daemon $store\$")/exe")
kill -HUP "$(pgrep -f "varve keeper $store ")"
changed() { [ "$(stat -Lc %i "/proc/$(pgrep -f "varve daemon $store\$")/exe" 2>/dev/null || echo "$was")" != "$was" ]; }
ok "SIGHUP to the keeper: what lies there now" eventually changed
ok "the file is there" grep -q kept "$scratch/two/file"
ok "and the daemon is that of the new file" serving "$store" "$program"
kill $sleeper
wait $sleeper 2>/dev/null
"$program" umount "$scratch/two"
ok "check" "$program" check "$store"
pkill -P $watch
wait $watch 2>/dev/null
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
