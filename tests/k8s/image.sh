#!/bin/bash
# The image: its form, its digests, the same bytes again, and programs that start with nothing around them but their own files.
set -u
here=$(dirname "$(readlink -f "$0")")
. "$here/../tools/mounted.sh"
passed=0 failed=0 skipped=0
archive=$(readlink -f "$BUILD")/varve-image.tar
part() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" >"$scratch/out" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        sed 's/^/    /' "$scratch/out"
        say "FAILED $name"
    fi
}

form() {
    python3 - "$archive" <<'PY'
import gzip, hashlib, io, json, sys, tarfile
tar = tarfile.open(sys.argv[1])
files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
def blob(entry):
    data = files["blobs/sha256/" + entry["digest"].removeprefix("sha256:")]
    assert len(data) == entry["size"], entry
    return data
for name, data in files.items():
    if name.startswith("blobs/"):
        assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2], name
assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
index = json.loads(files["index.json"])
assert index["schemaVersion"] == 2 and len(index["manifests"]) == 1, index
assert index["manifests"][0]["annotations"]["io.containerd.image.name"].startswith("localhost/varve:")
manifest = json.loads(blob(index["manifests"][0]))
config = json.loads(blob(manifest["config"]))
used = {e["digest"] for e in [index["manifests"][0], manifest["config"], *manifest["layers"]]}
assert len(used) + 2 == len(files), "blobs that nobody names"
assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"]) == len(config["history"])
seen = set()
for entry, diff in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
    data = gzip.decompress(blob(entry))
    assert diff == "sha256:" + hashlib.sha256(data).hexdigest(), diff
    for m in tarfile.open(fileobj=io.BytesIO(data)):
        assert (m.uid, m.gid, m.mtime, m.uname) == (0, 0, 0, ""), (m.name, m.uid, m.gid, m.mtime, m.uname)
        assert not m.name.startswith(("/", "..")) and not m.isdev(), m.name
        assert m.isdir() or m.name not in seen, m.name
        assert not m.isfile() or m.mode & 0o6022 == 0, m.name
        seen.add(m.name)
assert config["config"]["Entrypoint"][0].lstrip("/") in seen, config["config"]
PY
}

again() {
    plugin_deploy=$here/../../plugin/deploy
    (cd / && TZ=Asia/Tokyo umask 077 && "$plugin_deploy/image.py" "$scratch/again.tar" "${archive%/*}/image/bin" "${archive%/*}/image/share" \
        "$(python3 -c 'import json, sys, tarfile; print(json.load(tarfile.open(sys.argv[1]).extractfile("index.json"))["manifests"][0]["annotations"]["io.containerd.image.name"])' "$archive")" 0.1.0)
    cmp "$archive" "$scratch/again.tar"
}

starts() { # nothing but what was unpacked: no library of this machine
    local p
    "$here/unpack.py" "$archive" "$scratch/root" || return 1
    for p in varve varve-csi varve-node; do
        env -i "$(command -v chroot)" "$scratch/root" "/opt/varve/bin/$p" --version | grep -q '^varve.* [0-9]' || { echo "$p"; return 1; }
    done
    env -i "$(command -v chroot)" "$scratch/root" /opt/varve/bin/varve-flex nonsense | grep -q '"Not supported"\|/proc' || return 1
    env -i "$(command -v chroot)" "$scratch/root" /opt/varve/bin/mount.varve --help >/dev/null 2>&1 || [ $? = 2 ]
}

asks() { # ROOT URL: for what is there, as in a container
    local root=$1
    mount -t proc none "$root/proc" && mounted+=("$root/proc") && mount --bind /dev "$root/dev" && mounted+=("$root/dev") || return 1
    said=$(env -i VARVE_PASSPHRASE=words AWS_ACCESS_KEY_ID=AK AWS_SECRET_ACCESS_KEY=SK "$(command -v chroot)" "$root" /opt/varve/bin/varve repo test "$2" 2>&1)
    umount "$root/dev" "$root/proc"
}

rados() { # a library that is loaded when it is needed, by the program that needs it
    local said pool='rados://pool/space?monitors=none:1'
    asks "$scratch/root" "$pool" || return 1
    echo "$said" | grep -q 'needs librados' || { echo "without: $said"; return 1; }
    LIBRARIES=$(readlink -f "$BUILD/tests/standin/librados.so.2") "$here/../../plugin/deploy/image.py" "$scratch/rados.tar" "${archive%/*}/image/bin" "${archive%/*}/image/share" localhost/varve:rados
    "$here/unpack.py" "$scratch/rados.tar" "$scratch/root-rados" || return 1
    asks "$scratch/root-rados" "$pool" || return 1
    echo "$said" | grep -q 'there is no key of' || { echo "with: $said"; return 1; }
}

s3() { # the image brings this one along
    local said
    asks "$scratch/root" 's3://bucket?endpoint=http://127.0.0.1:1&timeout=2s' || return 1
    echo "$said" | grep -qi 'connect' || { echo "$said"; return 1; }
}

part form form
part again again
if [ "$(id -u)" = 0 ]; then part starts starts && part rados rados && part s3 s3; else skipped=3; fi
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
