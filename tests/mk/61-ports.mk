# Recovery points as files, plain exports, restores into volumes: what goes out of a repository and comes in.
.PHONY: ports
SUITES += ports

ports: $(VARVE)
	@tests/tools/own_mounts.sh tests/tier/ports.sh $(ARGS)
