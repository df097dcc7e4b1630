# What a compiler does not know, and formatting.
.PHONY: tidy format
tidy:
	@tests/tools/tidy.py

format:
	@tests/tools/tidy.py --format

# clang-tidy over the sources: minutes, so apart from tidy
.PHONY: lint
lint: $(BUILD)/config.mk
	@tests/tools/lint.sh
