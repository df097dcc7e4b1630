/* tests/lib/lying_model: the inside of the lying disk: nodes, unsynced events, unsynced names. All functions need the
 * disk's lock held; memory running out ends the program, for this is a test. */
#ifndef VARVE_TESTS_LIB_LYING_MODEL_H
#define VARVE_TESTS_LIB_LYING_MODEL_H

#include <pthread.h>

#include "tests/lib/lying.h"

#define LYING_PAGE 4096u
#define LYING_SECTOR 512u
#define LYING_SECTORS (LYING_PAGE / LYING_SECTOR)
#define LYING_RAM_FD (1 << 24) /* descriptors of disks in memory begin here: far above any of the kernel's */
#define LYING_RAM_FDS 4096

struct lying_page {
    uint32_t refs;
    uint64_t sum;            /* of its bytes; 0: not known */
    struct lying_page *next; /* of those that are not used */
    uint8_t b[LYING_PAGE];
};

/* Pages by number; absent ones are holes. Open addressing, a power of two of slots. Shared between copies until one writes. */
struct lying_slot {
    uint64_t no;
    struct lying_page *page; /* NULL: free slot */
};
struct lying_table {
    uint32_t refs;
    size_t nslots, used;
    uint64_t sum[2]; /* of the holes, of the bytes; 0: not known */
    struct lying_slot slots[];
};

enum lying_event_kind { LYING_EV_WRITE, LYING_EV_TRUNCATE, LYING_EV_PUNCH };

/* A change of contents that is not durable. A write is kept a page apiece. */
struct lying_event {
    enum lying_event_kind kind;
    bool lost;     /* its sync failed: clean in the page cache, not on the medium */
    bool in_place; /* lands independently of truncates and punches before it */
    uint64_t seq;  /* order over the whole disk; the pieces of one write share it */
    uint64_t off;  /* truncate: the new size */
    uint64_t len;
    /* Writes only: its bytes, a whole page (a reference) or less of one (owned). Neither: zeroes at the edge of a truncate or
     * punch, grows nothing. */
    struct lying_page *page;
    uint8_t *data;
};

struct lying_content {
    uint64_t size;
    struct lying_table *table; /* NULL: nothing but holes */
};

struct lying_entry {
    const char *name;        /* lying__word() */
    struct lying_node *node; /* a reference */
};

struct lying_entries {
    struct lying_entry *e;
    size_t n, cap;
};

struct lying_node {
    unsigned refs;
    bool is_dir;
    mode_t mode;
    /* files */
    struct lying_content safe; /* what is durable */
    struct lying_event *ev;
    size_t nev, capev;
    size_t nmeta;        /* truncates and punches among the events */
    uint64_t size;       /* as the running process sees it */
    uint64_t min_synced; /* smallest size since the last sync */
    /* files of a disk in memory */
    struct lying_content live; /* as the running process sees it */
    bool seen;                 /* live is filled; else it is what is durable */
    uint8_t *map;              /* mapped: the same bytes once more, in a row */
    /* directories */
    struct lying_entries now, durable, image;
    bool has_image; /* image is filled, and this node is in the list of lying.images */
    struct lying_node *next_image;
    bool flag; /* scratch of name selection */
};

enum lying_name_kind { LYING_NAME_CREATE, LYING_NAME_REMOVE, LYING_NAME_RENAME };

/* A change of names that is not durable. Holds references on its nodes. */
struct lying_name {
    enum lying_name_kind kind;
    bool lands; /* scratch */
    uint64_t seq;
    struct lying_node *dir, *dir2; /* dir2: rename only */
    const char *name, *name2;
    struct lying_node *child, *victim; /* victim: what a rename replaces, or NULL */
};

struct lying_fd {
    struct lying_node *node; /* a reference; NULL: not ours */
    int flags;
    int64_t seat; /* in memory: the descriptor's position */
    char *path;   /* as it was opened, below the root */
};

struct lying {
    struct io io;         /* first: a struct io * is a struct lying * */
    pthread_mutex_t lock; /* guards all below */
    char *root;
    size_t root_len;
    struct lying_node *top;
    struct lying_fd *fds; /* by descriptor; in memory: less LYING_RAM_FD */
    size_t nfds;
    struct lying_node *images;
    struct lying_name *names;
    size_t nnames, capnames;
    uint64_t seq;
    uint64_t counts[LYING_KINDS];
    uint64_t mutations;
    uint64_t crash_at, kill_at; /* in mutations; 0 off */
    bool crashed, killed;
    unsigned fail_kinds;
    uint64_t fail_n; /* calls until it fails; 0 off */
    bool fail_stays;
    int fail_code;
    uint64_t faults;
    bool allocate_real;
    bool
        ram; /* no real files: `live` of each node is what the process sees, descriptors are not the kernel's */
    void (*on_cut)(void *arg, unsigned kind);
    void *cut_arg;
    struct buf *trace;
    struct lying_log *log; /* NULL: changes are not kept */
    struct lying *next;    /* list of all disks, guarded by a lock of its own */
};

void *lying__alloc(size_t bytes); /* zeroed; aborts when memory is out */
void *lying__grow(void *p, size_t *cap, size_t n, size_t each);

/* contents */
void lying__content_write(struct lying_content *c, uint64_t off, const uint8_t *p, size_t len);
void lying__content_page(struct lying_content *c, uint64_t no, struct lying_page *p); /* shares p */
/* A page with these bytes: c's own if it has them there, else a new one. The caller's reference. */
struct lying_page *lying__page_of(const struct lying_content *c, uint64_t no, const uint8_t *bytes);
void lying__page_unref(struct lying_page *p); /* NULL is allowed */
void lying__content_truncate(struct lying_content *c, uint64_t size);
void lying__content_punch(struct lying_content *c, uint64_t off, uint64_t len);
void lying__content_copy(struct lying_content *to, const struct lying_content *from); /* O(1) */
void lying__content_free(struct lying_content *c);
size_t lying__content_read(const struct lying_content *c, uint64_t off, uint8_t *p, size_t len);
bool lying__content_hole(const struct lying_content *c, uint64_t page);
/* Equal sums: equal contents, all but surely; without bytes: the same size, the same holes. */
uint64_t lying__content_sum(const struct lying_content *c, bool bytes);
/* The same of pages [first, first + n): of what is there and the size as far as they reach; and of their bytes. */
void lying__content_part_sum(const struct lying_content *c, uint64_t first, uint64_t n, uint64_t ret[2]);
int lying__content_load(struct lying_content *c, int fd);
int lying__content_store(const struct lying_content *c, int fd);

/* events of a file */
void lying__write(struct lying *d, struct lying_node *f, const uint8_t *p, size_t len, uint64_t off);
void lying__truncate(struct lying *d, struct lying_node *f, uint64_t size);
void lying__punch(struct lying *d, struct lying_node *f, uint64_t off, uint64_t len);
void lying__sync(struct lying_node *f);
void lying__sync_pages(struct lying_node *f, uint64_t off, uint64_t len);
void lying__sync_failed(struct lying_node *f);
uint64_t lying__unsynced(const struct lying_node *f);
void lying__events_free(struct lying_node *f);

/* A seed's choice of what lands. cut: in LYING_PREFIX what has a smaller seq lands. */
struct lying_choice {
    enum lying_mode mode;
    uint64_t seed; /* as given */
    uint64_t rand; /* state of test_rand */
    uint64_t cut;
    bool one_journal;
};
struct lying_choice lying__choose(const struct lying *d, uint64_t seed, enum lying_mode mode);
void lying__content_choose(const struct lying_node *f, struct lying_choice *c, struct lying_content *out);

/* names */
struct lying_node *lying__node_new(bool is_dir, mode_t mode);
struct lying_node *lying__node_ref(struct lying_node *n);
void lying__node_unref(struct lying_node *n);
struct lying_node *lying__entry(const struct lying_entries *es, const char *name);
const char *lying__word(
    const char *name); /* the one copy of a name, kept for ever: few are used again and again */
void lying__entry_set(struct lying_entries *es, const char *name, struct lying_node *n); /* NULL removes */
void lying__entry_add(struct lying_entries *es, const char *word, struct lying_node *n); /* it is not there */
void lying__entries_free(struct lying_entries *es);
/* lying__find(d, path, &ret_dir, &ret_name): node of a path below root or NULL; dir NULL when the way is missing. */
struct lying_node *lying__find(struct lying *d, const char *path, struct lying_node **ret_dir,
                               char ret_name[256]);
void lying__name_create(struct lying *d, struct lying_node *dir, const char *name, struct lying_node *child);
void lying__name_remove(struct lying *d, struct lying_node *dir, const char *name);
void lying__name_rename(struct lying *d, struct lying_node *dir, const char *name, struct lying_node *dir2,
                        const char *name2);
void lying__names_sync(struct lying *d,
                       struct lying_node *n); /* fsync of a directory, or of a file: its creation */
void lying__names_sync_all(struct lying *d);
void lying__names_choose(struct lying *d, struct lying_choice *c); /* what lands, in lying__image() */
const struct lying_entries *lying__image(const struct lying_node *dir);
void lying__names_unchoose(struct lying *d);
void lying__names_free(struct lying *d);

int lying__load(const char *path, struct lying_node *dir); /* what is below path now, as durable */

/* What a call may do. code 0: go. Else give code back; recorded: it is in flight in a power cut and goes into the model
 * alone; partial: a write does its first bytes. */
struct lying_verdict {
    int code;
    bool recorded;
    bool partial;
};

/* the whole disk */
extern const struct io_ops lying__ops;
struct lying *lying__disk_new(const char *root); /* empty */
bool lying__below(const struct lying *d, const char *path);
struct lying_verdict lying__judge(struct lying *d, enum lying_kind kind);
struct lying_node *lying__node_of(const struct lying *d, int fd); /* NULL: a descriptor of something else */
void lying__fd_track(struct lying *d, int fd, struct lying_node *n, int flags, const char *path);
void lying__fd_forget(struct lying *d, int fd);
void lying__trace(struct lying *d, const char *what, const char *path, uint64_t off, uint64_t len, int r);
void lying__trace_fd(struct lying *d, const char *what, int fd, uint64_t off, uint64_t len, int r);
void lying__close_all(struct lying *d);
void lying__settle(struct lying *d);
void lying__for_each_file(struct lying_node *n, void (*fn)(struct lying_node *f)); /* that has a name now */

/* A moment at which the power may be cut: a test may look at what the medium holds now. */
static inline void lying__moment(struct lying *d, unsigned kind)
{
    if (d->on_cut && !d->crashed && !d->killed)
        d->on_cut(d->cut_arg, kind);
}
struct lying_fd *lying__fd(const struct lying *d, int fd); /* NULL: a descriptor of something else */

/* a disk in memory: what the kernel does for the others. Codes as in base/io.h. */
int lying__ram_open(struct lying *d, const struct lying_node *dir, const struct lying_node *n, int flags);
size_t lying__ram_read(struct lying_node *n, uint64_t off, void *p, size_t len);
void lying__ram_write(struct lying_node *n, const void *p, size_t len, uint64_t off);
void lying__ram_resize(struct lying_node *n, uint64_t size);
void lying__ram_punch(struct lying_node *n, uint64_t off, uint64_t len);
void lying__ram_stat(const struct lying_node *n, struct stat *ret);
bool lying__ram_is(int fd); /* such a descriptor */
void *lying__ram_map(struct lying *d, int fd, size_t len, bool writes);
bool lying__ram_unmap(void *p);
int64_t lying__ram_seek(struct lying *d, int fd, int64_t off, int whence);

/* a log of changes: what was done to a path of the disk, or to the file of a descriptor */
void lying__log(struct lying *d, enum lying_kind kind, const char *path, uint64_t off, uint64_t len,
                const void *bytes);
void lying__log_fd(struct lying *d, enum lying_kind kind, int fd, uint64_t off, uint64_t len,
                   const void *bytes);
/* what a shot is made of */
struct lying_node *lying__tree_copy(const struct lying_node *from); /* of one that was not written to */
uint64_t lying__tree_sum(const struct lying_node *n, enum lying_sum of);

/* what lying_lmdb.c and lying_libc.c use: descriptors and paths of any disk */
struct lying *lying__of_path(const char *path);
struct lying *lying__of_fd(int fd);
int lying__pwrite_some(struct lying *d, int fd, const void *p, size_t len, uint64_t off, size_t *ret_done);
int lying__append_off(struct lying *d, int fd,
                      uint64_t *ret_off); /* where write() of an O_APPEND descriptor goes; 0 or 1 */

/* lying__rand_below(c, n): 0 .. n-1 */
uint64_t lying__rand_below(struct lying_choice *c, uint64_t n);

#endif
