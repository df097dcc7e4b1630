# Repositories in Ceph: `make check-ceph` installs Debian's packages of it (root), runs a cluster of one monitor, one OSD and a radosgw below
# a directory of its own, on loopback, and ends it by its process ids. Not part of `make check`; what needs no cluster is in `make tier`.
.PHONY: check-ceph
check-ceph: $(VARVE) $(BUILD)/tests/tier
	@tests/tools/deps.sh build
	@tests/tools/deps.sh ceph
	@tests/tools/own_mounts.sh tests/tier/ceph.sh $(ARGS)
