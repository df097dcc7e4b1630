# The suites that are programs of this tree. Each closes with "N passed, N failed, N skipped".
.PHONY: unit
unit: $(UNIT) $(VARVE)
	@BUILD=$(BUILD) tests/tools/sum.sh $(BUILD)/log/unit $(sort $(UNIT))
