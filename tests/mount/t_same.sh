# The same story told on ext4 and here must end the same: permissions, ACLs, attributes, privileges, names and their errors.

same_ext4() { # mounts an ext4 of this test's own at $ext4
    ext4=$scratch/own-same.mnt
    mkdir -p "$ext4"
    truncate -s 64M "$scratch/same.img"
    mkfs.ext4 -q -F -b 4096 "$scratch/same.img"
    mount -o loop "$scratch/same.img" "$ext4" || skip "no loop device"
}

same_story() { # FUNCTION: its output and end in both places
    local where here=$PWD
    same_ext4
    for where in "$ext4" "$here"; do
        mkdir "$where/top"
        chmod 711 "$where" "$where/top"
        (
            set +e
            umask 022
            cd "$where/top" && "$1" 2>&1 | sed "s|$where|TOP|g"
        ) >"$scratch/same-$1$([ "$where" = "$here" ] && echo .here)"
    done
    [ -s "$scratch/same-$1" ]
    diff "$scratch/same-$1" "$scratch/same-$1.here"
}

user_1000() { setpriv --reuid 1000 --regid 1000 --clear-groups bash -c "$1"; }

story_acl() {
    umask 027
    touch a
    mkdir d
    setfacl -m u:1000:rwx,g:50:r a
    getfacl -n a
    stat -c '%a' a
    chmod 640 a
    getfacl -n a
    chmod g=w a
    getfacl -n a
    setfacl -d -m u:1000:rwx,g:60:rx d
    touch d/f
    mkdir d/s
    mkfifo d/p
    ln -s x d/l
    (umask 077 && touch d/f2 && mkdir d/s2)
    find d | sort | xargs getfacl -n
    stat -c '%A %n' d/*
    setfacl -b a
    getfacl -n a
    setfacl -k d
    touch d/g
    getfacl -n d/g
    setfacl -m m::r a
    getfacl -n a
    setfacl -x m a
    getfacl -n a
    setfattr -n system.posix_acl_access -v 0x0100 a
    setfattr -n system.posix_acl_access -v 0x02000000010006000000000004000600000000002000ff0000000000 a
    setfattr -n system.posix_acl_default -v 0x02000000 a
    setfacl -d -m u:5:r a
    setfacl -m u:5:r d/l
    cp -a ../top/d copy
    find copy | sort | xargs getfacl -n
}

story_xattr() {
    touch f
    mkdir d
    ln -s f l
    mkfifo p
    setfattr -n user.a -v b f d p
    setfattr -h -n user.a -v b l
    setfattr -h -n trusted.a -v b l p
    setfattr -n security.a -v b f
    setfattr -n other.a -v b f
    setfattr -n user. -v b f
    setfattr -n user.empty f
    setfattr -n "user.$(printf 'n%.0s' {1..250})" -v long f
    setfattr -n "user.$(printf 'n%.0s' {1..251})" -v too-long f
    setfattr -x user.none f
    getfattr -n user.none f
    find . | sort | while read -r n; do getfattr -h -d -m - "$n" | sort; done
    chmod 666 f
    user_1000 'setfattr -n user.mine -v x f; setfattr -n trusted.mine -v x f; getfattr -n trusted.a f; setfattr -x user.a f'
    getfattr -d -m - f | sort
}

# not told: set-group-id without group execution, which FUSE lets an outsider's write keep
story_privileges() {
    chmod 777 .
    cp "$(command -v true)" t
    for mode in 6777 2777 4777 4711; do
        for how in 'echo x >>t' 'truncate -s 50 t' 'truncate -s 70000 t' 'fallocate -l 90000 t' ': >t' \
            'dd if=/dev/zero of=t bs=10 count=1 conv=notrunc status=none' 'chmod 777 t' 'touch t'; do
            cp "$(command -v true)" t
            chmod $mode t
            setcap cap_net_raw+ep t
            user_1000 "$how"
            echo "$mode $how: $(stat -c %A t) $(getcap t)"
            chmod $mode t
            setcap cap_net_raw+ep t
            bash -c "$how"
            echo "$mode root $how: $(stat -c %A t) $(getcap t)"
        done
        for how in 'chown 5 t' 'chgrp 7 t' 'chown 0:0 t'; do
            chmod $mode t
            $how
            echo "$mode $how: $(stat -c '%A %u %g' t) $(getcap t)"
        done
    done
    mkdir g
    chgrp 77 g
    chmod 2777 g
    mkdir g/in
    touch g/f
    user_1000 'touch g/mine; chmod 2755 g/mine; mkdir g/dir; python3 -c "import os; os.close(os.open(\"g/x\", os.O_CREAT, 0o2775))"'
    stat -c '%A %u %g %n' g/*
}

story_names() {
    python3 - <<'END'
import ctypes, errno, itertools, os
libc = ctypes.CDLL(None, use_errno=True)
def put(name, kind):
    if kind == "file": open(name, "w").close()
    if kind == "link": os.symlink("x", name)
    if kind == "fifo": os.mkfifo(name)
    if kind in ("dir", "full"): os.mkdir(name)
    if kind == "full": open(name + "/inner", "w").close()
def show(name):
    try: s = os.lstat(name)
    except OSError: return "none"
    return "%o/%d" % (s.st_mode, s.st_nlink)
def told(what, r):
    print(what, "ok" if r == 0 else errno.errorcode[ctypes.get_errno()])
kinds = ["none", "file", "link", "fifo", "dir", "full"]
for flags in (0, 1, 2, 4, 5, 3, 6, 8):
    for i, (a, b) in enumerate(itertools.product(kinds, kinds)):
        os.mkdir("w"); os.mkdir("v")
        for there in ("w", "v"):
            put("w/a", a); put(there + "/b", b)
            before = os.stat("w").st_nlink, os.stat("v").st_nlink
            told("rename %s %s %d %s" % (a, b, flags, there), libc.renameat2(-100, b"w/a", -100, (there + "/b").encode(), flags))
            print(" ", show("w/a"), show(there + "/b"), show("w"), show("v"))
            os.system("rm -rf w/* v/*")
        os.rmdir("w"); os.rmdir("v")
os.makedirs("p/q/r")
for a, b, flags in (("p", "p/x", 0), ("p", "p/q/r/x", 0), ("p/q/r", "p", 0), ("p", "p/q/r", 2), ("p/q", "p/q", 0), ("p/q", "p/q", 1),
                    ("p/q/.", "z", 0), ("p", "p/..", 0), ("p/q", "nowhere/x", 0)):
    told("rename %s %s %d" % (a, b, flags), libc.renameat2(-100, a.encode(), -100, b.encode(), flags))
def do(f, *a):
    try: f(*a); print(f.__name__, *[str(x)[:20] for x in a], "ok")
    except OSError as e: print(f.__name__, *[str(x)[:20] for x in a], errno.errorcode[e.errno])
for k in kinds: put(k, k)
for f in (os.unlink, os.rmdir, os.mkdir, os.mkfifo, os.readlink):
    for k in kinds + ["dir/.", "dir/..", "file/x", "n" * 255, "n" * 256, ""]: do(f, k)
for k in kinds: put(k, k) if not os.path.lexists(k) else None
for k in kinds:
    do(os.link, k, "hard-" + k); do(os.symlink, "y", k); do(os.truncate, k, 5); do(os.listdir, k)
do(os.symlink, "", "e"); do(os.symlink, "t" * 4095, "e1"); do(os.symlink, "t" * 4096, "e2")
print(sorted((n[:10], show(n)) for n in os.listdir(".")))
END
}

same_needs() {
    local tool
    for tool; do command -v "$tool" >/dev/null || skip "needs $tool"; done
}

test_same_acl() { same_needs setfacl getfacl setfattr && same_story story_acl; }
test_same_xattr() { same_needs setfattr getfattr && same_story story_xattr; }
test_same_privileges() { same_needs setcap getcap && same_story story_privileges; }
test_same_names() { same_story story_names; }
