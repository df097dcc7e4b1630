# The suites. Each prints its figures and closes with "N passed, N failed, N skipped".
# SCALE=short is what `make check` runs; a suite called by name runs at full length.
.PHONY: unit model fsx crash demo pjdfstest apps
export BUILD

unit: $(UNIT) $(VARVE)
	@tests/tools/sum.sh $(BUILD)/log/unit $(sort $(UNIT))

# a suite of a directory tests/NAME: its run.sh where it has one, else its program
suite_of = $(if $(wildcard tests/$(1)/run.sh),tests/$(1)/run.sh,$(BUILD)/tests/$(1)) $(2)
model fsx crash: programs $(TEST_PROGS)
	@$(call suite_of,$@,$(ARGS))

demo: $(VARVE)
	@tests/demo.sh

pjdfstest: $(VARVE)
	@tests/tools/pjdfstest.sh

apps: $(VARVE)
	@tests/apps/run.sh
