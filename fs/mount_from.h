/* fs/mount_from: varve mount --from: what is said to the daemon so that it makes a volume out of a recovery point first; and the private
 * store of one that is mounted without a store: a directory below this user's cache that goes with the mount. */
#ifndef VARVE_FS_MOUNT_FROM_H
#define VARVE_FS_MOUNT_FROM_H

#include <limits.h>

#include "base/buf.h"

#define MOUNT_FROM_WORDS 8
struct mount_from {
    const char *point; /* REPO#ID as given; NULL: none */
    const char *passphrase_file, *key_file, *credentials;
    bool no_hydrate;
    struct buf words; /* of `create`, each with its NUL */
};

/* mount_from_words: names become URLs, paths absolute. err: a sentence. */
int mount_from_words(struct mount_from *f, const char *volume, struct buf *err);

/* mount_private_make: a new empty directory for a store, known as private from now on; leftovers of dead ones go. mount_private_is;
 * mount_private_remove: with all that is in it; nobody has it open. */
int mount_private_make(char out[PATH_MAX]);
int mount_private_mark(const char *store);
bool mount_private_is(const char *store);
void mount_private_remove(const char *store);

#endif
