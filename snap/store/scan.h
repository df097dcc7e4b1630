/* snap/store/scan: every entry of the tables as it lies there, damaged ones too: for check and dump. */
#ifndef VARVE_SNAP_STORE_SCAN_H
#define VARVE_SNAP_STORE_SCAN_H

#include "snap/store/txn.h"

struct scan_item {
    const uint8_t *key;
    size_t klen;
    int verdict; /* 0, or -E_CORRUPT: val is not to be used */
    struct txn_val val;
    const uint8_t *raw; /* with the envelope */
    size_t raw_len;
};

/* txn_scan(t, keep, prefix, plen, cb, arg): in key order, inside a reading transaction. plen 0: all. The item's bytes are valid
 * within the call of cb; cb non-zero ends it with that value. -E_IO, -E_CORRUPT (LMDB itself). Uses no arena. */
int txn_scan(struct txn *t, enum keep keep, const void *prefix, size_t plen,
             int (*cb)(void *arg, const struct scan_item *it), void *arg);

/* scan_table_name: "INODE" for TAB_INODE and for its history; NULL for a number that is no table. scan_table_find: the
 * number for a name, 0 when there is none. */
const char *scan_table_name(uint8_t tab);
uint8_t scan_table_find(const char *name);

/* scan_key_ok: does a whole key have the form that its table wants? */
bool scan_key_ok(const uint8_t *key, size_t klen);

#endif
