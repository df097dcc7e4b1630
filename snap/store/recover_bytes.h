/* snap/store/recover_bytes: bytes of small fsyncs, which travelled in records (F1). They are put in their objects after a power cut
 * only, when the whole journal was read: those that an object's own sync followed are older than what the disk holds. */
#ifndef VARVE_SNAP_STORE_RECOVER_BYTES_H
#define VARVE_SNAP_STORE_RECOVER_BYTES_H

#include "base/buf.h"
#include "snap/store/journal.h"

struct store;

struct recover_bytes {  /* zeros: nothing was noted */
    struct buf records; /* of struct jrec_at, in order */
    struct buf synced;  /* of struct recover_synced, in order until they are searched */
    uint64_t payloads;  /* put in their objects */
};

/* During the replay: a record that has bytes with it; all bytes of an object before this record are on disk. -E_NOMEM. */
int recover_bytes_note(struct recover_bytes *b, const struct jrec_view *rec);
int recover_bytes_synced(struct recover_bytes *b, uint64_t object, uint64_t lsn);

/* After it. -E_IO, -E_NOMEM, -E_CORRUPT (a record is not there any more). */
int recover_bytes_write(struct recover_bytes *b, struct store *s);
void recover_bytes_free(struct recover_bytes *b);

#endif
