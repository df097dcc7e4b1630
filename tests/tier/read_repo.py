#!/usr/bin/env python3
"""read_repo.py DIR KEYFILE POINT PATH OUT: restores one file of a recovery point (8 or more digits, or latest), from
docs/repository-format.md alone. PATH of a directory lists it. A passphrase instead of a key file: @FILE."""

import hashlib, hmac, os, struct, sys  # noqa: E401

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

BLOCK = 4096


def sha(b):
    return hashlib.sha256(b).digest()


def mac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


def need(ok, what):
    if not ok:
        sys.exit(f"read_repo: {what}")


def lz4(src, size):
    out, i = bytearray(), 0

    def more(n):
        nonlocal i
        last = 255 * (n == 15)
        while last == 255:
            last, i = src[i], i + 1
            n += last
        return n

    while i < len(src):
        token, i = src[i], i + 1
        n = more(token >> 4)
        out += src[i:i + n]
        i += n
        if i >= len(src):
            break
        back, i = src[i] | src[i + 1] << 8, i + 2
        n = more(token & 15) + 4
        need(0 < back <= len(out), "a damaged LZ4 block")
        for _ in range(n):
            out.append(out[-back])
    need(len(out) == size, "an LZ4 block of another length")
    return bytes(out)


def zstd(src, size):
    import zstandard
    return zstandard.ZstdDecompressor().decompress(src, max_output_size=size)


class Repo:
    def __init__(self, path, secret):
        self.path = path
        root = self.plain(f"root/{max(os.listdir(f'{path}/root'))}", 1)
        need(struct.unpack_from("<Q", root, 48)[0] & ~1 == 0, "features that are not known")
        master = self.master(secret)
        need(mac(mac(master, b"varve root mac 1"), root[:96]) == root[96:128], "the root is not of this key")
        self.wrap = mac(master, b"varve domain wrap 1")
        self.domains, self.chunks, self.cache = {}, {}, {}
        for name in os.listdir(f"{path}/index"):
            self.index(self.named(f"index/{name}", 4))

    def keys(self, domain):
        if domain not in self.domains:
            dom = self.plain(f"domains/{domain.hex()}", 3)
            key = AESGCM(self.wrap).decrypt(dom[48:60], dom[60:108], dom[:48])
            self.domains[domain] = mac(key, b"varve blob id 1"), mac(key, b"varve chunk key 1")
        return self.domains[domain]

    def read(self, name, at=0, n=-1):
        with open(f"{self.path}/{name}", "rb") as f:
            f.seek(at)
            return f.read(n)

    def plain(self, name, kind):
        b = self.read(name)
        magic, version, k, n = struct.unpack_from("<4sHHI", b)
        need(magic == b"vREP" and version == 1 and k == kind and sha(b[:12 + n]) == b[12 + n:], f"{name} is damaged")
        return b[12:12 + n]

    def master(self, secret):
        for name in os.listdir(f"{self.path}/keys"):
            b = self.plain(f"keys/{name}", 2)
            kdf, log_n, r, p = b[16:20]
            with open(secret.lstrip("@"), "rb") as f:
                word = f.read()
            if kdf == 1 and secret.startswith("@"):
                word = word.rstrip(b"\r\n")
                kek = hashlib.scrypt(word, salt=b[24:56], n=1 << log_n, r=r, p=p, maxmem=1 << 30, dklen=32)
            elif kdf == 2 and not secret.startswith("@"):
                kek = mac(b[24:56], b"varve key file 1" + sha(word))
            else:
                continue
            try:
                return AESGCM(kek).decrypt(b[64:76], b[76:124], b[:64])
            except Exception:
                continue
        sys.exit("read_repo: no key fits")

    def open_chunk(self, b, kind=None):
        magic, version, k, codec, cipher, _, _, _, size, stored, frames = struct.unpack_from("<4sBBBBBBHIII", b)
        need(magic == b"vCHK" and version == 1 and cipher == 1 and stored == len(b), "a damaged chunk")
        need(kind is None or k == kind, "a chunk of another kind")
        aad = b[:56 + 4 * frames]
        need(sha(aad)[:8] == b[len(aad):len(aad) + 8], "a damaged chunk header")
        gcm, at, out = AESGCM(mac(self.keys(b[24:40])[1], b[40:56])), len(aad) + 8, bytearray()
        for i in range(frames):
            n = struct.unpack_from("<I", b, 56 + 4 * i)[0]
            raw, n = n >> 31, n & 0x7fffffff
            frame = gcm.decrypt(struct.pack("<IQ", i, 0), b[at:at + n], aad)
            left = min(65536, size - len(out))
            out += frame if raw else lz4(frame, left) if codec == 1 else zstd(frame, left)
            at += n
        need(len(out) == size, "a chunk of another length")
        return bytes(out)

    def named(self, name, kind):
        b = self.read(name)
        need(sha(b).hex() == name.split("/")[1], f"{name} is damaged")
        return self.open_chunk(b, kind)

    def index(self, b):
        at = 8
        for _ in range(struct.unpack_from("<I", b, 4)[0]):
            pack, (_, n) = b[at:at + 32].hex(), struct.unpack_from("<QI", b, at + 32)
            at += 44
            t, end = at + 8, at + n
            while t < end:
                off, stored, _, _, flags, blobs = struct.unpack_from("<IIIBBxxI", b, t + 16)
                self.chunks[b[t:t + 16]] = (pack, off, stored)
                t += 36 + 16 * (flags & 1) + 20 * blobs
            at = end

    def slice(self, s):
        chunk, (off, n, _) = s[16:32], struct.unpack_from("<III", s, 32)
        if chunk not in self.cache:
            pack, at, stored = self.chunks[chunk]
            sealed = self.read(f"packs/{pack[:2]}/{pack}", at, stored)
            self.cache[chunk] = self.open_chunk(sealed), self.keys(sealed[24:40])[0]
        return self.cache[chunk][0][off:off + n]


def scan(repo, page, prefix):
    """Keys that begin with prefix, with their values."""
    b = repo.slice(page)
    need(mac(repo.cache[page[16:32]][1], b)[:16] == page[:16], "a damaged page")
    level, n, at, entries = b[1], struct.unpack_from("<H", b, 2)[0], 8, []
    for _ in range(n):
        k, v = struct.unpack_from("<HH", b, at)
        entries.append((b[at + 4:at + 4 + k], b[at + 4 + k:at + 4 + k + v]))
        at += 4 + k + v
    for i, (key, val) in enumerate(entries):
        if level == 0:
            if key.startswith(prefix):
                yield key, val
        elif (key <= prefix or key.startswith(prefix)) and (i + 1 == n or entries[i + 1][0] > prefix):
            yield from scan(repo, val, prefix)


def record(ino, kind):
    return struct.pack(">QB", ino, kind)


def find(repo, root, path):
    ino = 1
    for part in filter(None, path.split("/")):
        names = {v[9:]: struct.unpack_from("<Q", v)[0] for _, v in scan(repo, root, record(ino, 4))}
        need(part.encode() in names, f"{part} is not there")
        ino = names[part.encode()]
    return ino


repo = Repo(sys.argv[1], sys.argv[2])
points = {}
for name in os.listdir(f"{sys.argv[1]}/points"):
    p = repo.named(f"points/{name}", 5)
    if sys.argv[3] == "latest" or name.startswith(sys.argv[3]):
        points[struct.unpack_from("<q", p, 12)[0]] = p
need(points, "no such recovery point")
root = points[max(points)][156:200]
ino = find(repo, root, sys.argv[4])
inode = next(v for _, v in scan(repo, root, record(ino, 1)))
mode, size = struct.unpack_from("<I", inode)[0], struct.unpack_from("<Q", inode, 24)[0]
if mode & 0o170000 == 0o040000:
    for _, v in scan(repo, root, record(ino, 4)):
        print(v[9:].decode())
    sys.exit()
with open(sys.argv[5], "wb") as out:
    for key, v in scan(repo, root, record(ino, 6)):  # by run, oldest first: newer bytes lie over older ones
        kind, blocks = v[0], struct.unpack_from("<I", v, 4)[0]
        out.seek(struct.unpack_from(">Q", key, 13)[0] * BLOCK)
        out.write((repo.slice(v[8:]) if kind == 1 else b"").ljust(blocks * BLOCK, b"\0"))
    out.truncate(size)
