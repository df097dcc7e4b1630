# What an operation costs in requests: the kernel answers by itself what nobody else can have changed. FORGET is not counted: it
# has no answer, so nobody waits for it.

# asks STORE/VOLUME SETUP WORK AT-MOST: python; WORK is done 20 times after 3 that warm the kernel's caches, with i = 0, 1, ...
asks() {
    py "
import subprocess
def counts():
    out = subprocess.run([sys.argv[1], 'requests', sys.argv[2]], capture_output=True, text=True, check=True).stdout
    return {k: int(n) for k, n in (l.split() for l in out.splitlines())}
def asked():
    return {k: n for k, n in counts().items() if k not in ('FORGET', 'BATCH_FORGET', 'INTERRUPT', 'forgotten', 'resent', 'known')}
g = {'os': os}
exec(sys.argv[3], g)
work = compile(sys.argv[4], 'work', 'exec')
N = 20
for i in range(3 + N):
    if i == 3: before = asked()
    g['i'] = i
    exec(work, g)
after = asked()
more = {k: after[k] - before[k] for k in after if after[k] != before[k]}
each = sum(more.values()) / N
print('%-28s %5.2f a time (at most %s): %s' % (sys.argv[6], each, sys.argv[5],
      ' '.join('%s %.2f' % (k, n / N) for k, n in more.items())))
assert each <= float(sys.argv[5])
" "$VARVE" "$1" "$2" "$3" "$4" "$5"
}

test_requests_of_warm_work_are_none() {
    own_store reqs
    cd "$point"
    local setup='
os.makedirs("a/b/c")
for i in range(50):
    with open("a/b/c/f%d" % i, "wb") as f: f.write(b"x" * 4096)
def absent(p):
    try: os.stat(p)
    except FileNotFoundError: return
    assert False'
    asks "$store/main" "$setup" 'os.stat("a/b/c/f7")' 0 stat
    rm -r a
    asks "$store/main" "$setup" 'os.close(os.open("a/b/c/f7", os.O_RDONLY))' 0 'open, close'
    rm -r a
    asks "$store/main" "$setup" 'fd = os.open("a/b/c/f7", os.O_RDONLY); assert len(os.read(fd, 4096)) == 4096; os.close(fd)' \
        0 'open, read, close'
    rm -r a
    asks "$store/main" "$setup" 'assert len(os.listdir("a/b/c")) == 50' 0 readdir
    rm -r a
    # one asks for the labels of all, one for the ACL of the directory
    asks "$store/main" "$setup"$'\nimport subprocess' 'subprocess.run(["ls", "-l", "a/b/c"], stdout=subprocess.DEVNULL, check=True)' 4 'ls -l'
    rm -r a
    asks "$store/main" "$setup" 'assert all(e.stat().st_size == 4096 for e in os.scandir("a/b/c"))' 0 'readdir, stat of each'
    rm -r a
    asks "$store/main" "$setup" 'absent("a/b/c/none")' 0 'absent name'
    rm -r a
    asks "$store/main" "$setup"$'\nos.symlink("f7", "a/b/c/l")' 'assert os.readlink("a/b/c/l") == "f7"' 0 readlink
    rm -r a
    asks "$store/main" "$setup"$'\nos.setxattr("a/b/c/f7", "user.x", b"value")' \
        'assert os.getxattr("a/b/c/f7", "user.x") == b"value"' 1 getxattr
}

test_requests_of_changes_are_few() {
    own_store reqs
    cd "$point"
    mkdir -p d/sub
    local fill='
os.chdir("d/sub")
for i in range(24): os.close(os.open("f%d" % i, os.O_WRONLY | os.O_CREAT, 0o644))'
    asks "$store/main" 'os.chdir("d/sub")' 'os.close(os.open("f%d" % i, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))' 3 \
        'create, by a short path'
    asks "$store/main" '' 'os.close(os.open("d/sub/g%d" % i, os.O_WRONLY | os.O_CREAT, 0o644))' 3 'create, by a longer one'
    asks "$store/main" '' 'os.mkdir("d/sub/m%d" % i)' 3 mkdir
    rm -r d/sub/*
    asks "$store/main" "$fill" 'os.rename("f%d" % i, "r%d" % i)' 3 'rename'
    asks "$store/main" '' 'os.unlink("d/sub/r%d" % i)' 2 unlink
    rm -rf d/sub
    mkdir d/sub
    asks "$store/main" "$fill" 'os.rename("f%d" % (i + 1), "f0")' 3 'rename over a file'
    rm -rf d/sub
    mkdir d/sub
    asks "$store/main" "$fill" 'os.chmod("f0", 0o600 + i % 2)' 1 chmod
    asks "$store/main" 'fd = os.open("d/sub/f0", os.O_WRONLY)' 'os.pwrite(fd, b"x" * 100, 0); os.fsync(fd)' 2 'write, fsync'
}
