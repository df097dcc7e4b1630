#!/bin/bash
# controls.sh: proves that the suites bite. tests/controls.tsv lists, tab-separated: rule, suite, command, and the engine rules
# (F1...) that it breaks. Each command runs green in the plain build first, then must turn red in a build with
# -DVARVE_BREAK_<rule>. In a command, $BUILD is the build directory; programs named $BUILD/... are built before.
# ONLY=rule[,rule] picks some. Also failures: a rule in the sources that no line names, and an engine rule without a line.
#
# A broken rule may leave a keeper, a daemon and a mount behind, or hang in one. So all of it runs in a mount namespace of its own, each
# command in a directory of its own and marked in its environment; when it is over, processes so marked are ended, and what is mounted
# there is unmounted.
set -u
cd "$(dirname "$0")/../.."
[ -n "${OWN_MOUNTS:-}" ] || exec tests/tools/own_mounts.sh tests/tools/controls.sh
list=tests/controls.tsv
logs=build/log/controls
engine_rules=$(seq -f 'F%g' 1 20)
passed=0 failed=0
declare -A green
declare -A seen
mkdir -p $logs

result() { # ok|bad, text...
    if [ "$1" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    shift
    printf '%-32s %-14s %-12s %s\n' "$@"
}

marked() { # those that have this mark, but for this shell
    grep -lsz "^VARVE_CONTROL=$1\$" /proc/[0-9]*/environ | sed -n 's,^/proc/\([0-9]*\)/environ$,\1,p'
}
clear_up() { # MARK DIR
    local pid point _
    for _ in 1 2 3; do
        for pid in $(marked "$1"); do kill -9 "$pid" 2>/dev/null; done
        sleep 0.05
    done
    awk -v dir="$2/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | tac | while read -r point; do umount -l "$point"; done
    rm -rf --one-file-system "$2"
}

run() { # BUILD, command, log
    local dir mark=$$-$RANDOM rc
    dir=$(mktemp -d "${TMPDIR:-/var/tmp}/varve-control.XXXXXX") && chmod 711 "$dir"
    (
        export BUILD=$1 CONTROL=1 TMPDIR=$dir VARVE_CONTROL=$mark
        eval "timeout -k 10 ${CONTROL_TIMEOUT:-300} $2"
    ) >"$3" 2>&1
    rc=$?
    clear_up "$mark" "$dir"
    return $rc
}

programs() { # BUILD, command -> the make targets it needs, with $BUILD in place
    local found
    found=$(grep -o '\$BUILD/[A-Za-z0-9_./-]*' <<<"$2" | sort -u | sed "s,^\$BUILD,$1,")
    # what runs varve runs varve-tierd, too: where it is missing everything is red
    case $2 in *.sh* | *'$BUILD/varve'*) found="$found $1/varve $1/varve-tierd" ;; esac
    [ -n "$found" ] && echo "$found" || echo all
}

control() {
    local rule=$1 suite=$2 cmd=$3 proves=$4 broken=build-break-$1
    seen[$rule]=1
    if [ -z "${green[$cmd]:-}" ]; then
        if make -s $(programs build "$cmd") >$logs/plain.log 2>&1 && run build "$cmd" $logs/plain.log; then
            green[$cmd]=yes
        else
            green[$cmd]=no
            cp $logs/plain.log "$logs/$rule.plain.log"
        fi
    fi
    if [ "${green[$cmd]}" = no ]; then
        result bad "$rule" "$suite" "${proves:--}" "FAILED: not green in the plain build ($logs/*.plain.log)"
    elif ! make -s BREAK="$rule" $(programs "$broken" "$cmd") >"$logs/$rule.log" 2>&1; then
        result bad "$rule" "$suite" "${proves:--}" "FAILED: does not build ($logs/$rule.log)"
    elif run "$broken" "$cmd" "$logs/$rule.log"; then
        result bad "$rule" "$suite" "${proves:--}" "FAILED: stayed green"
    else
        result ok "$rule" "$suite" "${proves:--}" "red, as it must be"
    fi
    rm -rf "$broken"
}

printf '%-32s %-14s %-12s %s\n' rule suite proves verdict
proven=
while IFS=$'\t' read -r rule suite cmd proves; do
    case $rule in '' | '#'* | rule) continue ;; esac
    [ -z "${ONLY:-}" ] || [[ ,$ONLY, == *,$rule,* ]] || continue
    proven="$proven ${proves//,/ }"
    control "$rule" "$suite" "$cmd" "$proves"
done <$list

if [ -z "${ONLY:-}" ]; then
    for rule in $(grep -rhow 'VARVE_BREAK_[a-z0-9_]*' --include='*.[ch]' base conf snap tier fs plugin 2>/dev/null | sed 's/VARVE_BREAK_//' | sort -u); do
        [ "$rule" = rule ] || [ -n "${seen[$rule]:-}" ] || result bad "$rule" - - "FAILED: in the sources, not in $list"
    done
    for f in $engine_rules; do
        [[ " $proven " == *" $f "* ]] || result bad - - "$f" "FAILED: no line breaks this rule"
    done
fi
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
