# What becomes of backups that are there: tests/tier/lifecycle.sh
.PHONY: lifecycle
SUITES += lifecycle
lifecycle: $(VARVE) $(BUILD)/tests/varve-past
	@tests/tools/own_mounts.sh tests/tier/lifecycle.sh $(ARGS)
