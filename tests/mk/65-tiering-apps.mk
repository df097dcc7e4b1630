# PostgreSQL and git on a volume half of which is released, behind a proxy that does harm: tests/tier/tiering_apps.sh
.PHONY: tiering-apps
SUITES += tiering-apps
tiering-apps: $(VARVE) $(BUILD)/varve-tierd
	@tests/tools/own_mounts.sh tests/tier/tiering_apps.sh $(ARGS)
