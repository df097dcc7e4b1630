#!/bin/bash
# The command line as people and programs meet it: every verb on mounted and unmounted volumes, control files, exit codes, JSON, bad
# input. Each case is a function test_* of a file beside this one; `run.sh NAME...` runs the named ones.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/mounted.sh"

out='' err='' rc=0 failures=0

# run COMMAND...: its exit code in $rc, its words in $out and $err
run() {
    out=$("$@" 2>"$scratch/err")
    rc=$?
    err=$(cat "$scratch/err")
}

fail() {
    failures=$((failures + 1))
    printf '    line %s: %s\n' "${BASH_LINENO[1]}" "$*"
}

# ok COMMAND...: exit code 0 and nothing like a complaint
ok() {
    run "$@"
    [ $rc -eq 0 ] || fail "exit $rc: $*: $err"
}

# refused CODE WORDS COMMAND...: that exit code, and WORDS on standard error, behind "varve: "
refused() {
    local want=$1 words=$2
    shift 2
    run "$@"
    [ $rc -eq "$want" ] || fail "exit $rc, not $want: $*: $out $err"
    case $err in "varve: "*"$words"*) ;; *) fail "$* says \"$err\", not \"$words\"" ;; esac
}

has() { case $out in *"$1"*) ;; *) fail "lacks \"$1\": $out" ;; esac; }
lacks() { case $out in *"$1"*) fail "has \"$1\": $out" ;; esac; }
same() { [ "$1" = "$2" ] || fail "\"$1\" is not \"$2\""; }

# json EXPRESSION: of $out, as d; prints it. Fails where schema is not 1.
json() {
    printf '%s' "$out" | python3 -c '
import json, sys
d = json.load(sys.stdin)
assert d["schema"] == 1
v = eval(sys.argv[1])
print(v if not isinstance(v, bool) and v is not None else json.dumps(v))' "$1" || fail "no such JSON: $1 in $out"
}

varve() { "$VARVE" "$@"; }

for file in "$here"/*.sh; do
    [ "$file" = "$here/run.sh" ] || . "$file"
done

passed=0 failed=0 skipped=0
[ $# -gt 0 ] || set -- $(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p')
for name in "$@"; do
    failures=0
    skip=''
    case_dir=$scratch/$name
    mkdir -p "$case_dir/m"
    log=$("$name" >"$scratch/log" 2>&1; echo "$failures|$skip")
    IFS='|' read -r failures skip <<<"$log"
    mounts=$(awk -v d="$case_dir" 'index($2, d) == 1 { print $2 }' /proc/self/mounts | sort -r)
    for m in $mounts; do umount "$m" || umount -l "$m"; done
    if [ -n "$skip" ]; then
        skipped=$((skipped + 1))
        say "skip $name: $skip"
    elif [ "$failures" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        say "FAIL $name"
        cat "$scratch/log"
    fi
done
say "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
