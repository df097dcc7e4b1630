#!/usr/bin/env python3
"""image.py OUT PROGRAMS SHARE NAME [VERSION]: an OCI image as one archive, from programs that are built; no registry, no daemon.

  PROGRAMS  a directory with the programs, linked for /opt/varve/lib (tests/mk/k8s.mk)
  SHARE     a directory that becomes /opt/varve/share
  NAME      what the image is called, as in the manifest: host/path:tag

$LIBRARIES names, by their paths, those that a program loads when it needs them: librados.so.2, for repositories in RADOS.

Two layers: the libraries, which change with the distribution, and the programs. The same input gives the same bytes, whoever makes it and
when. /opt/varve/id is a digest of all that is in /opt/varve: what varve-node calls this tree on a node."""

import gzip
import hashlib
import io
import json
import os
import platform
import re
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

HOME = "opt/varve"
LOADER = "ld.so"
WHEN = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
STAMP = "1970-01-01T00:00:00Z" if WHEN == 0 else __import__("datetime").datetime.fromtimestamp(WHEN, __import__("datetime").timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
PT_INTERP = 3


def interpreter(path):
    """What a program of this machine names as its loader (64 bits, little endian)."""
    data = Path(path).read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        sys.exit(f"{path}: no program of 64 bits")
    at, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for i in range(count):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", data, at + i * size)
        if kind == PT_INTERP:
            return data[offset:offset + length].rstrip(b"\0").decode()
    sys.exit(f"{path}: names no loader")


def libraries(programs, loader):
    """name -> file, of all that the programs need, as the machine's own loader finds them."""
    found = {}
    for program in programs:
        out = subprocess.run([loader, "--list", program], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        if out.returncode != 0 or "not found" in out.stdout:
            sys.exit(f"{program}: {(out.stdout + out.stderr).strip()}")
        for name, path in re.findall(r"^\s*(\S+) => (/\S+) \(", out.stdout, re.M):
            if not os.path.basename(name).startswith("ld-linux"):
                found[name] = os.path.realpath(path)
    found[LOADER] = os.path.realpath(loader)
    return found


class Layer:
    """A tar in the making: directories come before what is in them, everything belongs to root."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.USTAR_FORMAT)
        self.made = set()

    def _info(self, name, kind, mode):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = kind, mode, WHEN
        return info

    def directory(self, name, mode=0o755):
        parent = os.path.dirname(name)
        if parent:
            self.directory(parent)
        if name not in self.made:
            self.made.add(name)
            self.tar.addfile(self._info(name, tarfile.DIRTYPE, mode))

    def file(self, name, data, mode=0o644):
        self.directory(os.path.dirname(name))
        info = self._info(name, tarfile.REGTYPE, mode)
        info.size = len(data)
        self.tar.addfile(info, io.BytesIO(data))

    def link(self, name, target):
        self.directory(os.path.dirname(name))
        info = self._info(name, tarfile.SYMTYPE, 0o777)
        info.linkname = target
        self.tar.addfile(info)

    def done(self):
        self.tar.close()
        return self.bytes.getvalue()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def library_layer(libs):
    layer = Layer()
    for name in sorted(libs):
        layer.file(f"{HOME}/lib/{name}", Path(libs[name]).read_bytes(), 0o755)
    return layer.done()


def program_layer(programs, share, libs_digest):
    layer, parts = Layer(), [libs_digest]
    for path in sorted(programs):
        data = path.read_bytes()
        parts.append(path.name + " " + digest(data))
        layer.file(f"{HOME}/bin/{path.name}", data, 0o755)
    for name in ("mount.varve", "mount.fuse.varve"):
        layer.link(f"{HOME}/bin/{name}", "varve")
    for path in sorted(p for p in share.rglob("*") if p.is_file()):
        data = path.read_bytes()
        parts.append(str(path.relative_to(share)) + " " + digest(data))
        layer.file(f"{HOME}/share/{path.relative_to(share)}", data)
    layer.file(f"{HOME}/id", digest("\n".join(parts).encode())[:16].encode())
    layer.file("etc/passwd", b"root:x:0:0:root:/:/sbin/nologin\n")
    layer.file("etc/group", b"root:x:0:\n")
    for name in ("dev", "proc", "sys"):
        layer.directory(name)
    layer.directory("tmp", 0o1777)
    return layer.done()


class Archive:
    def __init__(self):
        self.blobs = {}

    def add(self, media, data, **more):
        self.blobs[digest(data)] = data
        return {"mediaType": media, "digest": "sha256:" + digest(data), "size": len(data), **more}

    def write(self, out, index):
        text = {"oci-layout": as_json({"imageLayoutVersion": "1.0.0"}), "index.json": as_json(index)}
        tar = Layer()
        for name in sorted(text):
            tar.tar.addfile(self._entry(tar, name, text[name]), io.BytesIO(text[name]))
        tar.directory("blobs/sha256")
        for name in sorted(self.blobs):
            tar.file("blobs/sha256/" + name, self.blobs[name])
        Path(out + ".part").write_bytes(tar.done())
        os.rename(out + ".part", out)

    @staticmethod
    def _entry(tar, name, data):
        info = tar._info(name, tarfile.REGTYPE, 0o644)
        info.size = len(data)
        return info


def as_json(thing):
    return json.dumps(thing, sort_keys=True, separators=(",", ":")).encode()


def image(out, name, layers, settings, labels):
    archive = Archive()
    packed = [archive.add("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(data, 9, mtime=0)) for data in layers]
    config = {
        "architecture": ARCH, "os": "linux", "created": STAMP, "config": settings,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest(data) for data in layers]},
        "history": [{"created": STAMP} for _ in layers],
    }
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": archive.add("application/vnd.oci.image.config.v1+json", as_json(config)), "layers": packed, "annotations": labels,
    }
    entry = archive.add(manifest["mediaType"], as_json(manifest), platform={"architecture": ARCH, "os": "linux"},
                        annotations={"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[-1]})
    archive.write(out, {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]})
    print(f"{out}: {name} {entry['digest']} {os.path.getsize(out)} bytes")


def main():
    out, programs, share, name = sys.argv[1:5]
    version = sys.argv[5] if len(sys.argv) > 5 else name.rsplit(":", 1)[-1]
    programs = sorted(p for p in Path(programs).iterdir() if p.is_file() and os.access(p, os.X_OK))
    loader = os.environ.get("LOADER") or interpreter(sys.executable if os.access(sys.executable, os.R_OK) else "/bin/sh")
    more = os.environ.get("LIBRARIES", "").split()
    libs = library_layer(libraries([*programs, *more], os.path.realpath(loader)) | {os.path.basename(path): path for path in more})
    layers = [libs, program_layer(programs, Path(share), digest(libs))]
    labels = {"org.opencontainers.image.title": "varve", "org.opencontainers.image.version": version}
    image(out, name, layers, {"Env": [f"PATH=/{HOME}/bin"], "Entrypoint": [f"/{HOME}/bin/varve"], "WorkingDir": "/", "Labels": labels}, labels)


if __name__ == "__main__":
    main()
