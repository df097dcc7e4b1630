# varve-csi: `make csi` asks it and the gRPC server below it what no published suite asks; `make csi-sanity` is the published one.
.PHONY: csi-sanity
SUITES += csi-sanity

csi-sanity: $(VARVE) $(PLUGINS)
	@tests/tools/own_mounts.sh tests/csi/sanity.sh $(ARGS)
csi: $(PLUGINS)
tidy: $(GENERATED)

# librados for the programs that csi starts, by LD_LIBRARY_PATH
STANDIN := $(BUILD)/tests/standin/librados.so.2
STANDIN_SRC := tests/csi/standin/librados.c base/buf.c base/clock.c base/err.c
$(STANDIN): $(STANDIN_SRC) $(wildcard tests/tier/rados_fake*) tier/rados_lib.def $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(filter-out -fsanitize%,$(CFLAGS_ALL)) -fPIC -shared -fvisibility=hidden -ffunction-sections \
		-Wl,--gc-sections -Wl,--no-undefined -o $@ $(STANDIN_SRC)
tests csi: $(STANDIN)
