# varve-csi: `make csi` asks it and the gRPC server below it what no published suite asks; `make csi-sanity` is the published one.
.PHONY: csi-sanity
SUITES += csi-sanity

csi-sanity: $(VARVE) $(PLUGINS)
	@tests/tools/own_mounts.sh tests/csi/sanity.sh $(ARGS)
csi: $(PLUGINS)
tidy: $(GENERATED)
