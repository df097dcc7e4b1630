# Sourced by the suites of repositories, which set $here: cases are functions test_*, run one after the other by run_cases in a
# directory $dir of their own, with mounts that are undone. Gives $scratch and what is below.
. "$here/../tools/mounted.sh"
export XDG_CONFIG_HOME=$scratch/config XDG_CACHE_HOME=$scratch/cache VARVE_TIERD
VARVE_TIERD=$(readlink -f "$BUILD")/varve-tierd
unset VARVE_PASSPHRASE

failures=0 out='' rc=0
fail() {
    failures=$((failures + 1))
    printf '    line %s: %s\n' "${BASH_LINENO[1]}" "$*"
}
ok() {
    out=$("$@" 2>"$scratch/err")
    rc=$?
    [ $rc -eq 0 ] || fail "exit $rc: $*: $(cat "$scratch/err")"
}
# refused CODE WORDS COMMAND...: it fails with this exit code ("-": with any), says so, and is not long about it
refused() {
    local want=$1 words=$2 began=$SECONDS
    shift 2
    out=$("$@" 2>"$scratch/err")
    rc=$?
    [ "$want" = - ] && [ $rc -ne 0 ] && want=$rc
    [ $rc -eq "$want" ] 2>/dev/null || fail "exit $rc, not $want: $*: $out $(cat "$scratch/err")"
    case "$out$(cat "$scratch/err")" in *"$words"*) ;; *) fail "$* says \"$out$(cat "$scratch/err")\", not \"$words\"" ;; esac
    [ $((SECONDS - began)) -lt 60 ] || fail "$*: $((SECONDS - began)) s"
}
has() { case $out in *"$1"*) ;; *) fail "lacks \"$1\": $out" ;; esac; }
# json EXPRESSION of $out, as d
json() { printf '%s' "$out" | python3 -c 'import json, sys; d = json.load(sys.stdin); assert d["schema"] == 1; print(eval(sys.argv[1]))' "$1"; }
varve() { "$VARVE" "$@"; }
random() { head -c "$1" /dev/urandom; }

# Everything about a tree but what filesystems decide by themselves
picture() { (cd "$1" && find . -mindepth 1 \( -type d -printf '%p %y %m %U %G %T@\n' -o -printf '%p %y %m %U %G %T@ %s %n %l\n' \) | sort && find . -type f -print0 | sort -z | xargs -0 -r sha256sum && find . -print0 | sort -z | xargs -0 getfattr -h -d -m - 2>/dev/null); }
same_trees() { diff <(picture "$1") <(picture "$2") >"$scratch/diff" || fail "$1 and $2 differ: $(head -n 5 "$scratch/diff")"; }

new_volume() { # of the case's own, at $dir/m
    mkdir -p "$dir/m"
    mounted+=("$dir/m")
    ok varve mount "$dir/s" "$dir/m" --create
}

# plain_is SNAP: the last manifest below $dir/p names exactly the files of the snapshot, and each object has their bytes
plain_is() {
    python3 - "$dir/p" "$dir/m/.snapshots/$1" <<'END' || fail "$dir/p is not $1"
import hashlib, json, os, sys
place, tree = sys.argv[1:]
last = sorted(os.listdir(place + '/manifest'))[-1]
lines = [json.loads(l) for l in open(f'{place}/manifest/{last}')]
assert lines[0]['schema'] == 1 and lines[-1]['end'], last
files = {}
for e in lines[1:-1]:
    path = bytes.fromhex(e['path_hex']) if 'path_hex' in e else e['path'].encode()
    if e['type'] == 'file' and not e.get('gone'):
        data = open(place + '/' + e['object'], 'rb').read()
        assert len(data) == e['size'] and hashlib.sha256(data).hexdigest() == e['sha256'], path
        files[path] = data
want = {}
for dir, _, names in os.walk(tree.encode()):
    for n in names:
        p = os.path.join(dir, n)
        if not os.path.islink(p) and os.path.isfile(p):
            want[os.path.relpath(p, tree.encode())] = open(p, 'rb').read()
assert files == want, set(files) ^ set(want)
assert lines[-1]['files'] == len(want)
END
}

# A python3 that has what read_repo.py needs, in $py
read_repo_python() {
    for py in python3 /usr/bin/python3; do
        "$py" -c 'import cryptography, zstandard' 2>/dev/null && return
    done
    skip='python3-cryptography or python3-zstandard is not installed'
    return 1
}

# The processes that serve a repository, by its URL
served_by() { # asked by one process: looking must not take longer than what is looked for
    grep -lsazxF "$1" /proc/[0-9]*/cmdline | while IFS=/ read -r _ _ p _; do
        [ "$(readlink "/proc/$p/exe")" = "$VARVE_TIERD" ] && echo "$p"
    done
}

restored() { # the newest backup has $dir/m/large as it is
    ok varve restore "$url#latest" "$dir/out" --key-file "$dir/key"
    cmp "$dir/m/large" "$dir/out/large" || fail 'other bytes'
}

# A repository at $url, and a backup to it that goes on in the background, $backing_up, of so many BYTES in $dir/m/large: what is
# to happen meanwhile comes in between. It goes well, and what it has put is sound.
backup_begins() {
    ok varve repo init "$url" --key-file "$dir/key"
    new_volume
    head -c "$1" /dev/urandom >"$dir/m/large"
    varve backup run "$dir/m" --to "$url" --key-file "$dir/key" >"$dir/log" 2>&1 &
    backing_up=$!
}
backup_ends() {
    wait "$backing_up" || fail "$(cat "$dir/log")"
    ok varve repo verify "$url" --full --key-file "$dir/key"
}
kill_speakers() { # with the repository of this URL: there is one
    local p killed=0
    for p in $(served_by "$1"); do kill -9 "$p" && killed=1; done
    [ $killed = 1 ] || fail 'none was there'
}

speaker_dies() { # a repository at $url; in the middle of a backup the process that speaks to it is killed: another takes its place
    url="$url&bandwidth=16M"
    backup_begins 60000000
    sleep 2
    kill_speakers "$url"
    backup_ends
}

# All of the C program, or the named tests of it: what it says, and its figures taken in
run_units() {
    "$BUILD/tests/tier" "$@" >"$scratch/unit" 2>&1
    grep -av ' note \| warn ' "$scratch/unit" | sed '$d'
    take_in "$scratch/unit"
}

all_cases() { declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p'; }
passed=0 failed=0 skipped=0
# run_cases NAME...: lines that begin with four spaces and a small letter or digit are figures, and shown
run_cases() {
    local name
    for name in "$@"; do
        failures=0 skip='' dir=$scratch/$name
        "$name" >"$scratch/log" 2>&1
        unmount_all
        if [ -n "$skip" ]; then
            skipped=$((skipped + 1))
            say "skip $name: $skip"
        elif [ "$failures" = 0 ]; then
            passed=$((passed + 1))
            grep -a '^    [a-z0-9]' "$scratch/log"
        else
            failed=$((failed + 1))
            say "FAIL $name"
            cat "$scratch/log"
        fi
        rm -rf --one-file-system "$dir" 2>/dev/null || { sleep 1; rm -rf --one-file-system "$dir"; } # a daemon may be just ending
    done
}
suite_end() {
    say "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}
