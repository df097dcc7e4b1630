# Random work on repositories: `make tier-random [SEED=] [LIVES=] [STEPS=] [REAL=]`
.PHONY: tier-random
SUITES += tier-random

tier-random: $(VARVE) $(BUILD)/tests/tier
	@tests/tools/own_mounts.sh tests/tier/random.sh $(ARGS)
