#!/bin/sh
# sum.sh LOGDIR PROGRAM...: runs each program, shows its closing line (all of its output when it fails), and closes with
# the sum. A program that does not close with "N passed, N failed, N skipped" counts as one failure.
set -u
logs=$1
shift
mkdir -p "$logs"
passed=0 failed=0 skipped=0
for prog in "$@"; do
    name=$(basename "$prog")
    timeout -k 5 "${TEST_TIMEOUT:-300}" "$prog" >"$logs/$name.log" 2>&1
    rc=$?
    last=$(tail -n 1 "$logs/$name.log" | grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$')
    read -r p _ f _ s _ <<EOF
${last:-0 passed, 0 failed, 0 skipped}
EOF
    if [ $rc -ne 0 ] || [ -z "$last" ] || [ "$f" -ne 0 ]; then
        [ "$f" -ne 0 ] || f=1
        sed 's/^/    /' "$logs/$name.log"
        printf '%-40s FAILED (exit %d)\n' "$name" $rc
    else
        printf '%-40s %s\n' "$name" "$last"
        [ "$s" -eq 0 ] || grep -a '^skip' "$logs/$name.log" | sed 's/^/    /'
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
