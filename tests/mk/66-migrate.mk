# Migration through mounts: tests/tier/migrate.sh
.PHONY: migrate
SUITES += migrate
migrate: $(VARVE) $(BUILD)/tests/tier
	@tests/tools/own_mounts.sh tests/tier/migrate.sh $(ARGS)
