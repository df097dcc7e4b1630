/* snap/dump_i: what the files of dump share. */
#ifndef VARVE_SNAP_DUMP_I_H
#define VARVE_SNAP_DUMP_I_H

#include "snap/check.h"
#include "snap/store/scan.h"

/* One record as text, on one line: table, key, life, value. */
int dump_record(struct buf *out, const struct scan_item *it);
int dump_key(struct buf *out, const uint8_t *key, size_t klen);
int dump_hex(struct buf *out, const uint8_t *p, size_t len, size_t most);
int dump_text(struct buf *out, const char *p, size_t len); /* quoted, what is not printable as \xNN */

int dump_journal(struct io *io, const char *store, bool one, uint32_t index, struct buf *out);

#endif
