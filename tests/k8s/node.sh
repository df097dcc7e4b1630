#!/bin/bash
# varve-node as the DaemonSet's first container runs it: a node is a process with mounts, processes and an /opt of its own, a container one
# more with the image for its root and a cgroup of its own. `node.sh NAME...` runs the named cases only.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/mounted.sh"
suite_needs_mounts
passed=0 failed=0
archive=$(readlink -f "$BUILD")/varve-image.tar
node_pid=''

fail() {
    failures=$((failures + 1))
    printf '    line %s: %s\n' "${BASH_LINENO[0]}" "$*"
}

unpack() { # ROOT [another id]
    "$here/unpack.py" "$archive" "$1" && { [ $# -lt 2 ] || echo "$2" >"$1/opt/varve/id"; }
}

# node_begin [systemd]
node_begin() {
    store=$scratch/srv/store
    rm -rf "$scratch/srv" "$scratch/said" "$scratch/up"
    cat >"$scratch/systemctl" <<SH
#!/bin/sh
echo "\$*" >>"$scratch/said"
case \$1 in enable) setsid /opt/varve/bin/varve serve "$scratch"/srv/sto* >/dev/null 2>&1 & ;; esac
SH
    chmod 755 "$scratch/systemctl"
    UP=$scratch/up SYSTEMD=${1:-} unshare --mount --pid --fork --kill-child --mount-proc bash -c '
        mount -t tmpfs none /opt && mount -t tmpfs none /run && mkdir /run/bin && cp "${UP%/*}/systemctl" /run/bin || exit 1
        mkdir -p /etc/systemd
        if [ -n "$SYSTEMD" ]; then mount -t tmpfs none /etc/systemd && mkdir -p /run/systemd/system /etc/systemd/system; fi
        : >"$UP"
        while :; do sleep 1; done' 9>&- &
    node_unshare=$!
    for ((i = 0; i < 500; i++)); do
        [ -e "$scratch/up" ] && break
        sleep 0.02
    done
    node_pid=$(cat "/proc/$node_unshare/task/$node_unshare/children" 2>/dev/null)
    node_pid=${node_pid%% *}
    [ -n "$node_pid" ] || { say 'a node cannot be made'; return 1; }
}

node_end() {
    [ -z "$node_pid" ] || { kill -9 "$node_unshare" && wait "$node_unshare"; } 2>/dev/null
    node_pid=''
    for d in "${cgroups[@]}"; do
        for ((i = 0; i < 100; i++)); do rmdir "$d" 2>/dev/null && break; sleep 0.02; done
    done
    cgroups=()
}

in_node() { nsenter -t "$node_pid" -m -p "$@"; }
on_node() { in_node /opt/varve/bin/varve "$@"; }
daemon_pid() { on_node status "$store" --json | sed -n 's/.*"daemon_pid": \([0-9]*\).*/\1/p'; }

# container ROOT WORDS...: in cgroups and mounts of its own, sees the node's processes
container() {
    local root=$1 d
    shift
    for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
        [ -f "$d/cgroup.procs" ] && [ ! -L "$d" ] && mkdir -p "$d/varve-node-$$" 2>/dev/null && cgroups+=("$d/varve-node-$$")
        [ -f /sys/fs/cgroup/cgroup.controllers ] && break
    done
    printf '%s\n' "${cgroups[@]}" >"$scratch/cgroups"
    ROOT=$root CGROUPS=$scratch/cgroups PATH=/run/bin:$PATH in_node unshare --mount bash -c '
        while read -r d; do { echo 0 >"$d/cgroup.procs"; } 2>/dev/null || case $d in */cpuset/*) : ;; *) exit 9 ;; esac; done <"$CGROUPS"
        mount --bind "$ROOT" "$ROOT" && mount -t proc none "$ROOT/proc" && exec chroot "$ROOT" "$@"' container "$@"
}
cgroups=()

installed() { container "$scratch/root" /opt/varve/bin/varve-node install --store "$store" "$@" >"$scratch/out" 2>&1; }

test_installed_and_served() {
    local pid line
    node_begin || return
    installed || fail "$(cat "$scratch/out")"
    [ "$(in_node readlink /opt/varve)" = "varve-$(cat "$scratch/root/opt/varve/id")" ] || fail "$(in_node ls -la /opt)"
    in_node diff -r /opt/varve/ "$scratch/root/opt/varve/" || fail 'the tree is another one'
    pid=$(daemon_pid)
    [ -n "$pid" ] || fail "not served: $(on_node status "$store" 2>&1)"
    # it is the node's own: by its mounts, and out of the container's cgroups
    [ "$(in_node readlink "/proc/$pid/ns/mnt")" = "$(in_node readlink /proc/1/ns/mnt)" ] || fail 'mounts of the container'
    line=$(in_node cat "/proc/$pid/cgroup" | grep "varve-node-$$")
    [ -z "$line" ] || fail "it goes with the container: $line"
    # once more: nothing happens
    installed || fail "$(cat "$scratch/out")"
    [ "$(daemon_pid)" = "$pid" ] || fail 'another daemon'
}

test_upgraded_below_a_mount() {
    local pid at=$scratch/at writer errors
    node_begin || return
    installed || fail "$(cat "$scratch/out")"
    pid=$(daemon_pid)
    mkdir -p "$at"
    on_node mount "$store" "$at" || fail 'not mounted'
    in_node bash -c 'exec >>"$1/log" && while [ ! -e "$2" ]; do echo line && sync "$1/log" || exit 1; done' w "$at" "$scratch/enough" 2>"$scratch/errors" &
    writer=$!
    unpack "$scratch/root2" feedbeef
    container "$scratch/root2" /opt/varve/bin/varve-node install --store "$store" >"$scratch/out" 2>&1 || fail "$(cat "$scratch/out")"
    [ "$(daemon_pid)" != "$pid" ] || fail "the daemon of before: $(cat "$scratch/out")"
    in_node readlink -f "/proc/$(daemon_pid)/exe" | grep -q '^/opt/varve-feedbeef/' || fail "$(in_node readlink -f "/proc/$(daemon_pid)/exe")"
    [ "$(in_node ls /opt | tr '\n' ' ')" = 'varve varve-feedbeef ' ] || fail "$(in_node ls /opt)"
    kill -0 $writer 2>/dev/null || fail 'the writer has ended'
    : >"$scratch/enough"
    wait $writer || fail 'the writer has failed'
    errors=$(cat "$scratch/errors")
    [ -z "$errors" ] || fail "$errors"
    on_node umount "$at" || fail 'not unmounted'
}

# A second store of the node goes on as the program of before: its tree stays until nothing runs from it any more.
test_the_tree_of_another_store_stays() {
    local at=$scratch/at first
    node_begin || return
    installed || fail "$(cat "$scratch/out")"
    first=varve-$(cat "$scratch/root/opt/varve/id")
    mkdir -p "$at"
    on_node mount "$scratch/srv/other" "$at" --create || fail 'not mounted'
    unpack "$scratch/root2" feedbeef
    container "$scratch/root2" /opt/varve/bin/varve-node install --store "$store" >"$scratch/out" 2>&1 || fail "$(cat "$scratch/out")"
    in_node test -x "/opt/$first/bin/varve-tierd" || fail "$(in_node ls /opt)"
    on_node umount "$at" || fail 'not unmounted'
    for ((i = 0; i < 100; i++)); do
        container "$scratch/root2" /opt/varve/bin/varve-node install --store "$store" >"$scratch/out" 2>&1 || fail "$(cat "$scratch/out")"
        in_node test -e "/opt/$first" || break
        sleep 0.1
    done
    ! in_node test -e "/opt/$first" || fail "$(in_node ls /opt)"
}

test_by_systemd() {
    local unit
    node_begin systemd || return
    store=$scratch/srv/sto-re installed || fail "$(cat "$scratch/out")"
    unit=$(systemd-escape --path --suffix=service --template=varve@.service "$scratch/srv/sto-re" 2>/dev/null) \
        || unit=varve@$(printf %s "${scratch#/}/srv/sto-re" | sed 's,-,\\x2d,g; s,/,-,g').service
    [ "$(sed -n 1p "$scratch/said")" = daemon-reload ] || fail "$(cat "$scratch/said")"
    [ "$(sed -n 2p "$scratch/said")" = "enable --now $unit" ] || fail "$(cat "$scratch/said"), not $unit"
    in_node grep -qx 'ExecStart=/opt/varve/bin/varve serve %f' /etc/systemd/system/varve@.service || fail 'the unit'
}

test_words() {
    node_begin || return
    chroot "$scratch/root" /opt/varve/bin/varve-node install >/dev/null 2>&1 && fail 'without a store'
    chroot "$scratch/root" /opt/varve/bin/varve-node >/dev/null 2>&1
    [ $? = 2 ] || fail 'without words'
    chroot "$scratch/root" /opt/varve/bin/varve-node probe --endpoint unix:///none 2>/dev/null && fail 'nobody answers'
    # outside of a pod that sees the node's processes there is no node to be found
    unshare --mount --pid --fork --mount-proc="$scratch/root/proc" chroot "$scratch/root" /opt/varve/bin/varve-node install --store /srv >"$scratch/out" 2>&1 \
        && fail 'without hostPID'
    grep -q hostPID "$scratch/out" || fail "$(cat "$scratch/out")"
    "$BUILD/varve-node" install --here --store "$scratch/none" 2>"$scratch/out" && fail 'no image, and yet installed'
    grep -q 'id' "$scratch/out" || fail "$(cat "$scratch/out")"
}

trap 'rc=$?; node_end; (exit $rc); scratch_release' EXIT
mount --make-rprivate / 2>/dev/null
unpack "$scratch/root" || exit 1
for t in ${*:-$(declare -F | sed -n 's/^declare -f \(test_\)/\1/p')}; do
    failures=0
    "$t"
    node_end
    if [ "$failures" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && say "FAILED $t"; fi
done
say "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
