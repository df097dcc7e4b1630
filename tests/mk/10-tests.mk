# The suites. Each prints its figures and closes with "N passed, N failed, N skipped". A directory tests/NAME with a run.sh is the
# suite NAME. SCALE=short is what `make check` runs; a suite called by name runs at full length.
SUITES := $(patsubst tests/%/run.sh,%,$(sort $(wildcard tests/*/run.sh)))
.PHONY: unit pjdfstest $(SUITES)
export BUILD

unit: $(UNIT) $(VARVE)
	@tests/tools/sum.sh $(BUILD)/log/unit $(sort $(UNIT))

$(SUITES): $(VARVE) $(TEST_PROGS) $(DOORS)
	@tests/tools/own_mounts.sh tests/$@/run.sh $(ARGS)

pjdfstest: $(VARVE)
	@tests/tools/own_mounts.sh tests/tools/pjdfstest.sh
