#!/usr/bin/env python3
"""unpack.py ARCHIVE DIR: an OCI archive, its layers one over the other."""

import gzip
import io
import json
import os
import sys
import tarfile

archive, root = sys.argv[1:]
os.makedirs(root, exist_ok=True)
with tarfile.open(archive) as tar:
    def blob(digest):
        return tar.extractfile("blobs/sha256/" + digest.partition(":")[2]).read()
    manifest = json.loads(blob(json.load(tar.extractfile("index.json"))["manifests"][0]["digest"]))
    for layer in manifest["layers"]:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob(layer["digest"])))) as files:
            files.extractall(root)
