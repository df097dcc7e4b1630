/* snap/store/slow: what a thread's write transaction waited for; where one wait was long that is told in the log. Private to the room. */
#ifndef VARVE_SNAP_STORE_SLOW_H
#define VARVE_SNAP_STORE_SLOW_H

enum slow_wait {
    SLOW_ROOM,    /* in the delta or the journal */
    SLOW_LOCK,    /* the store's */
    SLOW_TABLES,  /* those of them that are being opened anew */
    SLOW_JOURNAL, /* the record */
    SLOW__WAITS
};

/* slow_begin: of a transaction; slow_over: what was waited for since then, or since the last one; slow_goes_on: what lies in between
 * was work. slow_tell: with no lock held. */
void slow_begin(void);
void slow_goes_on(void);
void slow_over(enum slow_wait what);
void slow_tell(int op);

#endif
