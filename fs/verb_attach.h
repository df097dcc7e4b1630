/* fs/verb_attach: --attach [NAME=]FILE and --label KEY=VALUE of `backup run`. */
#ifndef VARVE_FS_VERB_ATTACH_H
#define VARVE_FS_VERB_ATTACH_H

#include "fs/verb.h"
#include "tier/attach.h"

/* verb_attach_resolve: as another process understands them: NAME=/ABSOLUTE. verb_attach_read: the files. Both with a sentence. */
int verb_attach_resolve(struct verb_args *a, struct buf *err);
int verb_attach_read(const struct verb_args *a, struct attachments *ret, struct buf *err);
int verb_attach_labels(const struct verb_args *a, struct buf *ret); /* "KEY=VALUE", each with its NUL */

#endif
