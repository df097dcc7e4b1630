# Trouble from below and from beside: a full disk, descriptors that run out, places where no mount may be.

full_end() {
    cd /
    mountpoint -q "$point" && { umount "$point" || umount -l "$point"; }
    wait_for 10 daemon_gone "$store"
    umount "$disk" || umount -l "$disk"
}

# An ext4 of 256 MiB that fills up below the store.
test_trouble_disk_full() {
    disk=$scratch/full.disk point=$scratch/full.mnt store=$scratch/full.disk/store
    mkdir -p "$disk" "$point"
    truncate -s 256M "$disk.img" && mkfs.ext4 -q -m 0 "$disk.img"
    mount -o loop "$disk.img" "$disk" 2>/dev/null || skip "no loop device"
    trap full_end EXIT
    "$VARVE" mount "$store" "$point" --create >/dev/null
    cd "$point"
    head -c 4000000 /dev/urandom >kept
    sum=$(md5sum <kept)
    mkdir .snapshots/before
    fails "No space left" dd if=/dev/urandom of=big bs=64k status=none
    [ "$(stat -c %s big)" -ge 20000000 ]
    size=$(stat -c %s big)
    py "
# what was acknowledged is there, whole; what was refused left nothing
size = int(sys.argv[1]); assert os.path.getsize('big') == size
assert len(open('big', 'rb').read()) == size
n = 0
for i in range(20):
    try:
        with open('small%d' % i, 'wb', buffering=0) as f:
            if f.write(b'x' * 5000) == 5000: n += 1
    except OSError as e: assert e.errno == errno.ENOSPC, e" "$size"
    expect "$(md5sum <kept)" "$sum"
    expect "$(md5sum <.snapshots/before/kept)" "$sum"
    ls -la . >/dev/null
    rm big small*
    [ ! -e big ]
    dd if=/dev/urandom of=again bs=64k count=100 status=none
    mkdir .snapshots/after
    sync
    rmdir .snapshots/before
    expect "$(md5sum <kept)" "$sum"
    again=$(md5sum <again)
    expect "$("$VARVE" status "$point" | grep -c read-write)" 1
    cd /
    "$VARVE" umount "$point"
    "$VARVE" check "$store" || return 1
    "$VARVE" mount "$store" "$point" >/dev/null
    expect "$(md5sum <"$point/kept")" "$sum"
    expect "$(md5sum <"$point/again")" "$again"
    expect "$(md5sum <"$point/.snapshots/after/again")" "$again"
}

# What was just removed is room for what comes next, though it is freed behind: in a volume of 130 MiB, and on a disk of 400.
test_trouble_room_just_made() {
    disk=$scratch/room.disk point=$scratch/room.mnt store=$scratch/room.disk/store
    mkdir -p "$disk" "$point"
    truncate -s 400M "$disk.img" && mkfs.ext4 -q -m 0 "$disk.img"
    mount -o loop "$disk.img" "$disk" 2>/dev/null || skip "no loop device"
    trap full_end EXIT
    "$VARVE" create "$store" >/dev/null
    "$VARVE" create "$store/quota" --size 130M >/dev/null
    "$VARVE" mount "$store/quota" "$point" >/dev/null
    for round in 1 2 3; do
        dd if=/dev/zero of="$point/f" bs=1M count=100 status=none || return 1
        rm "$point/f"
    done
    py "
# at the limit of inodes, too; and who still holds what he removed hears of it soon
os.chdir(sys.argv[1])
f = open('held', 'wb', buffering=0); f.write(b'x' * (90 << 20)); os.unlink('held')
import time
began = time.monotonic()
try:
    with open('more', 'wb', buffering=0) as g:
        for i in range(100): g.write(b'y' * (1 << 20))
    raise SystemExit('there was room')
except OSError as e: assert e.errno == errno.ENOSPC, e
assert time.monotonic() - began < 10
f.close(); os.unlink('more')
with open('again', 'wb', buffering=0) as g:
    for i in range(100): g.write(b'z' * (1 << 20))
" "$point"
    rm "$point/again"
    "$VARVE" umount "$point"
    "$VARVE" resize "$store/quota" none >/dev/null
    "$VARVE" mount "$store/quota" "$point" >/dev/null
    n=$(($(stat -f -c '%a * %S / 1048576' "$disk") - 16))
    [ $n -gt 100 ]
    for round in 1 2 3; do
        dd if=/dev/zero of="$point/f" bs=1M count=$n status=none || return 1
        [ $round = 3 ] || rm "$point/f"
    done
    expect "$(stat -c %s "$point/f")" $((n * 1048576))
    "$VARVE" umount "$point"
    "$VARVE" check "$store"
}

# A bit of the tables flips on the disk, below the filesystem, while memory holds the page as it was.
test_trouble_scrub_below_the_page_cache() {
    command -v filefrag >/dev/null || skip "no filefrag"
    disk=$scratch/rot.disk point=$scratch/rot.mnt store=$scratch/rot.disk/store
    mkdir -p "$disk" "$point"
    truncate -s 512M "$disk.img" && mkfs.ext4 -q -b 4096 -m 0 "$disk.img"
    mount -o loop "$disk.img" "$disk" 2>/dev/null || skip "no loop device"
    trap full_end EXIT
    "$VARVE" mount "$store" "$point" --create >/dev/null
    py "
os.chdir(sys.argv[1])
for i in range(400):
    with open('f%d' % i, 'wb') as f: f.write(b'%d' % i * 300)" "$point"
    "$VARVE" umount "$point"
    "$VARVE" mount "$store" "$point" >/dev/null # the opening reads all of the tables
    "$VARVE" scrub "$store" | grep '^clean'
    if "$VARVE" scrub "$store" | grep O_DIRECT; then skip "ext4 refuses O_DIRECT here"; fi
    py "
import re, subprocess
store, image, varve = sys.argv[1:]
tables = store + '/meta/data.mdb'
out = subprocess.check_output(['filefrag', '-e', '-v', '-b4096', tables], text=True)
blocks = {}
for logical, physical, n in re.findall(r'^ *\\d+: +(\\d+)\\.\\. *\\d+: +(\\d+)\\.\\. *\\d+: +(\\d+):', out, re.M):
    for i in range(int(n)): blocks[int(logical) + i] = int(physical) + i
assert len(blocks) > 10, out
kept = open(tables, 'rb').read()
def flip(page):
    with open(image, 'r+b') as f:
        f.seek(blocks[page] * 4096 + 10); c = f.read(1)
        f.seek(blocks[page] * 4096 + 10); f.write(bytes([c[0] ^ 16]))
for page in range(2, len(blocks)):
    flip(page)
    r = subprocess.run([varve, 'scrub', store], stdout=subprocess.PIPE, text=True)
    if r.returncode: break
    flip(page)
assert r.returncode == 4, r
assert 'of the tables is damaged' in r.stdout, r.stdout
assert open(tables, 'rb').read() == kept
print('page', page, r.stdout)" "$store" "$disk.img" "$VARVE"
    expect "$(cat "$point/f7" | head -c 3)" 777
    fails "nput/output error" touch "$point/x" # nothing is written any more
}

# The daemon may never meet its own mount on the way to its store.
test_trouble_point_and_store_overlap() {
    store=$scratch/overlap/in/store
    mkdir -p "$scratch/overlap/in"
    "$VARVE" create "$store" >/dev/null
    ln -s in "$scratch/overlap/link"
    for dir in "$store" "$store/log" "$scratch/overlap/in" "$scratch/overlap" "$scratch/overlap/link/store"; do
        mkdir -p "$dir"
        fails "hide the store" "$VARVE" mount "$store" "$dir"
        if mountpoint -q "$dir"; then return 1; fi
    done
    mkdir "$scratch/overlap/in/storehouse"
    "$VARVE" mount "$store" "$scratch/overlap/in/storehouse" >/dev/null
    "$VARVE" umount "$scratch/overlap/in/storehouse"
    rm -rf "$scratch/overlap"
}

# Whoever was asked to stay passes on what he is told, and says goodbye when the volume is unmounted.
test_trouble_foreground_told_to_end() {
    own_store fore
    umount "$point"
    wait_for 10 daemon_gone "$store"
    for sig in TERM HUP; do
        "$VARVE" mount "$store" "$point" --foreground >/dev/null 2>&1 &
        pid=$!
        wait_for 5 mountpoint -q "$point"
        echo $sig >"$point/f"
        kill -$sig $pid
        wait $pid
        if mountpoint -q "$point"; then return 1; fi
        wait_for 10 daemon_gone "$store"
    done
}

# Silent clients do not take the descriptors that reads and writes need.
test_trouble_descriptors() {
    own_store few
    umount "$point"
    wait_for 10 daemon_gone "$store"
    (ulimit -n 64 && exec "$VARVE" mount "$store" "$point" >/dev/null)
    py "
os.chdir(sys.argv[1]); kept = []
for i in range(100):
    s = socket.socket(socket.AF_UNIX); s.settimeout(1)
    try: s.connect('sock')
    except OSError: break
    kept.append(s)
assert len(kept) > 50, len(kept)
time.sleep(0.5)
os.chdir(sys.argv[2]); os.mkdir('d')
for i in range(60):
    with open('d/%d' % i, 'wb', buffering=0) as f: assert f.write(b'y' * 300000) == 300000
os.mkdir('.snapshots/s')
assert all(open('.snapshots/s/d/%d' % i, 'rb').read() == b'y' * 300000 for i in range(60))
assert open('.snapshots/.control/status').read()" "$store" "$point"
    "$VARVE" status "$point" >/dev/null
    "$VARVE" umount "$point"
}

test_trouble_trusted_is_not_listed() {
    own_store hidden
    chmod 755 "$point"
    echo x >"$point/f"
    py "
os.chdir(sys.argv[1])
for i in range(40): os.setxattr('f', 'trusted.t%d' % i, b'1')
os.setxattr('f', 'user.u', b'1')
assert len(os.listxattr('f')) == 41
os.mkdir('.snapshots/s')
os.setegid(65534); os.seteuid(65534)
for p in 'f', '.snapshots/s/f':
    assert os.listxattr(p) == ['user.u'], os.listxattr(p)
    must(errno.ENODATA, os.getxattr, p, 'trusted.t1')" "$point"
}

# The filesystem below may have blocks of 1 KiB, as mkfs.ext4 makes them on small devices: a block of ours is written where any byte
# of it is.
test_trouble_small_blocks_below() {
    below=$scratch/own-small.mnt.below
    losetup -f >/dev/null 2>&1 || skip "no loop devices"
    mkdir -p "$below"
    truncate -s 400M "$scratch/small.img"
    mkfs.ext4 -q -b 1024 "$scratch/small.img"
    mount -o loop "$scratch/small.img" "$below" || skip "loop devices cannot be mounted"
    store=$below/store point=$scratch/own-small.mnt
    mkdir -p "$point"
    "$VARVE" create "$store" >/dev/null
    "$VARVE" mount "$store" "$point" >/dev/null
    py "
fd = os.open(sys.argv[1] + '/f', os.O_RDWR | os.O_CREAT)
for i in range(8): os.pwrite(fd, b'x', i * 4096 + 4095)
os.fsync(fd)" "$point"
    "$VARVE" umount "$point"
    "$VARVE" check "$store"
    python3 - "$store"/data/*/1 <<'P'
import ctypes, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)  # the second block loses its bytes: that is found
assert ctypes.CDLL(None).fallocate(fd, 3, ctypes.c_long(4096), ctypes.c_long(4096)) == 0
P
    fails "have no bytes" "$VARVE" check "$store"
    umount "$below"
    rm "$scratch/small.img"
}
