# Repositories in S3, against a server that Go's module proxy gives, built once into $VARVE_CACHE: `make s3` with versitygw, which
# `make check` runs, too; `make check-s3` with both that are known, one after the other.
.PHONY: s3 check-s3
SUITES += s3

s3: $(VARVE) $(BUILD)/tests/tier
	@tests/tools/own_mounts.sh tests/tier/s3.sh $(ARGS)

check-s3: $(VARVE) $(BUILD)/tests/tier
	@SERVER=versitygw tests/tools/own_mounts.sh tests/tier/s3.sh $(ARGS)
	@SERVER=minio tests/tools/own_mounts.sh tests/tier/s3.sh $(ARGS)

# Recovery points mounted and made volumes; from S3, too, where that server can be had.
.PHONY: instant
SUITES += instant

instant: $(VARVE) $(TIERD_DOORS)
	@tests/tools/own_mounts.sh tests/tier/instant.sh $(ARGS)
