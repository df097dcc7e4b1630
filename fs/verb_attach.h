/* fs/verb_attach: --attach [NAME=]FILE and --label KEY=VALUE of `backup run`. */
#ifndef VARVE_FS_VERB_ATTACH_H
#define VARVE_FS_VERB_ATTACH_H

#include "fs/verb.h"
#include "tier/attach.h"

/* verb_labels_check: labels csi.* say what is whose between a driver and its store, or its repository: who writes into a control file, a pod
 * as a rule, sets none. remove: keys, NULL: none. */
int verb_labels_check(const struct verb_ctx *c, const struct verb_val *labels, const struct verb_val *remove,
                      struct buf *err);
/* verb_attach_resolve: as another process understands them: NAME=/ABSOLUTE. verb_attach_read: the files. Both with a sentence. */
int verb_attach_resolve(struct verb_args *a, struct buf *err);
int verb_attach_read(const struct verb_args *a, struct attachments *ret, struct buf *err);
int verb_attach_labels(const struct verb_args *a, struct buf *ret); /* "KEY=VALUE", each with its NUL */

#endif
