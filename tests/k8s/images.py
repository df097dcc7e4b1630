#!/usr/bin/env python3
"""images.py OUT NAME PROGRAM | OUT NAME --busybox BUSYBOX | OUT NAME --pause BUSYBOX: images of one static program each, under the names
that the shipped manifests and examples ask for. OUT NAME --postgres BUSYBOX BINDIR: the PostgreSQL of this machine, which begins as the
published image does."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "plugin/deploy"))
from image import Layer, image, interpreter, libraries  # noqa: E402

POSTGRES = """#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf '%s\\n' "$POSTGRES_PASSWORD" >/tmp/password
    initdb --pgdata="$PGDATA" --username=postgres --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 --no-locale --encoding=UTF8
fi
exec postgres -c 'listen_addresses=*' "$@"
"""


def busybox(path):
    layer = Layer()
    layer.file("bin/busybox", Path(path).read_bytes(), 0o755)
    for name in sorted(set(subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout.split()) - {"busybox"}):
        layer.link(f"bin/{name}", "busybox")
    return layer


def copied(layer, root, keep=lambda p: True):
    for path in sorted(p for p in Path(root).rglob("*") if p.is_file() and keep(p)):
        layer.file(str(path).lstrip("/"), path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644)


def postgres(box, bindir):
    """At the paths that it was built for; libraries in one directory, which the image names."""
    def at(what):
        return Path(subprocess.run([f"{bindir}/pg_config", f"--{what}"], capture_output=True, text=True, check=True).stdout.strip())
    layer, programs = busybox(box), [Path(bindir) / p for p in ("postgres", "initdb", "psql", "pgbench", "pg_isready", "pg_amcheck")]
    modules = [p for p in at("pkglibdir").glob("*.so") if "llvmjit" not in p.name]
    loader = interpreter(programs[0])
    for path in programs + modules:
        layer.file(str(path).lstrip("/"), path.read_bytes(), 0o755)
    for name, path in sorted(libraries(map(str, programs + modules), loader).items()):
        layer.file(loader.lstrip("/") if name == "ld.so" else f"lib/all/{name}", Path(path).read_bytes(), 0o755)
    copied(layer, at("sharedir"), lambda p: "/man/" not in str(p))
    for zone in ("UTC", "Etc/UTC", "GMT"):
        layer.file(f"usr/share/zoneinfo/{zone}", Path("/usr/share/zoneinfo", zone).read_bytes())
    layer.file("bin/begin", POSTGRES.encode(), 0o755)
    layer.directory("var/run/postgresql", 0o1777)
    return layer


def main():
    out, name, *what = sys.argv[1:]
    settings = {"Env": ["PATH=/bin:/"], "WorkingDir": "/"}
    if what[0] in ("--busybox", "--pause"):
        layer = busybox(what[1])
        settings["Entrypoint" if what[0] == "--pause" else "Cmd"] = ["/bin/sleep", "inf"] if what[0] == "--pause" else ["sh"]
    elif what[0] == "--postgres":
        layer = postgres(*what[1:])
        settings = {"Env": [f"PATH=/bin:{what[2]}", "LD_LIBRARY_PATH=/lib/all"], "WorkingDir": "/", "Entrypoint": ["/bin/begin"]}
    else:
        layer, program = Layer(), os.path.basename(what[0])
        layer.file(program, Path(what[0]).read_bytes(), 0o755)
        settings["Entrypoint"] = ["/" + program]
    layer.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\npostgres:x:999:999:postgres:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    layer.file("etc/group", b"root:x:0:\npostgres:x:999:\nnogroup:x:65534:\n")
    for directory in ("dev", "proc", "sys"):
        layer.directory(directory)
    layer.directory("tmp", 0o1777)
    image(out, name, [layer.done()], settings, {})


main()
