/* tier/tree_cursor: the records of a tree one by one, as many cursors at once as are needed; a cursor keeps the pages on its way and no
 * more. Threads: as of the repo. */
#ifndef VARVE_TIER_TREE_CURSOR_H
#define VARVE_TIER_TREE_CURSOR_H

#include "tier/repo_page.h"
#include "tier/tree.h"

struct tree_cursor {
    struct repo *r;
    struct tree_key prefix;
    struct tree_step {
        struct repo_page *page; /* a reference of its own */
        struct dec d;
        struct page_head head; /* entries: those that are left */
    } v[TREE_DEPTH_MAX];
    unsigned depth;
};

/* tree_cursor_open: on the first record that begins with prefix and is not less than from (NULL: on the first of prefix). c need not be
 * closed after an error. tree_cursor_next: 1: *ret, valid until the next call; 0: there is no more. -E_CORRUPT, -E_NOENT (a page's chunk is not
 * known). */
int tree_cursor_open(struct tree_cursor *c, struct repo *r, const struct tree *t,
                     const struct tree_key *prefix, const struct tree_key *from);
int tree_cursor_next(struct tree_cursor *c, struct tree_rec *ret);
/* tree_cursor_before: on the last record of prefix that is not greater than from; the first of prefix where all are. As tree_cursor_open() else. */
int tree_cursor_before(struct tree_cursor *c, struct repo *r, const struct tree *t,
                       const struct tree_key *prefix, const struct tree_key *from);
/* tree_cursor_copy: another one at the same place. */
void tree_cursor_copy(struct tree_cursor *to, const struct tree_cursor *c);
void tree_cursor_close(struct tree_cursor *c);

#endif
