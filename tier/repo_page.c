#include "tier/repo_page.h"

#include <stdlib.h>

#include "base/mark.h"

#define PAGES_KEPT 64 /* of some 16 KiB */

struct repo_pages {
    struct repo_page *v[PAGES_KEPT];
    uint64_t clock;
};

void repo_page_put(struct repo_page **p)
{
    struct repo_page *page = TAKE(*p);

    if (!page || --page->refs > 0)
        return;
    buf_free(&page->plain);
    free(page);
}

/* The same blob elsewhere is another page: that place has to be proved, too. */
static bool is_at(const struct repo_page *p, const struct slice *s)
{
    return memcmp(p->at.blob.b, s->blob.b, sizeof(s->blob.b)) == 0 &&
           memcmp(p->at.chunk.b, s->chunk.b, sizeof(s->chunk.b)) == 0 && p->at.off == s->off &&
           p->at.len == s->len;
}

static struct repo_page *find(const struct repo_pages *k, const struct slice *s)
{
    for (size_t i = 0; i < PAGES_KEPT; i++)
        if (k->v[i] && is_at(k->v[i], s) && !BROKEN(VARVE_BREAK_pages_kept))
            return k->v[i];
    return NULL;
}

/* One that is free, or of the page that nobody has asked for for the longest. */
static struct repo_page **place_of(struct repo_pages *k)
{
    struct repo_page **at = &k->v[0];

    for (size_t i = 0; i < PAGES_KEPT && *at; i++)
        if (!k->v[i] || k->v[i]->used < (*at)->used)
            at = &k->v[i];
    return at;
}

static void keep(struct repo_pages *k, struct repo_page *p)
{
    struct repo_page **at = place_of(k);

    repo_page_put(at);
    *at = p;
    p->refs++;
}

static int load(struct repo *r, const struct slice *s, struct repo_page **ret)
{
    struct repo_page *p = calloc(1, sizeof(*p));
    int x = p ? 0 : -E_NOMEM;

    if (x == 0) {
        *p = (struct repo_page){.at = *s, .refs = 1};
        if (BROKEN(VARVE_BREAK_page_unproved))
            keep(r->pages, p);
        x = repo_slice(r, s, true, &p->plain);
    }
    if (x < 0) {
        repo_page_put(&p);
        return x;
    }
    r->proved_pages++;
    keep(r->pages, p);
    *ret = p;
    return 0;
}

int repo_page_get(struct repo *r, const struct slice *s, struct repo_page **ret)
{
    struct repo_page *p;
    int x;

    if (s->len > PAGE_MAX || s->skip)
        return -E_CORRUPT;
    if (!r->pages && !(r->pages = calloc(1, sizeof(*r->pages))))
        return -E_NOMEM;
    if ((p = find(r->pages, s))) {
        MARK("repo: a page was proved before");
        p->refs++;
    } else if ((x = load(r, s, &p)) < 0) {
        return x;
    }
    p->used = ++r->pages->clock;
    *ret = p;
    return 0;
}

bool repo_page_kept(const struct repo *r, const struct slice *s)
{
    return r->pages && find(r->pages, s);
}

void repo_pages_drop(struct repo *r)
{
    for (size_t i = 0; r->pages && i < PAGES_KEPT; i++)
        repo_page_put(&r->pages->v[i]);
    free(TAKE(r->pages));
}
