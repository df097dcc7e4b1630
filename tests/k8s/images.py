#!/usr/bin/env python3
"""images.py OUT NAME PROGRAM | OUT NAME --busybox BUSYBOX | OUT NAME --pause BUSYBOX: images of one static program each, under the names
that the shipped manifests and examples ask for."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "plugin/deploy"))
from image import Layer, image  # noqa: E402


def busybox(path):
    layer = Layer()
    layer.file("bin/busybox", Path(path).read_bytes(), 0o755)
    for name in sorted(set(subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout.split()) - {"busybox"}):
        layer.link(f"bin/{name}", "busybox")
    return layer


def main():
    out, name, *what = sys.argv[1:]
    settings = {"Env": ["PATH=/bin:/"], "WorkingDir": "/"}
    if what[0] in ("--busybox", "--pause"):
        layer = busybox(what[1])
        settings["Entrypoint" if what[0] == "--pause" else "Cmd"] = ["/bin/sleep", "inf"] if what[0] == "--pause" else ["sh"]
    else:
        layer, program = Layer(), os.path.basename(what[0])
        layer.file(program, Path(what[0]).read_bytes(), 0o755)
        settings["Entrypoint"] = ["/" + program]
    layer.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    layer.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    for directory in ("dev", "proc", "sys"):
        layer.directory(directory)
    layer.directory("tmp", 0o1777)
    image(out, name, [layer.done()], settings, {})


main()
