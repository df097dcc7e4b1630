# What a compiler does not know, and formatting.
.PHONY: tidy format
tidy:
	@tests/tools/tidy.py

format:
	@tests/tools/tidy.py --format
