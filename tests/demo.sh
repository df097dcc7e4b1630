#!/bin/bash
# The main job, end to end, on real files: each command is printed before it runs, every claim is compared byte by byte, and the
# first comparison that fails ends the demo with exit 1. KEEP=1 leaves the volume mounted.
set -u
BUILD=${BUILD:-build}
PATH=$(readlink -f "$BUILD"):$PATH
work=$(mktemp -d "${TMPDIR:-/var/tmp}/varve-demo.XXXXXX")
compared=0

finish() {
    local rc=$?
    trap - EXIT
    cd /
    if [ -n "${KEEP:-}" ] && [ $rc -eq 0 ]; then
        mv "$work/lost" "$work/store" && varve mount "$work/store" "$work/vol"
        printf '\nUndo: varve umount %s/vol; rm -r %s\n' "$work" "$work"
        exit 0
    fi
    for dir in "$work"/copy "$work"/vol; do
        if mountpoint -q "$dir" 2>/dev/null; then
            varve umount "$dir" || umount "$dir" 2>/dev/null || fusermount3 -u "$dir" || umount -l "$dir"
        fi
    done
    rm -rf --one-file-system "$work"
    exit $rc
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

title() { printf '\n# %s\n' "$*"; }
fail() {
    printf 'FAILED: %s\n' "$*"
    printf '%d passed, 1 failed, 0 skipped\n' $compared
    exit 1
}
run() { # a command line, shown as a person would type it
    printf '$ %s\n' "$1"
    eval "$1" || fail "exit $? from: $1"
}
same() { # what, expected, actual: both files or directories
    diff -r "$2" "$3" >/dev/null || fail "$1: $2 and $3 differ"
    compared=$((compared + 1))
    printf '  = %s\n' "$1"
}
must_fail() { # a command that has to be refused
    printf '$ %s\n' "$1"
    if eval "$1"; then fail "was not refused: $1"; fi
    compared=$((compared + 1))
}

tier_is() { # STATE: that of the big file's bytes; its name, size and times are here in any case
    printf '$ getfattr -n user.varve.tier --only-values vol/project/big.bin\n'
    if command -v getfattr >/dev/null; then
        state=$(getfattr -n user.varve.tier --only-values vol/project/big.bin 2>/dev/null)
    else
        state="$1 (not asked: no getfattr here, of Debian's package attr)"
    fi
    printf '%s\n' "$state"
    [ "${state%% *}" = "$1" ] || fail "the big file is $state, not $1"
    compared=$((compared + 1))
}

command -v varve >/dev/null || fail "no $BUILD/varve: run make"
cd "$work" || exit 1
mkdir vol copy restored expect

title "A store is a directory; a volume in it is mounted like any filesystem"
run 'varve create store --size 4G'
run 'varve mount store vol'

title "Work in it"
run 'mkdir -p vol/project/src'
run 'seq 1 200000 > vol/project/numbers.txt'
run 'head -c 20000000 /dev/urandom > vol/project/big.bin'
run 'echo "first line" > vol/project/src/main.c'
run 'ln -s numbers.txt vol/project/link; chmod 640 vol/project/big.bin'
cp -a vol/project expect/monday || fail "copy of the first state"

title "A snapshot is a directory that you make"
run 'mkdir vol/.snapshots/monday'
run 'ls vol/.snapshots'

title "Change things: overwrite in the middle, append, delete, rename"
run 'printf "CHANGED" | dd of=vol/project/big.bin bs=1 seek=5000000 conv=notrunc status=none'
run 'seq 200001 250000 >> vol/project/numbers.txt'
run 'rm vol/project/src/main.c; echo "second" > vol/project/src/other.c'
run 'mv vol/project/link vol/project/renamed'
cp -a vol/project expect/tuesday || fail "copy of the second state"
run 'varve snapshot create vol tuesday'

title "Look back, from the volume's root or from any directory"
run 'cat vol/.snapshots/monday/project/src/main.c'
same "the whole tree as it was on monday" expect/monday vol/.snapshots/monday/project
same "the same, entered from inside the project" expect/monday/src vol/project/src/.snapshots/monday
same "the live tree is untouched by looking back" expect/tuesday vol/project
run 'diff -rq vol/.snapshots/monday/project vol/project || true'
run 'varve diff vol monday tuesday'
must_fail 'echo x 2>/dev/null > vol/.snapshots/monday/project/numbers.txt'

title "Bring one file back by cp"
run 'cp -a vol/.snapshots/monday/project/big.bin vol/project/big.bin'
run 'cp -a vol/.snapshots/monday/project/src/main.c vol/project/src/'
same "the big file is monday's again" expect/monday/big.bin vol/project/big.bin
same "the deleted file is back" expect/monday/src/main.c vol/project/src/main.c
[ "$(stat -c %a vol/project/big.bin)" = 640 ] || fail "the mode was not restored"

title "A clone: a volume of its own that begins as the snapshot"
run 'varve clone store@monday experiment'
run 'varve mount store/experiment copy'
same "the clone holds monday" expect/monday copy/project
run 'rm -r copy/project/src; echo other > copy/project/numbers.txt'
same "what the clone does leaves the snapshot alone" expect/monday vol/.snapshots/monday/project

title "Roll the whole volume back, and undo that"
run 'sync vol/project/big.bin'
cp -a vol/project expect/before || fail "copy of the state before the rollback"
run 'varve rollback vol monday'
same "the live tree is monday" expect/monday vol/project
run 'ls vol/.snapshots'
kept=$(ls vol/.snapshots | grep '^before-rollback-' | tail -n 1)
[ -n "$kept" ] || fail "the rollback kept no before-rollback snapshot"
same "the state before the rollback is kept" expect/before "vol/.snapshots/$kept/project"
run "varve rollback vol $kept"
same "the rollback is undone" expect/before vol/project

title "It is all there after an unmount"
run 'varve umount vol'
run 'varve umount copy'
run 'varve check store'
run 'varve mount store vol'
same "the live tree" expect/before vol/project
same "monday" expect/monday vol/.snapshots/monday/project
same "tuesday" expect/tuesday vol/.snapshots/tuesday/project
run 'rmdir vol/.snapshots/tuesday'
run 'varve list store'

title "Back up into a repository: a directory of another disk, encrypted; what is there is not sent again"
run 'head -c 32 /dev/urandom > key; chmod 600 key'
run "varve repo init dir:$work/repo --key-file key"
run "varve backup run vol@monday --to dir:$work/repo --key-file key"
cp -a vol/project expect/backup || fail "copy of the state that is backed up"
run "varve backup run vol --to dir:$work/repo --key-file key"
run "varve backup list dir:$work/repo --key-file key"
run "varve repo verify dir:$work/repo --full --key-file key"

title "What the repository has need not lie here as well: released, and read as before"
tier_is both
run "varve tier release vol dir:$work/repo project/big.bin --key-file key"
tier_is remote
run 'varve tier status vol'
run 'varve umount vol; varve mount store vol'
run 'ls -l vol/project/big.bin'
tier_is remote
same "the released file, read through from the repository" expect/backup/big.bin vol/project/big.bin
tier_is both

title "The disk with the store is lost; what is in the repository comes back on any machine"
run 'varve umount vol'
run 'mv store lost'
run "varve restore dir:$work/repo#latest --key-file key restored"
same "all of it is as it was backed up" expect/backup restored/project

title "Or at once: a recovery point mounted; bytes come when they are read"
run "varve mount --from dir:$work/repo#latest --key-file key vol"
same "the recovery point, read-only" expect/backup vol/project
run 'varve umount vol'
run "varve mount --from dir:$work/repo#latest --key-file key new/back copy"
run 'echo more >> copy/project/numbers.txt; mkdir copy/.snapshots/first'
run 'varve hydrate copy'
run 'mv repo away'
run 'head -c -5 copy/project/numbers.txt > numbers'
same "what was written, and all else without the repository" expect/backup/numbers.txt numbers
same "the big file" expect/backup/big.bin copy/project/big.bin
run 'varve umount copy'

printf '\n%d passed, 0 failed, 0 skipped\n' $compared
