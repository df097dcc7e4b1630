# What is run together.
# bench-small measures, which wants a quiet machine: it is run by name
CHECK_SUITES ?= tidy unit demo $(filter-out bench-small,$(SUITES)) pjdfstest
LONG_SUITES = $(CHECK_SUITES) lint asan tsan controls

.PHONY: check check-long check-fresh controls asan tsan deps deps-tests
check: deps-tests
	@$(MAKE) --no-print-directory WERROR=1 all
	@SCALE=short tests/tools/check.sh $(CHECK_SUITES)

check-long: deps-tests
	@$(MAKE) --no-print-directory WERROR=1 all
	@SCALE=full tests/tools/check.sh $(LONG_SUITES)

check-fresh:
	@tests/tools/check-fresh.sh

controls:
	@tests/tools/controls.sh

# the same suites under the sanitizers; a report anywhere fails the run, the daemon's in the background included
asan tsan:
	@$(MAKE) --no-print-directory SAN=$@ all
	@SAN=$@ tests/tools/sanitized.sh

deps:
	@tests/tools/deps.sh build

deps-tests:
	@tests/tools/deps.sh build
	@tests/tools/deps.sh tests
	@tests/tools/deps.sh apps
