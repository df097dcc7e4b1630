# Tiering through mounts: tests/tier/tiering.sh
.PHONY: tiering
SUITES += tiering
tiering: $(VARVE) $(BUILD)/tests/tier
	@tests/tools/own_mounts.sh tests/tier/tiering.sh $(ARGS)
