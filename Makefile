# varve. `make help` lists the targets. Nothing here names a source file: a new file in a room, or a new tests/unit/*_test.c, is
# found by itself; a directory tests/NAME/ with C files becomes the program build/tests/NAME.
#
#   CC=gcc|clang  SAN=asan|tsan  BREAK=rule  WERROR=1  V=1  BUILD=dir     each combination has a build directory of its own
#   CCACHE=       compiles without ccache, which is used where it is there

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh

VERSION := 0.1.0
ifeq ($(origin CC),default)
CC := gcc
endif
PLAIN := build$(addprefix -,$(SAN))$(if $(findstring clang,$(CC)),-clang)
BUILD := $(PLAIN)$(addprefix -break-,$(BREAK))
Q := $(if $(V),,@)

# what was compiled before is not compiled again, in whichever directory that was
ifeq ($(origin CCACHE),undefined)
CCACHE := $(if $(findstring ccache,$(CC)),,$(shell command -v ccache))
endif
export CCACHE_BASEDIR ?= $(CURDIR)

# --- flags -----------------------------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wwrite-strings -Wformat=2 \
        -Wimplicit-fallthrough
CPPFLAGS_ALL := -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DVARVE_VERSION='"$(VERSION)"'
CFLAGS_ALL := -std=gnu17 -g -ffile-prefix-map=$(CURDIR)=. -pthread -fPIE $(WARN)
LDFLAGS_ALL := -pthread -pie -Wl,--as-needed -Wl,-z,relro -Wl,-z,now
ifeq ($(SAN),asan)
CFLAGS_ALL += -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
LDFLAGS_ALL += -fsanitize=address,undefined
else ifeq ($(SAN),tsan)
CFLAGS_ALL += -O1 -fno-omit-frame-pointer -fsanitize=thread
LDFLAGS_ALL += -fsanitize=thread
# calls of libc that the tests answer: the sanitizer makes them too, before it is ready to be told of calls
$(BUILD)/obj/tests/lib/lying_libc.o: CFLAGS_ALL += -fno-sanitize=thread
else ifeq ($(SAN),fuzz)
CFLAGS_ALL += -O1 -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all -DFUZZ_ENGINE
LDFLAGS_ALL += -fsanitize=address,undefined,fuzzer
else ifeq ($(SAN),)
CFLAGS_ALL += -O2 -fstack-protector-strong
CPPFLAGS_ALL += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
else
$(error SAN=$(SAN): asan, tsan, or fuzz for build-fuzz-clang/tests/fuzz)
endif
ifneq ($(findstring clang,$(CC)),)
CFLAGS_ALL += -Wthread-safety
endif
CPPFLAGS_ALL += $(CPPFLAGS)
CFLAGS_ALL += $(CFLAGS)
LDFLAGS_ALL += $(LDFLAGS)

# --- what the machine has: packages and libfuse, looked at once for a build directory --------------------------------
NO_CONFIG := help clean distclean deps deps-tests deps-apps format tidy check-fresh
ifneq ($(filter-out $(NO_CONFIG),$(or $(MAKECMDGOALS),all)),)
include $(BUILD)/config.mk
endif

$(BUILD)/config.mk: tests/tools/config.sh tests/tools/deps.sh tests/tools/libfuse.sh tests/tools/common.sh
	@mkdir -p $(@D)
	@tests/tools/deps.sh build
	@tests/tools/config.sh >$@

# --- rooms: static libraries from all C files of a directory, from the top down --------------------------------------
ROOMS := tier snap snap/store conf base
lib = $(BUILD)/lib$(subst /,_,$(1)).a
# a broken build shares every object that does not name its rule with the plain one
ifneq ($(BREAK),)
BROKEN_FILES := $(shell grep -rlw 'VARVE_BREAK_$(BREAK)' --include='*.[ch]' $(wildcard base conf snap tier fs plugin tests))
$(if $(BROKEN_FILES),,$(error BREAK=$(BREAK): no file knows this rule))
endif
is_broken = $(if $(filter %.h,$(BROKEN_FILES)),$(1),$(filter $(BROKEN_FILES),$(1)))
objs = $(foreach f,$(1),$(if $(call is_broken,$(f)),$(BUILD),$(PLAIN))/obj/$(f:.c=.o))
ROOM_LIBS := $(foreach r,$(ROOMS),$(call lib,$(r)))
PLUGIN_MAINS := $(wildcard plugin/*_main.c)
PLUGIN_LIB := $(call lib,plugin)
PLUGIN_LIBS := -lnghttp2 -lprotobuf-c -lssl -lcrypto
plugin_more = $(if $(filter manifests,$(1)),-lcurl)
# messages of gRPC in C, made from plugin/proto; they belong to no one build
GEN := build/gen
GEN_C := $(patsubst plugin/proto/%.proto,$(GEN)/plugin/%.pb-c.c,$(wildcard plugin/proto/*.proto))
FS_SRC := $(filter-out fs/main.c,$(wildcard fs/*.c))
FS_LIB := $(call lib,fs)
LIBS := -llmdb -lxxhash -lsodium -lconfig -ljansson -llz4 -lzstd -lexpat -lcrypto
link = $(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group

VARVE := $(if $(wildcard fs/main.c),$(BUILD)/varve)
TIERD := $(BUILD)/varve-tierd
PLUGINS := $(patsubst plugin/%_main.c,$(BUILD)/varve-%,$(PLUGIN_MAINS))
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/*_test.c))
TEST_DIRS := $(filter-out unit lib doors,$(sort $(patsubst tests/%/,%,$(dir $(wildcard tests/*/*.c)))))
TEST_PROGS := $(addprefix $(BUILD)/tests/,$(TEST_DIRS))
TEST_LIB := $(BUILD)/libtests.a
DOORS := $(patsubst tests/doors/%.c,$(BUILD)/tests/varve-%,$(wildcard tests/doors/*.c))
TIERD_DOORS := $(patsubst tests/doors/tierd/%.c,$(BUILD)/tests/varve-tierd-%,$(wildcard tests/doors/tierd/*.c))

.PHONY: all programs tests force
all: programs tests
programs: $(VARVE) $(ROOM_LIBS) $(TIERD) $(PLUGIN_LIB) $(PLUGINS)
tests: $(UNIT) $(TEST_PROGS) $(DOORS) $(TIERD_DOORS)
force:

TIERD_MAIN := tier/tierd_main.c
define room
$(call lib,$(1)): $(call objs,$(filter-out $(TIERD_MAIN),$(wildcard $(1)/*.c))) $(BUILD)/list/$(subst /,_,$(1))
endef
$(foreach r,$(ROOMS),$(eval $(call room,$(r))))
$(FS_LIB): $(call objs,$(FS_SRC)) $(BUILD)/list/fs
$(PLUGIN_LIB): $(call objs,$(filter-out $(PLUGIN_MAINS),$(wildcard plugin/*.c))) $(patsubst $(GEN)/%.c,$(PLAIN)/obj/gen/%.o,$(GEN_C)) $(BUILD)/list/plugin
$(TEST_LIB): $(call objs,$(wildcard tests/lib/*.c)) $(BUILD)/list/tests_lib

# the names that a library was made from: a file that goes away makes the library anew
keep_if_same = @mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$(1))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(1))' >$@
$(foreach r,$(ROOMS) fs plugin tests/lib,$(eval $(BUILD)/list/$(subst /,_,$(r)): force ; $$(call keep_if_same,$(wildcard $(r)/*.c))))
$(sort $(PLAIN)/flags $(BUILD)/flags): force
	$(call keep_if_same,$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(FUSE_CFLAGS) $(FUSE_LIBS))

$(BUILD)/%.a:
	@rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

$(BUILD)/varve: $(call objs,fs/main.c) $(FS_LIB) $(ROOM_LIBS) $(BUILD)/flags
	@echo "  LD $@"
	$(link) $(FUSE_LIBS) $(LIBS)
	@for n in mount.varve mount.fuse.varve; do ln -sf varve $(@D)/$$n; done

# the process that speaks to object stores: nothing of a store or a mount is in it
$(TIERD): $(call objs,$(TIERD_MAIN)) $(call lib,tier) $(call lib,conf) $(call lib,base) $(BUILD)/flags
	@echo "  LD $@"
	$(link) $(LIBS)
$(VARVE): | $(TIERD)

# they speak to the daemon by its socket only
define plugin_prog
$(BUILD)/varve-$(1): $(call objs,plugin/$(1)_main.c) $(PLUGIN_LIB) $(call lib,base) $(BUILD)/flags
	@echo "  LD $$@"
	$$(link) $(PLUGIN_LIBS) -ljansson -lxxhash -lsodium $(call plugin_more,$(1))
endef
$(foreach p,$(patsubst plugin/%_main.c,%,$(PLUGIN_MAINS)),$(eval $(call plugin_prog,$(p))))
$(GEN)/plugin/%.pb-c.c: plugin/proto/%.proto
	@mkdir -p $(@D)
	$(Q)protoc-c -I plugin/proto --c_out=$(@D) $<
GENERATED := $(GEN_C:.c=.h)
$(GENERATED): %.h: %.c
$(PLAIN)/obj/gen/%.o: $(GEN)/%.c
	@mkdir -p $(@D)
	$(Q)$(CCACHE) $(CC) $(CPPFLAGS_ALL) -isystem $(GEN) $(CFLAGS_ALL) -w -c -o $@ $<
$(call objs,$(wildcard plugin/*.c tests/csi/*.c tests/fuzz/*.c)): | $(GENERATED)

# a unit test of fs/ has the face's own files and libfuse beside the rooms
define unit_prog
$(BUILD)/tests/$(1): $(call objs,tests/unit/$(1).c) $(TEST_LIB) $(if $(filter fs_%,$(1)),$(FS_LIB)) $(ROOM_LIBS) $(BUILD)/flags
	@mkdir -p $$(@D)
	$$(link) $(if $(filter fs_%,$(1)),$$(FUSE_LIBS)) $(LIBS)
endef
$(foreach t,$(notdir $(UNIT)),$(eval $(call unit_prog,$(t))))

# as have the programs that take in the whole of varve; the one that measures has libc's own calls and nothing between
WHOLE := fuzz sweep
PLUGGED := csi fuzz
BARE := bench
define test_prog
$(BUILD)/tests/$(1): $(call objs,$(wildcard tests/$(1)/*.c)) $(if $(filter $(BARE),$(1)),,$(TEST_LIB)) $(if $(filter $(WHOLE),$(1)),$(FS_LIB)) $(if $(filter $(PLUGGED),$(1)),$(PLUGIN_LIB)) $(ROOM_LIBS) $(BUILD)/flags
	@mkdir -p $$(@D)
	$$(link) $(if $(filter $(WHOLE),$(1)),$$(FUSE_LIBS)) $(if $(filter $(PLUGGED),$(1)),$(PLUGIN_LIBS)) $(LIBS)
endef
$(foreach d,$(TEST_DIRS),$(eval $(call test_prog,$(d))))

# varve itself with a test door open: what opens it is a constructor in tests/doors/NAME.c
$(DOORS): $(BUILD)/tests/varve-%: $(call objs,fs/main.c) $(FS_LIB) $(ROOM_LIBS) $(BUILD)/flags
	@mkdir -p $(@D)
	$(link) $(FUSE_LIBS) $(LIBS)
$(foreach d,$(notdir $(DOORS)),$(eval $(BUILD)/tests/$(d): $(call objs,tests/doors/$(d:varve-%=%).c)))
$(TIERD_DOORS): $(call objs,$(TIERD_MAIN)) $(call lib,tier) $(call lib,conf) $(call lib,base) $(BUILD)/flags
	@mkdir -p $(@D)
	$(link) $(LIBS)
$(foreach d,$(notdir $(TIERD_DOORS)),$(eval $(BUILD)/tests/$(d): $(call objs,tests/doors/tierd/$(d:varve-tierd-%=%).c)))

# Warnings never stop `make all`; they are kept beside the object, and WERROR=1 takes up every object that has some.
define compile
$(1)/obj/fs/%.o $(1)/obj/tests/unit/fs_%.o $(addprefix $(1)/obj/tests/,$(addsuffix /%.o,$(WHOLE))): private FUSE_HERE = $$(FUSE_CFLAGS)
$(1)/obj/plugin/%.o $(addprefix $(1)/obj/tests/,$(addsuffix /%.o,$(PLUGGED))): private GEN_HERE = -isystem $(GEN)
$(1)/obj/%.o: %.c $(1)/flags
	@mkdir -p $$(@D)
	@echo "  CC $$<"
	$$(Q)$$(CCACHE) $$(CC) $$(CPPFLAGS_ALL) $(2) $$(FUSE_HERE) $$(GEN_HERE) $$(CFLAGS_ALL) $$(if $$(WERROR),-Werror) -MMD -MP -c -o $$@ $$< 2>$$@.warn; \
	r=$$$$?; cat $$@.warn >&2; [ -s $$@.warn ] || rm -f $$@.warn; exit $$$$r
endef
$(eval $(call compile,$(PLAIN),))
$(if $(BREAK),$(eval $(call compile,$(BUILD),-DVARVE_BREAK_$(BREAK)=1)))
ifneq ($(WERROR),)
WARNED := $(patsubst %.warn,%,$(shell find $(PLAIN)/obj -name '*.o.warn' -size +0 2>/dev/null))
$(WARNED): force
endif

-include $(patsubst %.o,%.d,$(call objs,$(wildcard $(addsuffix /*.c,$(ROOMS) fs plugin tests/lib tests/unit) \
                                                 $(foreach d,$(TEST_DIRS) doors doors/tierd,tests/$(d)/*.c))))

include $(sort $(wildcard tests/mk/*.mk))

# --- what is run together --------------------------------------------------------------------------------------------
# bench-small measures, which wants a quiet machine: it is run by name
CHECK_SUITES ?= tidy unit demo $(filter-out bench bench-small,$(SUITES)) pjdfstest
LONG_SUITES = $(CHECK_SUITES) lint asan tsan controls

.PHONY: demo check check-long check-fresh controls asan tsan deps deps-tests
# what is built on the way to something else takes all processors, unless it was said otherwise
ALL_CPUS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

demo:
	@$(MAKE) --no-print-directory $(ALL_CPUS) $(VARVE)
	@tests/demo.sh

check: deps-tests
	@$(MAKE) --no-print-directory $(ALL_CPUS) WERROR=1 all
	@SCALE=short tests/tools/check.sh $(CHECK_SUITES)

check-long: deps-tests
	@$(MAKE) --no-print-directory $(ALL_CPUS) WERROR=1 all
	@SCALE=full tests/tools/check.sh $(LONG_SUITES)

check-fresh:
	@tests/tools/check-fresh.sh

controls:
	@tests/tools/controls.sh

# the same suites under the sanitizers; a report anywhere fails the run, the daemon's in the background included
asan tsan:
	@$(MAKE) --no-print-directory $(ALL_CPUS) SAN=$@ all
	@SAN=$@ tests/tools/sanitized.sh

deps:
	@tests/tools/deps.sh build

deps-tests:
	@tests/tools/deps.sh build
	@tests/tools/deps.sh tests
	@tests/tools/deps.sh apps
