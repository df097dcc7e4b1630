/* tier/s3: the backend for s3://bucket/prefix: in varve-tierd only, nothing of it is in the program that mounts. */
#ifndef VARVE_TIER_S3_H
#define VARVE_TIER_S3_H

#include "tier/backend.h"
#include "tier/url.h"

/* s3_open: asks the server for one name, so that a wrong key, bucket or endpoint is told at once. err: a sentence. -E_KEY (no
 * credentials), -E_ACCES, -E_NOENT (no bucket), -E_TIMEOUT, -E_IO, -E_USAGE. */
int s3_open(const struct s3_conf *conf, struct backend **ret, struct buf *err);

#endif
