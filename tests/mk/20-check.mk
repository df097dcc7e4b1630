.PHONY: check
check: unit
