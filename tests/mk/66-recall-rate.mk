# How fast released bytes come back, beside cp and curl: `make recall-rate [SIZE=512] [ROUNDS=5] [BOUND=0.7] [ARGS=dir|s3]`
.PHONY: recall-rate
recall-rate: $(VARVE) $(BUILD)/varve-tierd
	@tests/tools/own_mounts.sh tests/tier/recall_rate.sh $(ARGS)
