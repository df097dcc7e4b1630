/* snap/store/scrub_store: what a scrub asks of an open store. io: the door that it reads by. Threads: any. */
#ifndef VARVE_SNAP_STORE_SCRUB_STORE_H
#define VARVE_SNAP_STORE_SCRUB_STORE_H

#include "snap/store/store.h"
#include "snap/store/tabpages.h"

/* store_scrub_tables: tabpages_check of the newest state of the tables, held meanwhile. o->txn is not looked at. */
int store_scrub_tables(struct store *s, struct io *io, const struct tabpages_opts *o, char why[256],
                       struct tabpages_result *ret);

/* store_scrub_segment: one segment of the journal: all records that it should hold are there. -E_NOENT: no such segment;
 * -E_CORRUPT with why. *records and *ret_bytes: counted up; read. */
int store_scrub_segment(struct store *s, struct io *io, uint32_t index, char why[256], uint64_t *records,
                        uint64_t *ret_bytes);

/* store_scrub_failed: tables or journal are damaged: the store is not written any more until it was checked. */
void store_scrub_failed(struct store *s);

#endif
