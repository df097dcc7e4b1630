# .snapshots: looking back, verbs, control files.

# each takes its own store: snapshots belong to the whole volume
snap_store() {
    own_store snap "$@"
    cd "$point"
}

test_snap_hidden_and_visible() {
    snap_store
    mkdir d
    expect "$(ls -A)" d
    [ -d .snapshots ] && [ -d d/.snapshots ]
    expect "$(find . | sort | tr '\n' ' ')" ". ./d "
    expect "$(ls -A d)" ""
    rm -r d
    cd /
    umount "$point"
    wait_for 10 daemon_gone "$store"
    snap_store -o snapdir=visible
    expect "$(ls -A)" .snapshots
    mkdir d
    expect "$(ls -A d)" ""
    expect "$(ls -A | sort | tr '\n' ' ')" ".snapshots d "
    cd /
    umount "$point"
    wait_for 10 daemon_gone "$store"
    snap_store -o snapdir=disabled
    [ ! -e .snapshots ]
    fails "not permitted" mkdir .snapshots
}

test_snap_verbs() {
    snap_store
    echo one >f
    mkdir .snapshots/first
    echo two >f
    expect "$(cat .snapshots/first/f)" one
    expect "$(ls .snapshots)" first
    fails "exists" mkdir .snapshots/first
    mkdir .snapshots/second
    mv .snapshots/first .snapshots/erste
    expect "$(ls .snapshots | tr '\n' ' ')" "erste second "
    expect "$(cat .snapshots/erste/f)" one
    [ ! -e .snapshots/first ]
    py "must(errno.EEXIST, os.rename, '.snapshots/erste', '.snapshots/second')"
    rmdir .snapshots/erste
    expect "$(ls .snapshots)" second
    fails "No such file" rmdir .snapshots/erste
    fails "No such file" ls .snapshots/erste
}

test_snap_names_reserved() {
    snap_store
    for n in .hidden @at a.json; do fails "Invalid argument" mkdir ".snapshots/$n"; done
    fails "too long" mkdir ".snapshots/$(printf 'n%.0s' $(seq 256))"
    mkdir ".snapshots/$(printf 'n%.0s' $(seq 255))"
    fails "not permitted" mv .snapshots other
    fails "not permitted" rmdir .snapshots
    fails "exists" mkdir .snapshots
    fails "Read-only" touch .snapshots/file
    fails "Read-only" ln -s x .snapshots/l
    fails "Read-only" mkdir .snapshots/.control/x
}

test_snap_read_only() {
    snap_store
    echo x >f
    mkdir d
    mkdir .snapshots/s
    fails "Read-only" sh -c 'echo y >.snapshots/s/f'
    fails "Read-only" rm .snapshots/s/f
    fails "Read-only" mkdir .snapshots/s/n
    fails "Read-only" chmod 777 .snapshots/s/f
    fails "Read-only" mv .snapshots/s/f .snapshots/s/g
    fails "Read-only" setfattr -n user.a -v b .snapshots/s/f
    fails "Read-only" truncate -s 0 .snapshots/s/f
    py "
must(errno.EXDEV, os.link, '.snapshots/s/f', 'l')
must(errno.EXDEV, os.rename, '.snapshots/s/f', 'l')
must(errno.EXDEV, os.rename, 'f', '.snapshots/s/l')
must(errno.EXDEV, os.rename, '.snapshots/s', 'l')"
    expect "$(cat .snapshots/s/f)" x
}

test_snap_is_as_it_was() {
    snap_store
    mkdir -p t/sub
    head -c 3000000 /dev/urandom >t/big
    echo small >t/small
    ln t/small t/sub/hard
    ln -s big t/soft
    mkfifo t/pipe
    chmod 3751 t/sub
    chown 12:34 t/small
    touch -d '2011-11-11 11:11:11.111111111' t/big
    setfattr -n user.x -v y t/small
    truncate -s 1G t/hole
    cp -a t "$scratch/as-it-was"
    mkdir .snapshots/s
    rm -r t
    mkdir t
    echo other >t/small
    cd "$scratch/as-it-was"
    find . | sort | xargs stat -c '%n %a %u %g %s %.9Y %h %F' | grep -v '^\. ' >"$scratch/want"
    cd "$point/.snapshots/s/t"
    find . | sort | xargs stat -c '%n %a %u %g %s %.9Y %h %F' | grep -v '^\. ' >"$scratch/have"
    diff "$scratch/want" "$scratch/have"
    cmp big "$scratch/as-it-was/big"
    cmp small "$scratch/as-it-was/small"
    expect "$(readlink soft)" big
    expect "$(getfattr --only-values -n user.x small)" y
    expect "$(stat -c %i small)" "$(stat -c %i sub/hard)"
    [ "$(stat -c %b hole)" -le 16 ]
    rm -r "$scratch/as-it-was"
}

test_snap_cp_and_diff_of_one_file() {
    snap_store
    head -c 200000000 /dev/urandom >f
    sum=$(sha256sum <f)
    mkdir .snapshots/s
    printf changed | dd of=f bs=1 seek=100000000 conv=notrunc status=none
    [ "$(stat -c %i f)" != "$(stat -c %i .snapshots/s/f)" ]
    if diff -q f .snapshots/s/f; then return 1; fi
    t0=$(date +%s%N)
    cp -a .snapshots/s/f f
    t1=$(date +%s%N)
    echo "cp took $(((t1 - t0) / 1000000)) ms"
    diff f .snapshots/s/f
    drop_caches
    expect "$(sha256sum <f)" "$sum"
    [ $(((t1 - t0) / 1000000)) -lt 500 ]
    ino=$(stat -c %i .snapshots/s/f)
    drop_caches
    expect "$(stat -c %i .snapshots/s/f)" "$ino"
}

# a directory of a view never has two parents (F8)
test_snap_views_in_two_directories() {
    snap_store
    mkdir -p a/b/c
    echo deep >a/b/c/f
    mkdir .snapshots/s
    (
        cd .snapshots/s/a/b/c
        for i in 1 2 3; do
            expect "$(cat "$point/a/b/.snapshots/s/c/f")" deep
            expect "$(cat "$point/a/.snapshots/s/b/c/f")" deep
            expect "$(cat f)" deep
            expect "$(cat ../c/f)" deep
            expect "$(pwd -P)" "$point/.snapshots/s/a/b/c"
        done
        ls "$point/a/b/c/.snapshots/s/f" >/dev/null
        expect "$(/bin/pwd)" "$point/.snapshots/s/a/b/c"
    )
    [ "$(stat -c %i .snapshots/s/a/b)" != "$(stat -c %i a/.snapshots/s/b)" ]
    mv a/b moved
    expect "$(cat moved/.snapshots/s/c/f)" deep
    mkdir fresh
    fails "No such file" ls fresh/.snapshots/s
    expect "$(ls fresh/.snapshots)" s
}

test_snap_deleted_under_a_reader() {
    snap_store
    head -c 5000000 /dev/urandom >f
    mkdir .snapshots/s
    rm f
    py "
fd = os.open('.snapshots/s/f', os.O_RDONLY)
d = os.open('.snapshots/s', os.O_RDONLY)
os.rmdir('.snapshots/s')
must(errno.ENOENT, os.stat, '.snapshots/s')
open('/proc/sys/vm/drop_caches', 'w').write('3')
try: os.pread(fd, 100, 1000000)
except OSError as e: assert e.errno in (errno.ESTALE, errno.EIO), e
os.close(fd)"
    ls >/dev/null
}

test_snap_time_names() {
    snap_store
    echo one >f
    mkdir .snapshots/s1
    sleep 1.1
    t1=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    sleep 1.1
    echo two >f
    mkdir .snapshots/s2
    expect "$(cat ".snapshots/@latest/f")" two
    expect "$(cat ".snapshots/@$t1/f")" one
    g=$(date -u -d "$t1" +%Y.%m.%d-%H.%M.%S)
    expect "$(cat ".snapshots/@GMT-$g/f")" one
    fails "No such file" cat ".snapshots/@2001-01-01T00:00:00Z/f"
    fails "No such file" cat ".snapshots/@nonsense/f"
    expect "$(ls .snapshots | tr '\n' ' ')" "s1 s2 "
}

test_snap_xattrs() {
    snap_store
    echo x >f
    mkdir .snapshots/s
    names=$(getfattr -d -m user.varve .snapshots/s | grep -c '^user.varve.snap')
    expect "$names" 6
    b=$(getfattr --only-values -n user.varve.snap.btime .snapshots/s)
    [ $(($(date +%s) - ${b%.*})) -lt 60 ]
    expect "$(getfattr --only-values -n user.varve.snap.expiry .snapshots/s)" never
    expect "$(getfattr -d -m - .snapshots/s/f | grep -c varve)" 0
    cp -a .snapshots/s copy
    expect "$(getfattr -d -m - copy | grep -c varve)" 0
}

test_snap_control_files() {
    snap_store
    [ -d .snapshots/.control ]
    ls .snapshots/.control | grep -qx status
    expect "$(ls -A .snapshots | head -n 1)" .control
    [ "$(stat -c %s .snapshots/.control/status)" -gt 0 ]
    expect "$(wc -c <.snapshots/.control/help)" "$(stat -c %s .snapshots/.control/help)"
    python3 -m json.tool <.snapshots/.control/status.json >/dev/null
    echo 'create by-control' >.snapshots/.control/snapshots
    [ -d .snapshots/by-control ]
    grep -q by-control .snapshots/.control/snapshots
    fails "exists" bash -c 'echo "create by-control" >.snapshots/.control/snapshots'
    grep -q by-control .snapshots/.control/error
    echo 'hold by-control' >.snapshots/.control/snapshots
    fails "busy" rmdir .snapshots/by-control
    grep -q '^line *rmdir by-control$' .snapshots/.control/error
    grep -q 'varve snapshot release' .snapshots/.control/error
    echo 'release by-control' >.snapshots/.control/snapshots
    fails "nvalid argument" bash -c 'echo "frobnicate" >.snapshots/.control/snapshots'
    printf 'create a1\ncreate a2\n' >.snapshots/.control/snapshots
    [ -d .snapshots/a1 ] && [ -d .snapshots/a2 ]
    echo 'delete a1' >>.snapshots/.control/snapshots
    [ ! -e .snapshots/a1 ]
    echo changed >f
    grep -q '^+ f ' .snapshots/.control/changes/a2
    [ ! -e d/.snapshots/.control ]
    mkdir d
    [ ! -e d/.snapshots/.control ]
    fails "No such file" cat .snapshots/.control/nothing
}

test_snap_control_levels() {
    snap_store -o control=read
    fails "not permitted" mkdir .snapshots/s
    cat .snapshots/.control/status >/dev/null
    if bash -c 'echo "create x" >.snapshots/.control/snapshots' 2>/dev/null; then return 1; fi
    [ ! -e .snapshots/x ]
    cd /
    umount "$point"
    wait_for 10 daemon_gone "$store"
    snap_store -o control=none
    fails "not permitted" mkdir .snapshots/s
    [ ! -e .snapshots/.control ]
    cd /
    umount "$point"
    wait_for 10 daemon_gone "$store"
    snap_store -o control=snapshot,control_gid=4321
    mkdir .snapshots/s
    expect "$(stat -c %g:%a .snapshots)" 4321:775
    expect "$(stat -c %g .snapshots/.control)" 4321
    setpriv --reuid=65534 --regid=65534 --groups 4321 mkdir .snapshots/by-group
    fails "ermission denied" as_user mkdir .snapshots/by-nobody
    as_user ls .snapshots/s >/dev/null
    fails "ermission denied" as_user cat .snapshots/.control/status
}

test_snap_owner_of_the_root_decides() {
    snap_store
    chown 65534:65534 .
    as_user mkdir .snapshots/mine
    expect "$(stat -c %u .snapshots)" 65534
    as_user sh -c 'echo "create more" >.snapshots/.control/snapshots'
    chown 0:0 .
    fails "ermission denied" as_user mkdir .snapshots/not-mine
}

test_snap_mounted_by_itself() {
    snap_store
    echo then >f
    mkdir .snapshots/s
    echo now >f
    mkdir -p "$point.snap"
    "$VARVE" mount "$store/main@s" "$point.snap" >/dev/null
    expect "$(cat "$point.snap/f")" then
    fails "Read-only" touch "$point.snap/g"
    [ ! -e "$point.snap/.snapshots" ]
    expect "$(stat -c %i "$point.snap")" "$(stat -c %i "$point.snap/.")"
    mkdir "$point.none"
    fails "has no snapshot" "$VARVE" mount "$store/main@none" "$point.none"
    "$VARVE" umount "$point.snap"
    expect "$(cat f)" now
}

# F7: nothing cached before a rollback is seen after it
test_snap_rollback() {
    snap_store
    mkdir d
    echo one >d/f
    echo kept >same
    mkdir .snapshots/s
    echo two >d/f
    echo new >d/g
    mkdir later
    rm same
    cat d/f d/g >/dev/null
    ls -l d later >/dev/null
    [ ! -e same ] && [ ! -e absent ]
    exec 7<d/g
    "$VARVE" rollback "$point" s >/dev/null
    expect "$(cat d/f)" one
    [ ! -e d/g ] && [ ! -e later ]
    expect "$(cat same)" kept
    expect "$(ls | tr '\n' ' ')" "d same "
    expect "$(cat <&7)" new
    exec 7<&-
    echo three >d/f
    expect "$(cat d/f)" three
    before=$(ls .snapshots | grep before-rollback)
    expect "$(cat ".snapshots/$before/d/g")" new
    echo "rollback $before" >.snapshots/.control/rollback
    expect "$(cat d/g)" new
    expect "$(cat d/f)" two
    [ ! -e same ]
}

test_snap_rollback_for_older_kernels() {
    VARVE_NO_EPOCH=1 snap_store
    echo one >f
    : >gone-then
    mkdir .snapshots/s
    rm gone-then
    echo two >f
    mkdir late
    [ ! -e gone-then ] && [ -d late ]
    cat f >/dev/null
    "$VARVE" rollback "$point" s >/dev/null
    expect "$(cat f)" one
    [ -e gone-then ] && [ ! -e late ]
}

test_snap_while_writing() {
    snap_store
    py "
import threading
fd = os.open('log', os.O_RDWR | os.O_CREAT); n = 0; stop = False; marks = []
def snaps():
    global stop
    for i in range(20):
        before = n
        os.mkdir('.snapshots/s%d' % i)
        marks.append((i, before, n)); time.sleep(0.02)
    stop = True
t = threading.Thread(target=snaps); t.start()
while not stop:
    os.pwrite(fd, b'%07d\n' % n, n * 8); n += 1
t.join()
for i, lo, hi in marks:
    size = os.stat('.snapshots/s%d/log' % i).st_size // 8
    assert lo <= size <= hi + 1, (i, lo, size, hi)
    d = open('.snapshots/s%d/log' % i, 'rb').read()
    assert d == b''.join(b'%07d\n' % k for k in range(size)), i"
}
