# Tiering through mounts: tests/tier/tiering.sh
.PHONY: tiering
SUITES += tiering
tiering: $(VARVE) $(BUILD)/tests/tier
	@tests/tools/own_mounts.sh tests/tier/tiering.sh $(ARGS)

# Recalling: tests/tier/recall.sh
.PHONY: recall
SUITES += recall
recall: $(VARVE) $(BUILD)/varve-tierd
	@tests/tools/own_mounts.sh tests/tier/recall.sh $(ARGS)

# Released and recalled at random: `make tiering-random [SEED=] [STEPS=]`
.PHONY: tiering-random
SUITES += tiering-random
tiering-random: $(VARVE) $(BUILD)/varve-tierd
	@tests/tools/own_mounts.sh tests/tier/tiering_random.sh $(ARGS)
