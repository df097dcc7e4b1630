# `make bench-backup` is the suite tests/bench-backup at full length; `make check` runs only the test of its harness. What it compares
# with is built or installed once.
.PHONY: bench-backup-peers
ifneq ($(SCALE),short)
bench-backup: bench-backup-peers
endif

bench-backup-peers:
	@tests/bench-backup/peers.sh
