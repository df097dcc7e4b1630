# Kubernetes: `make image` writes an OCI archive, `make k8s` checks what is in plugin/deploy (part of `make check`), `make check-k8s` runs
# it in a cluster of its own.
IMAGE ?= localhost/varve:$(VERSION)
IMAGE_DIR := $(BUILD)/image
IMAGE_ARCHIVE := $(BUILD)/varve-image.tar
IMAGE_HOME := /opt/varve
# /usr/lib/.../librados.so.2, where there are repositories in RADOS
IMAGE_LIBRARIES ?=
# programs that bring their own libraries and loader: what a node has is too old, or another C library: what a
# library needs is looked for there, too (RPATH, not RUNPATH)
IMAGE_LINK := -Wl,--dynamic-linker=$(IMAGE_HOME)/lib/ld.so -Wl,--disable-new-dtags,-rpath=$(IMAGE_HOME)/lib -Wl,--strip-debug -Wl,--build-id=none
IMAGE_PROGRAMS := $(addprefix $(IMAGE_DIR)/bin/,varve varve-tierd $(notdir $(PLUGINS)))

.PHONY: image image-programs check-k8s
image-programs: $(IMAGE_PROGRAMS)
$(IMAGE_PROGRAMS): private LDFLAGS_ALL += $(IMAGE_LINK)
$(IMAGE_DIR)/bin/varve: $(call objs,fs/main.c) $(FS_LIB) $(ROOM_LIBS) $(BUILD)/flags
	@mkdir -p $(@D)
	$(link) $(FUSE_LIBS) $(LIBS)
$(IMAGE_DIR)/bin/varve-tierd: $(call objs,$(TIERD_MAIN)) $(call lib,tier) $(call lib,conf) $(call lib,base) $(BUILD)/flags
	@mkdir -p $(@D)
	$(link) $(LIBS)
define image_plugin
$(IMAGE_DIR)/bin/varve-$(1): $(call objs,plugin/$(1)_main.c) $(PLUGIN_LIB) $(call lib,base) $(BUILD)/flags
	@mkdir -p $$(@D)
	$$(link) $(PLUGIN_LIBS) -ljansson -lxxhash -lsodium $(call plugin_more,$(1))
endef
$(foreach p,$(patsubst plugin/%_main.c,%,$(PLUGIN_MAINS)),$(eval $(call image_plugin,$(p))))

$(IMAGE_ARCHIVE): $(IMAGE_PROGRAMS) $(PROFILES) $(UNITS) plugin/deploy/image.py LICENSE
	@rm -rf $(IMAGE_DIR)/share && mkdir -p $(IMAGE_DIR)/share/profiles
	@cp LICENSE $(IMAGE_DIR)/share && cp $(PROFILES) $(IMAGE_DIR)/share/profiles
	@for u in $(UNITS); do n=$${u##*/}; sed 's|@BINDIR@|$(IMAGE_HOME)/bin|g' "$$u" >"$(IMAGE_DIR)/share/$${n%.in}" || exit 1; done
	@LIBRARIES='$(IMAGE_LIBRARIES)' plugin/deploy/image.py $@ $(IMAGE_DIR)/bin $(IMAGE_DIR)/share $(IMAGE) $(VERSION)
image: $(IMAGE_ARCHIVE)

k8s: $(IMAGE_ARCHIVE) $(STANDIN)
check-k8s: $(IMAGE_ARCHIVE)
	@tests/k8s/cluster.sh $(ARGS)
