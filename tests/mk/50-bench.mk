# `make bench` is the suite tests/bench. What it compares with is installed and built once; the harness itself is tested by bench-test.
.PHONY: bench-peers bench-report
ifneq ($(SCALE),short)
bench: bench-peers
endif

bench-peers:
	@tests/bench/peers.sh

# docs/performance.md from the latest results of each row, whichever run they came from
bench-report: $(BUILD)/tests/bench
	@python3 tests/bench/report.py --bench $(BUILD)/tests/bench --document docs/performance.md $(sort $(wildcard $(BUILD)/bench/*.tsv))
