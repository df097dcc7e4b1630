# Death and standstill of the daemon and of the keeper: nobody who uses the mount notices more than a pause.

# The daemon starts another keeper, which holds all mounts as the first did; then the daemon dies, and the keeper restores that.
test_life_keeper_killed() {
    own_store orphaned
    echo x >"$point/f"
    for i in 1 2; do
        was=$(keeper_pid "$store")
        kill -9 "$was"
        echo y$i >>"$point/f"
        another() { p=$(keeper_pid "$store") && [ "$p" != "$was" ]; }
        wait_for 5 another
    done
    mkdir -p "$point.b"
    "$VARVE" mount "$store/other" "$point.b" --create >/dev/null
    echo z >"$point.b/f"
    was=$(daemon_pid "$store")
    kill -9 "$was"
    echo y3 >>"$point/f"
    [ "$(daemon_pid "$store")" != "$was" ]
    expect "$(cat "$point.b/f")" z
    grep -q 'keeper death' "$store/log/daemon.log"
    "$VARVE" umount "$point"
    "$VARVE" umount "$point.b"
    wait_for 10 daemon_gone "$store"
    "$VARVE" mount "$store" "$point" >/dev/null
    expect "$(tail -n 1 "$point/f")" y3
}

# A daemon that stands still, and one of which a request does; a long one that moves is left alone.
test_life_hung_daemon() {
    VARVE_HUNG_MS=1500 own_killable hung
    echo x >"$point/f"
    was=$(daemon_pid "$store")
    kill -STOP "$was"
    wait_for 5 grep -q '^State:.T' "/proc/$was/status" # its threads stop one after the other, busy machines take their time
    echo y >>"$point/f"
    [ "$(daemon_pid "$store")" != "$was" ]
    was=$(daemon_pid "$store")
    echo "17 0 1 hang" >"$order" # before a mkdir is journaled, with the store's lock held
    mkdir "$point/d"
    [ "$(daemon_pid "$store")" != "$was" ]
    expect "$(grep -c 'keeper hung' "$store/log/daemon.log")" 2
    was=$(daemon_pid "$store")
    echo "17 0 1 slow" >"$order"
    mkdir "$point/e"
    expect "$(daemon_pid "$store")" "$was"
    expect "$(cat "$point/f")" "x
y"
    "$VARVE" umount "$point"
    "$VARVE" check "$store"
}

# A command that a daemon dies of, and the next one, too, is given up, before the store would be served read-only.
test_life_command_that_kills() {
    own_killable deadly
    echo x >"$point/f"
    echo "2 0 1 each" >"$order"
    fails "died of this command" "$VARVE" snapshot create "$point" one
    rm "$order"
    echo y >>"$point/f"
    expect "$("$VARVE" status "$point" | grep -c read-write)" 1
    expect "$(grep -c 'keeper death' "$store/log/daemon.log")" 2
    "$VARVE" snapshot create "$point" one
    "$VARVE" umount "$point"
    "$VARVE" check "$store"
}

test_life_daemon_killed() {
    own_store kill
    mkdir "$point/d"
    echo before >"$point/d/f"
    exec 8>>"$point/d/f"
    pid=$(daemon_pid "$store")
    kill -9 "$pid"
    echo after >&8
    expect "$(cat "$point/d/f")" "before
after"
    wait_for 5 daemon_pid "$store"
    [ "$(daemon_pid "$store")" != "$pid" ]
    echo new >"$point/new"
    exec 8>&-
    mkdir "$point/.snapshots/s"
    grep -q 'death' "$store/log/daemon.log"
    "$VARVE" umount "$point"
    "$VARVE" mount "$store" "$point" >/dev/null
    expect "$(cat "$point/new")" new
}

# What a daemon had done and not answered when it died is asked again of the next one, which gives the first answer.
test_life_daemon_killed_under_load() {
    own_store load
    py "
import subprocess, signal, writers
w = writers.Writers(sys.argv[1])
for n in range(5):
    time.sleep(0.5)
    pid = int(subprocess.check_output(['pgrep', '-f', 'varve daemon ' + sys.argv[2] + '\$']).split()[0])
    os.kill(pid, signal.SIGKILL)
time.sleep(1.0)
w.end()" "$point" "$store"
}

# A daemon waits for jobs before it leaves; the last umount meanwhile closes the store under nobody's hands.
test_life_upgrade_at_the_last_umount() {
    local pid
    own_store leave
    head -c 30000000 /dev/urandom >"$point/f"
    sync "$point/f"
    py "
for i in range(4000): open('%s/%d' % (sys.argv[1], i), 'w').write('x' * 3000)" "$point"
    "$VARVE" scrub "$store" --rate 1M --background >/dev/null
    "$VARVE" upgrade "$store" >"$scratch/own-leave.said" 2>&1 &
    pid=$!
    sleep 0.3
    "$VARVE" umount "$point"
    wait $pid
    grep -q 'nothing is mounted' "$scratch/own-leave.said" || { cat "$scratch/own-leave.said"; return 1; }
    ! grep 'error' "$store/log/daemon.log"
    "$VARVE" mount "$store" "$point" >/dev/null
    expect "$(find "$point" -type f | wc -l)" 4001
}

test_life_unlinked_open_over_a_death() {
    own_store orphan
    py "
import signal, subprocess
os.chdir(sys.argv[1])
fd = os.open('f', os.O_RDWR | os.O_CREAT); os.write(fd, b'q' * 500000); os.unlink('f')
pid = int(subprocess.check_output(['pgrep', '-f', 'varve daemon ' + sys.argv[2] + '\$']).split()[0])
os.kill(pid, signal.SIGKILL)
open('/proc/sys/vm/drop_caches', 'w').write('3')
time.sleep(2)
assert os.pread(fd, 3, 499998) == b'qq'
os.close(fd)" "$point" "$store"
    "$VARVE" umount "$point"
    "$VARVE" mount "$store" "$point" >/dev/null
    expect "$(ls -A "$point")" ""
}

test_life_takeover_keeps_views() {
    own_store views
    mkdir "$point/d"
    echo then >"$point/d/f"
    mkdir "$point/.snapshots/s"
    cd "$point/d/.snapshots/s"
    ino=$(stat -c %i f)
    kill -9 "$(daemon_pid "$store")"
    drop_caches
    expect "$(cat f)" then
    expect "$(stat -c %i f)" "$ino"
    expect "$(cat "$point/d/.snapshots/s/f")" then
    expect "$(cat "$point/.snapshots/.control/error" | wc -l | grep -c .)" 1
    cd /
}

# Who stands in a directory, and what is mounted on one or is a bind mount of one, does not notice: names are looked up while the next
# daemon does not answer, so that what it told the kernel of them shows.
test_life_takeover_keeps_directories() {
    own_store stays
    mkdir -p "$point/top/low" "$point/on" "$point/bound" "$scratch/other.dir" "$scratch/bound.dir"
    echo there >"$scratch/other.dir/f"
    echo there >"$point/bound/f"
    mount --bind "$scratch/other.dir" "$point/on"
    mount --bind "$point/bound" "$scratch/bound.dir"
    trap 'rc=$?; set +e; umount -l "$point/on" "$scratch/bound.dir" 2>/dev/null; (exit $rc); own_end' EXIT
    py "
import signal, subprocess
def stander(d):
    ask, go = os.pipe(); get, tell = os.pipe()
    if os.fork() == 0:
        os.close(go); os.chdir(d)
        while os.read(ask, 1):
            try: said = os.getcwd() + ' ' + os.readlink('/proc/self/cwd')
            except OSError as x: said = str(x)
            os.write(tell, said.encode().ljust(4096))
        os._exit(0)
    os.close(ask)
    return go, get, d
point, store, bound = sys.argv[1:]
standers = [stander(d) for d in (point, point + '/top', point + '/top/low', bound)]
def ask():
    for go, get, d in standers:
        os.write(go, b'?')
        said = os.read(get, 4096).decode().strip()
        assert said == d + ' ' + d, (d, said)
def daemon(): return [int(p) for p in subprocess.run(['pgrep', '-f', 'varve daemon ' + store + '\$'], stdout=subprocess.PIPE).stdout.split()]
ask()
for lookup in ('/top', '/bound', '/top/low', '/on', '/bound/f'):
    was = daemon()[0]
    os.kill(was, signal.SIGKILL)
    os.statvfs(point)
    while daemon() in ([], [was]): time.sleep(0.01)
    if lookup.count('/') > 1: os.stat(point + os.path.dirname(lookup))
    now = daemon()[0]
    os.kill(now, signal.SIGSTOP)
    while 'T' not in open('/proc/%d/stat' % now).read().rsplit(')', 1)[1].split()[0]: time.sleep(0.01)
    asker = os.fork()
    if asker == 0: os.stat(point + lookup); os._exit(0)
    try:
        time.sleep(0.3)
        ask()
    finally: os.kill(now, signal.SIGCONT)
    assert os.waitpid(asker, 0)[1] == 0
    ask()
    os.stat(point + '/on')
    assert open(point + '/on/f').read() == 'there\n', 'what was mounted in there is gone'
    assert open(bound + '/f').read() == 'there\n'" "$point" "$store" "$scratch/bound.dir"
    findmnt -n -o SOURCE "$scratch/bound.dir" | grep -q '\[/bound\]$'
    umount "$point/on"
    umount "$scratch/bound.dir"
}

# Rolled back by a daemon that died before it had told the kernel, and nobody asks for the answer: the next one tells it. The keeper's
# death, and another program, do not make that known a second time, nor forget it.
test_life_untold_rollback() {
    own_killable untold
    mkdir "$point/d" "$point/d/sub"
    echo then >"$point/d/f"
    mkdir "$point/.snapshots/s"
    echo later >"$point/d/f"
    echo later >"$point/new"
    for round in 1 2; do
        [ $round = 1 ] || { # the new keeper has it from the daemon
            kill -9 "$(keeper_pid "$store")"
            wait_for 5 keeper_pid "$store"
        }
        cat "$point/d/f" >/dev/null
        cd "$point"
        rm -f "$order"
        echo "3 1 1" >"$order"
        py "
s = socket.socket(socket.AF_UNIX); os.chdir(sys.argv[1]); s.connect('sock')
words = b'verb\\0#7%d\\0rollback\\0main\\0--name=s\\0' % int(sys.argv[2])
s.send(struct.pack('<IB', len(words), 1) + words)
assert s.recv(5) == b''" "$store" $round
        told() { [ "$(grep -c 'fs told' "$store/log/daemon.log")" = $round ]; }
        wait_for 5 told
        expect "$(cat "$point/d/f")" then
        [ ! -e "$point/new" ]
        expect "$(/bin/pwd -P)" "$point" # the root stays what it is
        (
            cd "$point/d"
            kill -9 "$(daemon_pid "$store")"
            stat "$point/d/sub" >/dev/null
            /bin/pwd -P >/dev/null
        )
        told
        echo later >"$point/d/f"
        echo later >"$point/new"
    done
}

# The keeper dies while a connection is being made: when it is mounted and the daemon has not noted it, and when that has noted it and
# not begun. The next keeper holds it all the same: the daemon's death shows that.
test_life_keeper_killed_in_a_mount() {
    for at in 0 1; do
        own_killable "begins$at"
        mkdir -p "$point.b"
        echo "0 $at 1 keeper" >"$order"
        "$VARVE" mount "$store/other" "$point.b" --create >/dev/null
        [ ! -e "$order" ]
        wait_for 5 keeper_pid "$store"
        was=$(daemon_pid "$store")
        echo x >"$point.b/f"
        kill -9 "$was"
        expect "$(timeout -s KILL 10 cat "$point.b/f")" x
        expect "$(grep -c 'keeper adopted' "$store/log/daemon.log")" 1
        umount "$point.b"
        "$VARVE" umount "$point"
    done
}

# The daemon dies between mount(2) and its answer: the command, which asks the next one, finds the volume where it shall be.
test_life_daemon_killed_in_a_mount() {
    own_killable mounts
    mkdir -p "$point.b"
    for at in 0 1 2; do
        echo "0 $at 1" >"$order"
        "$VARVE" mount "$store/other" "$point.b" --create >/dev/null
        [ ! -e "$order" ]
        expect "$(findmnt -n -o SOURCE "$point.b")" "$store/other"
        echo $at >"$point.b/f"
        expect "$(timeout -s KILL 10 cat "$point.b/f")" $at
        ! "$VARVE" mount "$store/other" "$point.b" 2>"$scratch/mounts.err" || return 1
        grep -q "is mounted there already" "$scratch/mounts.err"
        "$VARVE" umount "$point.b"
    done
}

# There is no memory for a worker's buffers: the request waits until there is some, and nobody is kept busy by that.
test_life_no_memory_for_a_worker() {
    command -v prlimit >/dev/null || skip "no prlimit"
    [ -z "${SAN:-}" ] || skip "a sanitizer ends without memory"
    own_store starved
    echo x >"$point/f"
    drop_caches
    pid=$(daemon_pid "$store")
    turns() { awk '/^voluntary_ctxt_switches/ { print $2 }' "$(dirname "$(grep -l varve-rest "/proc/$pid/task/"*/comm)")/status"; }
    no_worker() { ! grep -q varve-worker "/proc/$pid/task/"*/comm; }
    wait_for 10 no_worker
    prlimit --pid "$pid" --as=1000000:unlimited
    cat "$point/f" >"$scratch/starved.out" &
    reader=$!
    sleep 0.2
    t0=$(turns)
    sleep 1
    t1=$(turns)
    [ ! -s "$scratch/starved.out" ]
    prlimit --pid "$pid" --as=unlimited
    wait $reader
    expect "$(cat "$scratch/starved.out")" x
    echo "$((t1 - t0)) turns"
    [ $((t1 - t0)) -le 100 ]
}

# more mounts than the soft limit of descriptors allows: keeper and daemon take as many as they may
test_life_descriptors_of_the_keeper() {
    (
        ulimit -Sn 100
        own_store files
    )
    store=$scratch/own-files point=$scratch/own-files.mnt
    for p in $(keeper_pid "$store") $(daemon_pid "$store"); do
        read -r soft hard < <(awk '/^Max open files/ { print $4, $5 }' "/proc/$p/limits")
        expect "$soft" "$hard"
        [ "$soft" -gt 100 ]
    done
}

# A file of another socket has taken the place of the one that is handed over: the next daemon makes its own.
test_life_socket_of_another() {
    own_store taken
    py "
os.chdir(sys.argv[1]); os.unlink('sock')
s = socket.socket(socket.AF_UNIX); s.bind('sock')" "$store"
    was=$(daemon_pid "$store")
    kill -9 "$was"
    echo x >"$point/f"
    [ "$(daemon_pid "$store")" != "$was" ]
    "$VARVE" requests "$store/main" >/dev/null
    rm "$store/sock"
    kill -9 "$(daemon_pid "$store")"
    echo y >"$point/f"
    "$VARVE" requests "$store/main" >/dev/null
    kill -9 "$(daemon_pid "$store")"
    echo z >"$point/f"
    "$VARVE" umount "$point"
    expect "$(grep -c 'keeper death' "$store/log/daemon.log")" 3
    wait_for 10 daemon_gone "$store"
}

# Commands that come while a daemon takes mounts over wait until it has all of them: one that is not noted yet counts as gone, and comes
# back afterwards.
test_life_asked_while_taking_over() {
    own_killable asked
    mkdir -p "$point.b"
    "$VARVE" mount "$store/b" "$point.b" --create >/dev/null
    echo "0 0 2 slow" >"$order" # the second of the two
    kill -9 "$(daemon_pid "$store")"
    taken() { [ ! -e "$order" ]; }
    wait_for 5 taken
    "$VARVE" umount "$point.b"
    "$VARVE" delete "$store/b" --now
    "$VARVE" umount "$point"
}
