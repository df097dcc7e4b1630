/* tier/s3_cred: who we are for an S3 server: from a file as AWS' tools have it, or from the environment. Never from a command line. */
#ifndef VARVE_TIER_S3_CRED_H
#define VARVE_TIER_S3_CRED_H

#include "tier/s3_sign.h"
#include "tier/url.h"

/* s3_cred_read: the file of the option credentials=; else AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN unless a
 * profile is named; else $AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials. The profile is the option's, $AWS_PROFILE's, "default".
 * ret_region: what the file says, "" nothing. -E_KEY with a sentence where there is nothing that can be used. */
int s3_cred_read(const struct s3_conf *c, struct s3_cred *ret, char ret_region[64], struct buf *err);

/* s3_conf_complete: endpoint, region and style where no option says them: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION,
 * AWS_DEFAULT_REGION, AWS_CA_BUNDLE, then what the credentials' file says, then AWS in us-east-1. -E_USAGE with a sentence. */
int s3_conf_complete(struct s3_conf *c, const char *file_region, struct buf *err);

#endif
