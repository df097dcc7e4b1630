.PHONY: help
help:
	@echo 'make              build/varve and the test programs (installs missing packages when run as root)'
	@echo 'make demo         the main job on real files; KEEP=1 leaves it mounted'
	@echo 'make check        everything that a change must pass; check-long at full length, check-fresh on bare Debian 12 and 13'
	@echo 'make check-ceph   repositories in a real Ceph cluster, which it installs and runs below $$TMPDIR'
	@echo 'make image        build/varve-image.tar, an OCI archive for Kubernetes; check-k8s: a cluster of its own'
	@echo 'make controls     breaks each rule in turn and expects its suite to turn red; ONLY=rule'
	@echo 'make bench        what work costs, beside others, into docs/performance.md; ONLY="row..." SCALE=short; bench-report'
	@echo 'make deps         the Debian packages and libfuse that the build needs; deps-tests: what the tests need'
	@echo
	@echo 'suites, each by name (SCALE=short for what check runs):'
	@echo '  unit pjdfstest tidy lint asan tsan $(SUITES)' | fold -s -w 110
	@echo
	@echo 'make format       clang-format'
	@echo 'make install      PREFIX=/usr/local DESTDIR='
	@echo 'make clean'
	@echo
	@echo 'variables: CC=gcc|clang SAN=asan|tsan BREAK=rule WERROR=1 V=1 VARVE_CACHE=dir (libfuse and what else is built once)'
