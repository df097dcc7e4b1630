/* tier/backend_dir: objects as files below a directory. A file is written in DIR/tmp, synced, linked to its name, and the
 * directory synced. What a dead writer leaves in tmp is removed after a day by the next one. */
#ifndef VARVE_TIER_BACKEND_DIR_H
#define VARVE_TIER_BACKEND_DIR_H

#include "tier/backend.h"
#include "tier/url.h"

int backend_dir_open(const struct dir_conf *conf, bool make,
                     struct backend **ret); /* -E_NOENT, -E_NOTDIR, -E_ACCES */

#endif
